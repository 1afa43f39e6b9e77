package notification_test

import (
	"context"
	"fmt"
	"log"

	"crier.local/api"
	"crier.local/client"
	"crier.local/client/notification"
	"crier.local/provider"
	service "crier.local/provider/notification"
)

func Example() {
	ctx := context.Background()
	p := provider.New(provider.Options{})
	if _, err := service.Register(p, service.Options{}, provider.ServiceOptions{}); err != nil {
		log.Fatal(err)
	}
	defer p.Close()

	// Without Transport the client looks for a provider on this machine.
	c, err := notification.Dial(ctx, client.Options{Transport: p.Local()})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	alice, err := c.Connect(ctx, api.Connect{Name: "alice", Presence: true})
	if err != nil {
		log.Fatal(err)
	}
	bob, err := c.Connect(ctx, api.Connect{Name: "bob"})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := bob.Send(ctx, []byte("hello")); err != nil {
		log.Fatal(err)
	}
	bob.Close()
	for e, err := range alice.Events(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%v %q %q\n", e.Kind, e.From, e.Payload)
		if e.Kind == api.KindLeft {
			break
		}
	}

	// Output:
	// members "" ""
	// joined "bob" ""
	// message "bob" "hello"
	// left "bob" ""
}
