package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"crier.local/api"
	"crier.local/cmd/internal/faults"
)

func (t *trial) killProvider(ctx context.Context) error {
	return t.restart(ctx, func(p *faults.Provider) error { return killed(ctx, p) })
}

// killed kills a provider and waits for it.
func killed(ctx context.Context, p *faults.Provider) error {
	p.Kill()
	_ = p.Reaped(ctx) // it was killed
	return ctx.Err()
}

func (t *trial) termProvider(ctx context.Context) error {
	return t.restart(ctx, func(p *faults.Provider) error {
		if err := errors.Join(p.Term(), p.Reaped(ctx)); err != nil {
			return fmt.Errorf("the provider, told to end: %w", err)
		}
		return nil
	})
}

// killProviderTwice kills the next provider too, when some have come back to it
// and some have not.
func (t *trial) killProviderTwice(ctx context.Context) error {
	pause := time.Duration(t.chance.IntN(200)) * time.Millisecond
	return t.restart(ctx, func(p *faults.Provider) error {
		if err := killed(ctx, p); err != nil {
			return err
		}
		if err := t.s.cast.serve(ctx); err != nil {
			return err
		}
		waitFor(ctx, pause)
		return killed(ctx, t.s.cast.served())
	})
}

// killTogether kills the provider, and at the same time some who were with it.
func (t *trial) killTogether(ctx context.Context) error {
	players := t.victims(1+t.chance.IntN(4), speaker, sluggard, flooder)
	for _, p := range players {
		p.pause(true)
		defer p.pause(false)
	}
	return t.restart(ctx, func(p *faults.Provider) error {
		killAll(players)
		if err := killed(ctx, p); err != nil {
			return err
		}
		if err := t.s.cast.serve(ctx); err != nil {
			return err
		}
		if err := t.replace(ctx, players); err != nil {
			return err
		}
		return killed(ctx, t.s.cast.served())
	})
}

// killUnderStop kills the provider while one who is with it stands still.
func (t *trial) killUnderStop(ctx context.Context) error {
	a, d := t.victims(1, speaker, sluggard, flooder)[0].process(), time.Duration(500+t.chance.IntN(5000))*time.Millisecond
	if err := a.Stop(); err != nil {
		return err
	}
	resumed := make(chan error, 1)
	time.AfterFunc(d, func() { resumed <- a.Cont() })
	err := t.restart(ctx, func(p *faults.Provider) error { return killed(ctx, p) })
	return errors.Join(err, <-resumed)
}

// stopProvider stops the provider for a while, and notes how long it took
// afterwards until a witness heard a message.
func (t *trial) stopProvider(ctx context.Context) error {
	c, p := t.s.cast, t.s.cast.served()
	d := time.Duration(500+t.chance.IntN(7000)) * time.Millisecond
	c.disturb("", soakRecover)
	if err := p.Stop(); err != nil {
		return err
	}
	waitFor(ctx, d)
	w := t.witness().process().Watch(func(r faults.Record) bool { return r.Kind == api.KindMessage.String() })
	since := time.Now()
	if err := p.Cont(); err != nil {
		return err
	}
	_, at, err := w.Wait(ctx)
	if err != nil {
		return err
	}
	t.recover = at.Sub(since)
	err = t.allBack(ctx)
	c.disturb("", 2*time.Second)
	return err
}

// restart ends the provider and starts another at once. It notes how long it took
// until a witness heard a message again.
func (t *trial) restart(ctx context.Context, end func(*faults.Provider) error) error {
	c := t.s.cast
	c.disturb("", 2*soakRecover)
	var again bool
	w := t.witness().process().Watch(func(r faults.Record) bool {
		again = again || r.Kind == api.KindRestarted.String()
		return again && r.Kind == api.KindMessage.String()
	})
	since := time.Now()
	former := c.served()
	if err := end(former); err != nil {
		return err
	}
	c.autopsy("the provider", former.Words())
	if err := c.serve(ctx); err != nil {
		return err
	}
	_, at, err := w.Wait(ctx)
	if err != nil {
		return err
	}
	t.recover = at.Sub(since)
	err = t.allBack(ctx)
	c.disturb("", 2*time.Second)
	return err
}

// allBack waits until the provider holds all connections again.
func (t *trial) allBack(ctx context.Context) error {
	for {
		l := t.s.cast.look(ctx)
		if l.err == nil && l.Connections == l.expected && l.Processes == l.processes {
			return nil
		}
		if !waitFor(ctx, 100*time.Millisecond) {
			return fmt.Errorf("the provider has %d connections of %d processes again, there are %d of %d (%w)", l.Connections, l.Processes, l.expected, l.processes, errors.Join(l.err, context.Cause(ctx)))
		}
	}
}

// deleteSocket deletes the provider's socket, and notes how long it takes until a
// new client can attach.
func (t *trial) deleteSocket(ctx context.Context) error {
	since := time.Now()
	if err := os.Remove(t.s.socket()); err != nil {
		return err
	}
	a, err := t.s.cast.guest(t.name("late"))
	if err != nil {
		return err
	}
	label := a.Name + "/0"
	if _, err := a.Ask(ctx, faults.Connected(label), "connect %s room=%s name=%s", label, soakRooms()[0], nameOf(label)); err != nil {
		return errors.Join(err, t.s.cast.dismiss(ctx, a))
	}
	t.recover = time.Since(since)
	return t.s.cast.dismiss(ctx, a)
}
