package client_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"log"

	"crier.local/api"
	"crier.local/client"
	"crier.local/provider"
)

// ticker is a service with one method, which returns a resource that counts
// down.
type ticker struct{}

func (ticker) Handle(_ context.Context, c *provider.Call) (provider.Result, error) {
	r, err := c.Session.NewResource(nil, provider.ResourceOptions{Notifiable: true})
	if err != nil {
		return provider.Result{}, err
	}
	for n := binary.BigEndian.Uint32(c.Args); n > 0; n-- {
		if err := r.Notify(&provider.Notification{Body: fmt.Appendf(nil, "%d to go", n)}); err != nil {
			return provider.Result{}, err
		}
	}
	return provider.Result{Resource: r, Body: []byte("counting")}, nil
}

func Example() {
	ctx := context.Background()
	selector := api.Selector{UUID: "example.com/ticker", Major: 1}
	p := provider.New(provider.Options{Name: "ticker"})
	if err := p.Provide(selector, ticker{}, provider.ServiceOptions{}); err != nil {
		log.Fatal(err)
	}
	defer p.Close()

	// Without Transport the client looks for a provider on this machine.
	c, err := client.Dial(ctx, client.Options{Transport: p.Local()})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	session, err := c.Open(ctx, selector)
	if err != nil {
		log.Fatal(err)
	}
	countdown, body, err := session.InvokeResource(ctx, 0, binary.BigEndian.AppendUint32(nil, 3))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", body)
	for range 3 {
		body, err := countdown.Receive(ctx)
		fmt.Printf("%s %v\n", body, err)
	}
	countdown.Close()
	_, err = countdown.Receive(ctx)
	fmt.Println(err)

	// Output:
	// counting
	// 3 to go <nil>
	// 2 to go <nil>
	// 1 to go <nil>
	// closed
}
