package main

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/go-hclog"

	"crier.local/api"
	"crier.local/client"
	"crier.local/client/notification"
	"crier.local/provider"
)

// innerStage is a stage inside this process: the guests are goroutines.
type innerStage struct {
	demo     *demo
	provider *provider.Provider
}

func newInnerStage(d *demo) (stage, error) {
	s := server{p: d.p, name: "demo", stall: 5 * time.Second, priority: priorityFlag(api.PriorityNormal)}
	p, err := s.provider()
	if err != nil {
		return nil, err
	}
	return &innerStage{d, p}, nil
}

func (s *innerStage) guestName(i int) string { return fmt.Sprintf("runner%d", i) }

func (s *innerStage) invite(ctx context.Context, name string) *guest {
	g := newGuest(name)
	go func() { g.leave(s.talk(ctx, g)) }()
	return g
}

func (s *innerStage) talk(ctx context.Context, g *guest) error {
	c, err := s.dial(ctx)
	if err != nil {
		return causeOf(ctx, err)
	}
	defer c.Close()
	t := talker{name: g.name, interval: s.demo.interval, out: s.demo.p.stdout, note: s.demo.p.note, joined: g.join}
	err = t.run(ctx, c)
	g.tally = t.tally
	return err
}

func (s *innerStage) dial(ctx context.Context) (*notification.Client, error) {
	return notification.Dial(ctx, client.Options{
		Transport: s.provider.Local(), GiveUpAfter: leaveTime, Logger: s.demo.p.logger(hclog.Warn),
	})
}

func (s *innerStage) close() error { return s.provider.Close() }

// gone is never closed: the provider ends with this process, or by close.
func (s *innerStage) gone() <-chan struct{} { return nil }
