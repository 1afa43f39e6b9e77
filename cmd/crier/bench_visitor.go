package main

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"crier.local/api"
	"crier.local/client/notification"
	"crier.local/cmd/internal/load"
)

// benchVisitor attaches, takes a seat, leaves and detaches, again and again. Each
// visit has a name of its own, with the numbers of the visitor and of the visit.
type benchVisitor struct {
	client *benchClient
	number int
	visits uint64
}

const benchVisitorFormat = "visitor%d.%d"

// visit visits until the round is over.
func (v *benchVisitor) visit(round *benchRound) benchWord {
	w := benchWord{At: wordPublished, Number: v.number, Time: v.client.clock.Now()}
	v.visits = 0
	for !round.over() {
		if err := v.once(round.ctx); err != nil {
			w.Error = fmt.Sprintf("visitor %d: %v", v.number, err)
			break
		}
		v.visits++
	}
	w.Count = v.visits
	return w
}

func (v *benchVisitor) once(ctx context.Context) error {
	a, err := notification.Dial(ctx, v.client.options)
	if err != nil {
		return err
	}
	name := fmt.Sprintf(benchVisitorFormat, v.number, v.visits)
	_, err = a.Connect(ctx, api.Connect{Room: v.client.part.Room, Name: name})
	return errors.Join(err, a.Close())
}

// benchGuestbook hears who comes and who goes, and keeps account of both.
type benchGuestbook struct {
	client *benchClient
	conn   *notification.Connection

	mu         sync.Mutex
	came, went load.Ledger
	last       int64 // when the last came or went
}

func (c *benchClient) openGuestbook(ctx context.Context) error {
	a, err := c.attach(ctx)
	if err != nil {
		return err
	}
	g := &benchGuestbook{client: c}
	if g.conn, err = a.Connect(ctx, api.Connect{Room: c.part.Room, Name: "guestbook", Presence: true}); err != nil {
		return err
	}
	c.guestbook = g
	c.receiving.Go(g.receive)
	return nil
}

// receive takes what comes until the connection is closed, or it cannot go on.
func (g *benchGuestbook) receive() {
	for {
		e, err := g.conn.Receive(context.Background())
		if errors.Is(err, api.ErrClosed) {
			return
		}
		if err == nil {
			err = g.enter(e)
		}
		if err != nil {
			g.client.words.say(benchWord{At: wordFailed, Error: "guest book: " + err.Error()})
			return
		}
	}
}

func (g *benchGuestbook) enter(e api.Event) error {
	if e.Kind == api.KindMembers {
		return nil
	}
	var visitor uint16
	var visit uint64
	if n, _ := fmt.Sscanf(e.From, benchVisitorFormat, &visitor, &visit); n != 2 {
		return fmt.Errorf("%s, who has no part in this load", describe(e, g.conn.Name()))
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.last = g.client.clock.Now()
	switch {
	case e.Kind == api.KindJoined:
		g.came.Take(visitor, visit)
	case e.Kind == api.KindLeft && e.Reason == api.ReasonClosed:
		g.went.Take(visitor, visit)
	default:
		return fmt.Errorf("unexpected: %s", describe(e, g.conn.Name()))
	}
	return nil
}

// entries is how many came, and went, in this round.
func (g *benchGuestbook) entries() uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.came.Delivered() + g.went.Delivered()
}

// sumUp tells what came of the visits, of which each visitor made so many, and
// opens a new account.
func (g *benchGuestbook) sumUp(visits []uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	tally := g.came.Sum(visits)
	tally.Add(g.went.Sum(visits))
	g.client.words.say(benchWord{At: wordHeard, Time: g.last, Tally: &tally})
	g.came, g.went = load.Ledger{}, load.Ledger{}
}
