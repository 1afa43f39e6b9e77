package notification_test

import (
	"context"
	"fmt"
	"log"

	"crier.local/api"
	"crier.local/client"
	clientside "crier.local/client/notification"
	"crier.local/provider"
	"crier.local/provider/notification"
)

// A provider inside a program, and two connections that talk through it.
func Example() {
	p := provider.New(provider.Options{Name: "town"})
	if _, err := notification.Register(p, notification.Options{}, provider.ServiceOptions{}); err != nil {
		log.Fatal(err)
	}
	defer p.Close()
	// p.Listen would let other processes in.

	ctx := context.Background()
	c, err := clientside.Dial(ctx, client.Options{Transport: p.Local()})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	bob, err := c.Connect(ctx, api.Connect{Name: "bob"})
	if err != nil {
		log.Fatal(err)
	}
	alice, err := c.Connect(ctx, api.Connect{Name: "alice", SendOnly: true})
	if err != nil {
		log.Fatal(err)
	}
	receipt, err := alice.Send(ctx, []byte("hear ye"))
	if err != nil {
		log.Fatal(err)
	}
	event, err := bob.Receive(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s: %s (to %d)\n", event.From, event.Payload, receipt.Receivers)
	// Output: alice: hear ye (to 1)
}
