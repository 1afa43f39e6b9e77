package faults

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"syscall"
)

// Actress is an actor of a stage.
type Actress struct {
	*Process

	stage      *Stage
	uninvolved bool
	heirs      []int // processes that it left behind
}

// Label returns the stage's name for a connection of the actor.
func (a *Actress) Label(conn string) string { return a.Name + "/" + conn }

// Connect makes a connection that the actor calls conn, with options as [Actor]
// knows them.
func (a *Actress) Connect(ctx context.Context, conn, options string) (Record, error) {
	label := a.Label(conn)
	return a.Ask(ctx, Connected(label), "connect %s %s", label, options)
}

// Crowd makes many connections.
func (a *Actress) Crowd(ctx context.Context, conn string, count int, options string) error {
	label := a.Label(conn)
	_, err := a.Ask(ctx, Said(label, "crowded"), "crowd %s %d %s", label, count, options)
	return err
}

// Leave has the actor close everything and end, which it must in order.
func (a *Actress) Leave(ctx context.Context) error {
	if a.Over() {
		return nil
	}
	a.Quit()
	if err := a.Reaped(ctx); err != nil {
		return fmt.Errorf("actor %s: %w: %s", a.Name, err, a.Words())
	}
	a.bury()
	return nil
}

// Killed waits until an actor that was killed is reaped. What it had is over.
func (a *Actress) Killed(ctx context.Context) error {
	if err := a.Reaped(ctx); err != nil && ctx.Err() != nil {
		return err
	}
	a.stage.History.Killed(a.Name)
	a.bury()
	return nil
}

// bury forgets what the actor had.
func (a *Actress) bury() {
	s := a.stage
	s.mu.Lock()
	defer s.mu.Unlock()
	for label := range s.seats {
		if strings.HasPrefix(label, a.Name+"/") {
			delete(s.seats, label)
		}
	}
	maps.DeleteFunc(s.talk, func(_ string, by *Actress) bool { return by == a })
	delete(s.held, a)
}

// end ends an actor and what it left behind.
func (a *Actress) end() {
	a.Kill()
	<-a.over
	a.stage.mu.Lock()
	defer a.stage.mu.Unlock()
	for _, pid := range a.heirs {
		_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended by itself
	}
	a.heirs = nil
}
