package notification

import (
	"context"
	"testing"

	"crier.local/api"
	"crier.local/api/wire"
	"crier.local/client"
	"crier.local/provider"
)

// stub is a notification service that answers a connect as a test wants it.
type stub struct {
	result func() []byte
	events [][]byte
	bare   bool // without a resource

	refusal error // is the answer; nil for none
}

func (s *stub) Handle(_ context.Context, c *provider.Call) (provider.Result, error) {
	if s.refusal != nil {
		return provider.Result{}, s.refusal
	}
	if s.bare {
		return provider.Result{Body: s.result()}, nil
	}
	r, err := c.Session.NewResource(s, provider.ResourceOptions{Notifiable: true})
	if err != nil {
		return provider.Result{}, err
	}
	for _, body := range s.events {
		if err := r.Notify(&provider.Notification{Body: body}); err != nil {
			return provider.Result{}, err
		}
	}
	return provider.Result{Resource: r, Body: s.result()}, nil
}

func connected() []byte {
	return wire.EncodeConnected(wire.Connected{Seq: 7, Name: "x", Room: "lobby"})
}

// connect dials a provider of s alone.
func (s *stub) connect(t *testing.T) (*Connection, *provider.Provider, error) {
	t.Helper()
	checkFloor(t)
	p := provider.New(provider.Options{})
	if err := p.Provide(api.NotificationSelector, s, provider.ServiceOptions{}); err != nil {
		t.Fatal(err)
	}
	c, err := Dial(context.Background(), client.Options{Transport: p.Local()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		p.Close()
	})
	x, err := c.Connect(context.Background(), api.Connect{})
	return x, p, err
}

func TestBrokenProvider(t *testing.T) {
	for name, s := range map[string]*stub{
		"no connection":    {bare: true, result: connected},
		"malformed result": {result: func() []byte { return []byte{0xff} }},
	} {
		t.Run(name, func(t *testing.T) {
			if _, p, err := s.connect(t); err == nil {
				t.Error("connect succeeded")
			} else {
				for r := range p.Resources() {
					t.Errorf("resource %d is left", r.Handle())
				}
			}
		})
	}
}

func TestMalformedEvent(t *testing.T) {
	news := wire.EncodeEvent(&wire.Event{Event: api.Event{Kind: 99, Seq: 8, From: "a newer provider"}})
	x, p, err := (&stub{result: connected, events: [][]byte{news, {0xff}, news}}).connect(t)
	if err != nil {
		t.Fatal(err)
	}
	if e, err := x.Receive(context.Background()); err != nil || e.Kind != 99 || e.From != "a newer provider" {
		t.Errorf("event %+v, %v", e, err)
	}
	_, first := x.Receive(context.Background())
	_, second := x.Receive(context.Background())
	if first == nil || first != second {
		t.Errorf("ended with %v, then %v", first, second)
	}
	if err := x.Post(context.Background(), nil); err != first {
		t.Errorf("post: %v", err)
	}
	for r := range p.Resources() {
		t.Errorf("resource %d is left", r.Handle())
	}
}
