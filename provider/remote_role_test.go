package provider

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/hashicorp/go-hclog"

	"crier.local/api"
	"crier.local/client"
)

// playVisitor attaches to $CRIER_ADDRESS, opens a session each time it has, and
// says what becomes of its links.
func playVisitor() error {
	log := hclog.New(&hclog.LoggerOptions{Output: os.Stdout, DisableTime: true})
	c, err := client.Dial(context.Background(), client.Options{TLS: envFiles(), Logger: log})
	if err != nil {
		return err
	}
	defer c.Close()
	go func() {
		for n := uint64(0); ; {
			a, err := c.Attached(context.Background(), n)
			if err != nil {
				return
			}
			n = a.Number
			if _, err := c.Open(context.Background(), witnessSelector); err == nil {
				fmt.Println("open", n)
			}
		}
	}()
	untilEOF()
	return nil
}

// parrot is a service whose resources say again what is posted to them.
type parrot struct {
	heard  chan uint32 // the numbers, in the order in which they came
	closed chan api.Reason
}

var parrotSelector = api.Selector{UUID: "test/parrot", Major: 1}

func (p *parrot) Handle(context.Context, *Call) (Result, error) { return Result{}, api.ErrNoMethod }

func (p *parrot) HandleInline(c *Call) bool {
	if c.Method == 0 {
		r, err := c.Session.NewResource(p, ResourceOptions{Notifiable: true})
		c.Reply(Result{Resource: r}, err)
		return true
	}
	r, err := c.Session.Resource(c.Handle)
	if err == nil {
		p.heard <- binary.BigEndian.Uint32(c.Args)
		err = r.Notify(&Notification{Body: append([]byte(nil), c.Args...)})
	}
	c.Reply(Result{}, err)
	return true
}

func (p *parrot) SessionsClosed(_ []*Session, reason api.Reason) { p.closed <- reason }

const talk, talkEvery = 300, 20 * time.Millisecond

// playTalker talks to a parrot, and says whether it heard all, once and in order.
func playTalker() error {
	ctx := context.Background()
	c, err := client.Dial(ctx, client.Options{TLS: envFiles()})
	if err != nil {
		return err
	}
	defer c.Close()
	s, err := c.Open(ctx, parrotSelector)
	if err != nil {
		return err
	}
	r, _, err := s.InvokeResource(ctx, 0, nil)
	if err != nil {
		return err
	}
	posted := make(chan error, 1)
	go func() {
		tick := time.NewTicker(talkEvery)
		defer tick.Stop()
		for i := range uint32(talk) {
			<-tick.C
			if err := r.Post(ctx, 1, append(binary.BigEndian.AppendUint32(nil, i), make([]byte, 400)...)); err != nil {
				posted <- err
				return
			}
		}
		flushed, err := r.Flush(ctx)
		posted <- errors.Join(err, flushed.Err)
	}()
	for i := range uint32(talk) {
		body, err := r.Receive(ctx)
		if err != nil {
			return err
		}
		if got := binary.BigEndian.Uint32(body); got != i {
			return fmt.Errorf("heard %d in the place of %d", got, i)
		}
	}
	if err := <-posted; err != nil {
		return err
	}
	a, err := c.Attached(ctx, 0)
	fmt.Println("heard all over attachment", a.Number)
	return err
}
