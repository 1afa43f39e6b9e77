package provider_test

import (
	"context"
	"fmt"
	"log"

	"crier.local/api"
	"crier.local/client"
	"crier.local/provider"
)

// A service of one's own: counters that live as long as the session that made
// them, and tell their client of every tenth step.

var counterService = api.Selector{UUID: "example.org/counter", Major: 1, Minor: 0}

const (
	methodNew  api.Method = 0 // returns a counter
	methodStep api.Method = 1 // on a counter
)

type counters struct{}

type counter struct {
	resource *provider.Resource
	n        int
}

func (counters) Handle(_ context.Context, c *provider.Call) (provider.Result, error) {
	switch c.Method {
	case methodNew:
		made := &counter{}
		r, err := c.Session.NewResource(made, provider.ResourceOptions{
			Notifiable: true,
			OnClosed:   func(why api.Reason) { fmt.Println("counter closed:", why) },
		})
		made.resource = r
		return provider.Result{Resource: r}, err
	case methodStep:
		counter, err := provider.Lookup[*counter](c.Session, c.Handle)
		if err != nil {
			return provider.Result{}, err
		}
		if counter.n++; counter.n%10 == 0 {
			err = counter.resource.Notify(&provider.Notification{Body: fmt.Appendf(nil, "%d steps", counter.n)})
		}
		return provider.Result{}, err
	default:
		return provider.Result{}, api.ErrNoMethod
	}
}

func Example() {
	p := provider.New(provider.Options{Name: "counters"})
	defer p.Close()
	if err := p.Provide(counterService, counters{}, provider.ServiceOptions{Sequential: true}); err != nil {
		log.Fatal(err)
	}

	// Elsewhere this would be another process, and Dial would find the provider.
	ctx := context.Background()
	c, err := client.Dial(ctx, client.Options{Transport: p.Local()})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	session, err := c.Open(ctx, counterService)
	if err != nil {
		log.Fatal(err)
	}
	counter, _, err := session.InvokeResource(ctx, methodNew, nil)
	if err != nil {
		log.Fatal(err)
	}
	for range 10 {
		if _, err := counter.Invoke(ctx, methodStep, nil); err != nil {
			log.Fatal(err)
		}
	}
	news, err := counter.Receive(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(news))
	// Output:
	// 10 steps
	// counter closed: closed
}
