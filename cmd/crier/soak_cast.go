package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"crier.local/api"
	"crier.local/cmd/internal/faults"
)

// cast is the processes of a soak: a provider, and actors that have roles.
type cast struct {
	s        *soak
	life     context.Context // of the roles' talk
	end      context.CancelFunc
	talk     sync.WaitGroup
	baseline faults.State // of the provider when everybody is there

	mu        sync.Mutex
	provider  *faults.Provider
	players   []*player
	guests    map[string]*faults.Process // actors of a fault
	disturbed map[string]time.Time       // until when an actor may have errors
	all       time.Time                  // until when all of them may
	epochs    int                        // how often the provider was started
}

func newCast(s *soak) *cast {
	c := &cast{s: s, guests: map[string]*faults.Process{}, disturbed: map[string]time.Time{}}
	c.life, c.end = context.WithCancel(context.Background())
	return c
}

// The rooms of a soak: in flood there are floods and slow readers, in the others
// there is talk. Everyone has two witnesses.
const (
	soakWitnesses = 2
	floodRoom     = "flood"
)

func soakRooms() []string { return []string{"talk0", "talk1", "talk2", floodRoom} }

// raise starts the provider and everybody else.
func (c *cast) raise(ctx context.Context) error {
	if err := c.serve(ctx); err != nil {
		return err
	}
	for i := range c.s.processes {
		c.players = append(c.players, newPlayer(c, i))
	}
	for _, p := range c.players {
		if err := p.enter(ctx); err != nil {
			return err
		}
	}
	state := c.settled(ctx)
	c.baseline = state.State
	for _, p := range c.players {
		c.talk.Go(p.play)
	}
	return ctx.Err()
}

// serve starts a provider.
func (c *cast) serve(ctx context.Context) error {
	p, err := c.s.program.Serve(ctx, c.s.serveArgs()...)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.provider = p
	c.epochs++
	return nil
}

func (c *cast) served() *faults.Provider {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.provider
}

// actor starts a client process, whose connections the history follows.
func (c *cast) actor(name string, overTCP bool, hear func(faults.Record)) (*faults.Process, error) {
	return c.s.program.Actor(name, func(r faults.Record) {
		c.s.history.Add(r)
		c.s.write(&r)
		c.complain(name, &r)
		if hear != nil {
			hear(r)
		}
	}, c.s.actorArgs(overTCP)...)
}

// bury waits for a process that was killed or told to quit, and returns how it ended
// if that was not well.
func (c *cast) bury(ctx context.Context, a *faults.Process) error {
	err := a.Reaped(ctx)
	if !a.Over() {
		return err
	}
	c.s.history.Killed(a.Name)
	c.autopsy(a.Name, a.Words())
	c.forgive(a.Name)
	return err
}

// forgive ends what disturb began.
func (c *cast) forgive(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.disturbed, name)
}

// autopsy reports what a process that is over said of a crash.
func (c *cast) autopsy(name, words string) {
	for _, sign := range []string{"DATA RACE", "panic", "fatal error:"} {
		if _, after, ok := strings.Cut(words, sign); ok {
			c.s.report.violation(c.s, faults.Violation{Invariant: "crash", Text: fmt.Sprintf("%s: %s%.4000s", name, sign, after)})
			return
		}
	}
}

// complain reports an error of an actor that no fault has touched (I5), while the
// host runs.
func (c *cast) complain(name string, r *faults.Record) {
	bad := r.At == faults.AtFailed || r.At == faults.AtUnknown || r.At == faults.AtEnd ||
		r.At == faults.AtSaid && r.Error != "" || r.At == faults.AtFlushed && r.Error != "" ||
		r.At == faults.AtEvent && (r.Kind == api.KindReconnected.String() || r.Kind == api.KindRestarted.String())
	if !bad || !c.calm(name) || !c.s.pulse.steady() {
		return
	}
	c.s.report.violation(c.s, faults.Violation{Invariant: "I5", Text: fmt.Sprintf("%s, which no fault concerns: %s %s%s %s %s", name, r.At, r.Conn, r.ID, r.Kind, r.Error)})
}

// calm reports whether no fault excuses errors of an actor now.
func (c *cast) calm(name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	return now.After(c.all) && now.After(c.disturbed[name])
}

// disturb excuses errors of an actor for a while; of all for no name.
func (c *cast) disturb(name string, d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	until := time.Now().Add(d)
	if name == "" {
		c.all = until
		return
	}
	c.disturbed[name] = until
}

// guest starts an actor that a fault needs, and whose name is its own.
func (c *cast) guest(name string) (*faults.Process, error) {
	a, err := c.actor(name, false, nil)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.guests[name] = a
	return a, nil
}

// dismiss ends a guest in order.
func (c *cast) dismiss(ctx context.Context, a *faults.Process) error {
	a.Quit()
	err := c.bury(ctx, a)
	c.forget(a)
	return err
}

func (c *cast) forget(a *faults.Process) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.guests, a.Name)
	delete(c.disturbed, a.Name)
}

// look is the provider as it was found, and what it should hold.
type look struct {
	faults.State
	rss, high int64
	expected  int // connections
	processes int
	err       error
}

// settled asks the provider what it holds until that is what it should hold, or
// ctx ends, and then complains (I1, I4).
func (c *cast) settled(ctx context.Context) look {
	for {
		l := c.look(ctx)
		wrong := c.wrong(&l)
		if wrong == nil {
			return l
		}
		if !waitFor(ctx, 300*time.Millisecond) {
			if c.life.Err() == nil {
				c.s.report.violation(c.s, *wrong)
			}
			return l
		}
	}
}

func (c *cast) look(ctx context.Context) (l look) {
	p := c.served()
	asked, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	l.State, l.err = p.State(asked)
	l.rss, l.high = p.RSS(), p.HighRSS()
	_, l.expected = c.s.history.Size()
	c.mu.Lock()
	defer c.mu.Unlock()
	l.processes = len(c.guests)
	for _, p := range c.players {
		if p.process() != nil && !p.process().Over() {
			l.processes++
		}
	}
	return l
}

// How much more goroutines and descriptors there may be than at first, with as
// many processes.
const (
	spareGoroutines  = 20
	spareDescriptors = 10
)

// wrong returns what is not as it should be, nil if nothing is.
func (c *cast) wrong(l *look) *faults.Violation {
	base := c.baseline
	switch {
	case l.err != nil:
		return &faults.Violation{Invariant: "I1", Text: "the provider does not tell its state: " + l.err.Error()}
	case l.Connections != l.expected || l.Processes != l.processes:
		return &faults.Violation{Invariant: "I1", Text: fmt.Sprintf("the provider holds %d connections of %d processes, there are %d of %d", l.Connections, l.Processes, l.expected, l.processes)}
	case base.Goroutines > 0 && l.Processes <= base.Processes && (l.Goroutines > base.Goroutines+spareGoroutines || l.Descriptors > base.Descriptors+spareDescriptors):
		return &faults.Violation{Invariant: "I4", Text: fmt.Sprintf("the provider has %d goroutines and %d descriptors; it had %d and %d with as many processes", l.Goroutines, l.Descriptors, base.Goroutines, base.Descriptors)}
	}
	return nil
}

// finish ends the talk, waits until everybody has heard everything, and sends all
// away.
func (c *cast) finish(ctx context.Context) {
	c.end()
	c.talk.Wait()
	if err := c.hearOut(ctx); err != nil {
		c.s.report.violation(c.s, faults.Violation{Invariant: "I3", Text: err.Error()})
	}
	c.s.watch(c.s.history.Check(true))
	for _, p := range c.players {
		p.process().Quit()
	}
	for _, p := range c.players {
		if err := c.bury(ctx, p.process()); err != nil {
			c.s.report.violation(c.s, faults.Violation{Invariant: "end", Text: fmt.Sprintf("%s does not quit: %v", p.process().Name, err)})
		}
	}
	c.empty(ctx)
}

// hearOut has the witnesses say a last word in each room, and waits until
// everybody has heard it.
func (c *cast) hearOut(ctx context.Context) error {
	for _, p := range c.players {
		p.wakeUp()
	}
	for _, room := range soakRooms() {
		for _, p := range c.players[:soakWitnesses] {
			label := p.labelIn(room)
			r, err := p.process().Ask(ctx, func(r faults.Record) bool {
				return r.Conn == label && (r.At == faults.AtOK || r.At == faults.AtFailed || r.At == faults.AtUnknown)
			}, "mark %s", label)
			if err != nil || r.At != faults.AtOK {
				return fmt.Errorf("the last word of %s in %s: %s %s %w", label, room, r.At, r.Error, errors.Join(err))
			}
			if err := c.heard(ctx, room, label, &r); err != nil {
				return err
			}
		}
	}
	return nil
}

// heard waits until everybody in the room but one has heard what r is the
// receipt of.
func (c *cast) heard(ctx context.Context, room, but string, r *faults.Record) error {
	for {
		var silent []string
		for _, label := range c.s.history.Behind(room, r.Epoch, r.Seq) {
			if label != but {
				silent = append(silent, label)
			}
		}
		if len(silent) == 0 {
			return nil
		}
		if !waitFor(ctx, 50*time.Millisecond) {
			return fmt.Errorf("silence: %v did not hear the last word, %d in %s", silent, r.Seq, room)
		}
	}
}

// empty checks that the provider holds nothing for anybody, and ends it.
func (c *cast) empty(ctx context.Context) {
	quiet, cancel := context.WithTimeout(ctx, soakQuiet)
	defer cancel()
	for {
		l := c.look(quiet)
		if l.err == nil && l.Connections == 0 && l.Processes == 0 && l.QueuedBytes == 0 {
			break
		}
		if !waitFor(quiet, 200*time.Millisecond) {
			c.s.report.violation(c.s, faults.Violation{Invariant: "I1", Text: fmt.Sprintf("when all have left the provider holds %+v (%v)", l.State, l.err)})
			break
		}
	}
	p := c.served()
	if err := errors.Join(p.Term(), p.Reaped(ctx)); err != nil {
		c.s.report.violation(c.s, faults.Violation{Invariant: "end", Text: "the provider, told to end: " + err.Error()})
	}
	c.autopsy("the provider", p.Words())
}

// sweep kills what is left.
func (c *cast) sweep() {
	c.end()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, a := range c.guests {
		a.Kill()
	}
	for _, p := range c.players {
		if a := p.process(); a != nil && !a.Over() {
			a.Kill()
		}
	}
	if c.provider != nil && !c.provider.Over() {
		c.provider.Kill()
	}
	os.Remove(c.s.socket())
}

// waitFor pauses for d and reports whether ctx is still on.
func waitFor(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
