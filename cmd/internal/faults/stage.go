package faults

import (
	"context"
	"fmt"
	"sync"
	"time"

	"crier.local/api"
	"crier.local/api/tlstest"
)

// The transports of a stage.
const (
	TransportUnix = "unix" // a unix socket
	TransportTLS  = "tls"  // TCP with certificates of both sides
)

// Setup says what a stage is like.
type Setup struct {
	Crier     string   // path of the crier binary
	Dir       string   // where everything goes; a short path, since the socket is in it
	Transport string   // TransportUnix, which is the default, or TransportTLS
	Serve     []string // further arguments of the provider
	Env       []string // further NAME=VALUE of the provider
	Wrap      []string // a command put before the provider's
	Memory    int64    // bytes that the provider may have in use; 0 for whatever it likes
	// Hear hears all records too, in order but those of different actors at once.
	Hear func(Record)
}

// Stage is a provider, the actors that use it, and a history of what they do. Its
// methods may be called concurrently, except that there is one Check, at the end.
type Stage struct {
	// History hears everything that the actors tell.
	History *History

	setup   Setup
	program Program            // of actors
	address api.Endpoint       // where the provider is
	visitor []string           // ActorArgs
	guild   *tlstest.Authority // of all certificates, or nil
	server  []string           // arguments of the provider, but for the setup's
	base    State              // of the provider when nobody was attached

	mu       sync.Mutex
	provider *Provider
	actors   []*Actress
	prompter *Actress            // holds a witness and a marker in each room
	rooms    map[string]bool     // that have them
	seats    map[string]bool     // connections that are open, by label
	talk     map[string]*Actress // those that say something in the background, by label
	held     map[*Actress]int    // connections that nobody speaks of
	troubles []error             // of those who are not involved
	highest  int64               // RSS of providers that are over
}

// NewStage makes a stage and starts its provider.
func NewStage(ctx context.Context, setup Setup) (*Stage, error) {
	s := &Stage{
		History: NewHistory(), setup: setup, program: Program{Crier: setup.Crier, Dir: setup.Dir},
		rooms: map[string]bool{}, seats: map[string]bool{}, talk: map[string]*Actress{}, held: map[*Actress]int{},
	}
	if err := s.locate(); err != nil {
		return nil, err
	}
	if err := s.Start(ctx); err != nil {
		return nil, err
	}
	if err := s.rehearse(ctx); err != nil {
		s.End()
		return nil, err
	}
	return s, nil
}

// Server is how the stage's provider is started.
func (s *Stage) Server() Program {
	return Program{Crier: s.setup.Crier, Dir: s.setup.Dir, Env: s.setup.Env, Wrap: s.setup.Wrap}
}

// Start starts the provider, after the one before has ended or was killed, and
// returns when it listens.
func (s *Stage) Start(ctx context.Context) error {
	p, err := s.Server().Serve(ctx, s.ServeArgs()...)
	if p == nil {
		return err
	}
	s.mu.Lock()
	s.provider = p
	s.mu.Unlock()
	return err
}

// Provider returns the one that was started last.
func (s *Stage) Provider() *Provider {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.provider
}

// Adopt makes p, which was started on the stage's address by other means, the
// stage's provider.
func (s *Stage) Adopt(p *Provider) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.provider = p
}

// KillProvider kills the provider with -9 and waits until it is reaped.
func (s *Stage) KillProvider(ctx context.Context) error {
	p := s.Provider()
	s.noteMemory()
	p.Kill()
	err := p.Reaped(ctx)
	if ctx.Err() != nil {
		return err
	}
	return nil
}

// TermProvider ends the provider in order, and waits until it is reaped.
func (s *Stage) TermProvider(ctx context.Context) error {
	p := s.Provider()
	s.noteMemory()
	if err := p.Term(); err != nil {
		return err
	}
	if err := p.Reaped(ctx); err != nil {
		return fmt.Errorf("the provider ended with %w: %s", err, p.Words())
	}
	return nil
}

// noteMemory looks at how much memory the provider has had.
func (s *Stage) noteMemory() {
	high := s.Provider().HighRSS()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.highest = max(s.highest, high)
}

// HighRSS is the most memory that any of the providers has had in use.
func (s *Stage) HighRSS() int64 {
	s.noteMemory()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.highest
}

// rehearse has somebody come and go, so that what the provider makes once, when it
// is first needed, is there when its state is taken as that to which it must return.
func (s *Stage) rehearse(ctx context.Context) error {
	a, err := s.Actor()
	if err != nil {
		return err
	}
	if _, err := a.Connect(ctx, "0", ""); err != nil {
		return err
	}
	if err := a.Leave(ctx); err != nil {
		return err
	}
	return s.until(ctx, "the first to leave", func(now State) error {
		s.base = now
		return empty(now)
	})
}

// empty returns an error if somebody is there.
func empty(now State) error {
	if now.Processes != 0 || now.Connections != 0 || now.QueuedBytes != 0 {
		return fmt.Errorf("%d processes, %d connections and %d queued bytes are left", now.Processes, now.Connections, now.QueuedBytes)
	}
	return nil
}

// until asks the provider for its state until so returns nil, or ctx ends; then
// the error is so's.
func (s *Stage) until(ctx context.Context, what string, so func(State) error) error {
	for {
		now, err := s.Provider().State(ctx)
		if err != nil {
			return fmt.Errorf("wait for %s: %w", what, err)
		}
		if err = so(now); err == nil {
			return nil
		}
		select {
		case <-pause():
		case <-ctx.Done():
			return fmt.Errorf("in vain for %s: %w", what, err)
		}
	}
}

// statePause is between two questions about the state.
const statePause = 20 * time.Millisecond

// pause passes between two looks at what cannot be waited for.
func pause() <-chan time.Time { return time.After(statePause) }

// Actor starts an actor, which has no attachment yet.
func (s *Stage) Actor(args ...string) (*Actress, error) {
	s.mu.Lock()
	a := &Actress{stage: s}
	s.actors = append(s.actors, a)
	name := fmt.Sprintf("a%d", len(s.actors))
	s.mu.Unlock()
	reach, err := s.argsAs(name)
	if err != nil {
		return a, err
	}
	p, err := s.program.Actor(name, func(r Record) { s.heard(a, r) }, append(reach, args...)...)
	a.Process = p
	return a, err
}

// Uninvolved starts an actor that what happens is none of the business of: it must
// not have an error, nor lose its link (invariant I5).
func (s *Stage) Uninvolved() (*Actress, error) {
	a, err := s.Actor()
	s.mu.Lock()
	defer s.mu.Unlock()
	a.uninvolved = true
	return a, err
}

// heard takes a record of an actor into account.
func (s *Stage) heard(a *Actress, r Record) {
	s.History.Add(r)
	if s.setup.Hear != nil {
		s.setup.Hear(r)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case r.At == AtConnected:
		s.seats[r.Conn] = true
	case r.At == AtInvoke, r.At == AtPosted:
		s.talk[r.Conn] = a
	case r.At == AtSaid && (r.Reason == "sent" || r.Reason == "posted" || r.Reason == "flooded"):
		delete(s.talk, r.Conn)
	case r.At == AtEnd, r.At == AtClosed:
		delete(s.seats, r.Conn)
	case r.At == AtSaid && r.Reason == "held":
		s.held[a] += int(r.Count)
	case r.At == AtSaid && r.Reason == "forked":
		a.heirs = append(a.heirs, int(r.Count))
	}
	if a.uninvolved && troubled(r) {
		s.troubles = append(s.troubles, fmt.Errorf("I5: not involved, and yet %+v", r))
	}
}

// troubled reports whether a record tells of something that happens only to those
// who are involved in a fault.
func troubled(r Record) bool {
	if r.Error == api.ErrClosed.Error() { // it was told to close
		return false
	}
	lost := r.Kind == api.KindReconnected.String() || r.Kind == api.KindRestarted.String() || r.Kind == api.KindGap.String()
	return r.Error != "" || r.At == AtEnd || r.At == AtEvent && lost
}

// Witness has the room watched: by a connection with presence, and one that can
// send a last message into it. It returns the actor that has them all.
func (s *Stage) Witness(ctx context.Context, room string) (*Actress, error) {
	if err := s.prompt(ctx); err != nil {
		return nil, err
	}
	s.mu.Lock()
	known := s.rooms[room]
	s.rooms[room] = true
	s.mu.Unlock()
	if known {
		return s.prompter, nil
	}
	p := s.prompter
	if _, err := p.Connect(ctx, "mark-"+room, "sendonly room="+room); err != nil {
		return p, err
	}
	_, err := p.Connect(ctx, "see-"+room, "presence client=1 name=witness room="+room)
	return p, err
}

// Seen matches what the witness of a room hears.
func (s *Stage) Seen(room string, match func(Record) bool) func(Record) bool {
	label := s.prompter.Label("see-" + room)
	return func(r Record) bool { return r.At == AtEvent && r.Conn == label && match(r) }
}

// prompt starts the actor that watches.
func (s *Stage) prompt(ctx context.Context) error {
	s.mu.Lock()
	there := s.prompter != nil
	s.mu.Unlock()
	if there {
		return nil
	}
	a, err := s.Actor()
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.prompter = a
	s.mu.Unlock()
	_, err = a.Ask(ctx, Said("", "dialled"), "dial 2")
	return err
}

// End ends everything at once, whatever state it is in.
func (s *Stage) End() {
	s.mu.Lock()
	actors, p := s.actors, s.provider
	s.mu.Unlock()
	for _, a := range actors {
		if a.Process != nil {
			a.end()
		}
	}
	if p != nil {
		p.Kill()
		<-p.over
	}
}
