package faults

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"

	"crier.local/api"
)

// Provider is a provider in a process of its own.
type Provider struct {
	*child

	mu        sync.Mutex
	addresses []api.Endpoint
	states    []State
	changed   chan struct{} // closed and replaced when one of the two grows
}

// State is what a provider says about itself on SIGUSR1.
type State struct {
	Goroutines  int   `json:"goroutines"`
	Descriptors int   `json:"descriptors"`
	Processes   int   `json:"processes"`    // that are attached
	Connections int   `json:"connections"`  // that are open in rooms, those that only send too
	QueuedBytes int64 `json:"queued_bytes"` // held for all
	HeapBytes   int64 `json:"heap_bytes"`
}

// Serve starts `crier serve` with args, and returns when it listens on the number
// of addresses that the arguments name, or one. If it ends before, the error has
// its words.
func (p Program) Serve(ctx context.Context, args ...string) (*Provider, error) {
	s, err := p.Launch(args...)
	if err != nil {
		return nil, err
	}
	return s, s.Listening(ctx, max(1, countOf(args, "--address")))
}

// countOf counts a flag.
func countOf(args []string, flag string) (n int) {
	for _, arg := range args {
		if arg == flag || strings.HasPrefix(arg, flag+"=") {
			n++
		}
	}
	return n
}

// Launch is Serve that does not wait.
func (p Program) Launch(args ...string) (*Provider, error) {
	s := &Provider{changed: make(chan struct{})}
	c, err := start(p.command(append([]string{"serve"}, args...)...), func([]byte) {}, s.heard)
	if err != nil {
		return nil, fmt.Errorf("provider: %w", err)
	}
	s.child = c
	return s, nil
}

// heard reads a line of the provider's standard error.
func (s *Provider) heard(line []byte) {
	text := string(line)
	if _, address, ok := strings.Cut(text, "listening on "); ok {
		if e, err := api.ParseEndpoint(strings.TrimSpace(address)); err == nil {
			s.grow(func() { s.addresses = append(s.addresses, e) })
		}
	}
	if state, ok := parseState(line); ok {
		s.grow(func() { s.states = append(s.states, state) })
	}
}

func (s *Provider) grow(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
	close(s.changed)
	s.changed = make(chan struct{})
}

// parseState reads a line of the log that tells the state.
func parseState(line []byte) (State, bool) {
	var state struct {
		Message string `json:"@message"`
		State
	}
	err := json.Unmarshal(line, &state)
	return state.State, err == nil && state.Message == "state"
}

// until waits for what grow brings about.
func (s *Provider) until(ctx context.Context, so func() bool) error {
	for {
		s.mu.Lock()
		done, changed := so(), s.changed
		s.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-changed:
		case <-s.over:
			return fmt.Errorf("the provider ended: %w: %s", errors.Join(errOver, s.exit), s.Words())
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

var errOver = errors.New("over")

// Listening waits until the provider listens on so many addresses.
func (s *Provider) Listening(ctx context.Context, count int) error {
	err := s.until(ctx, func() bool { return len(s.addresses) >= count })
	if err != nil {
		return fmt.Errorf("wait until the provider listens: %w", err)
	}
	return nil
}

// Addresses returns where it listens.
func (s *Provider) Addresses() []api.Endpoint {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]api.Endpoint(nil), s.addresses...)
}

// State asks the provider for its state.
func (s *Provider) State(ctx context.Context) (State, error) {
	s.mu.Lock()
	before := len(s.states)
	s.mu.Unlock()
	if err := s.Signal(syscall.SIGUSR1); err != nil {
		return State{}, fmt.Errorf("ask the provider for its state: %w", err)
	}
	if err := s.until(ctx, func() bool { return len(s.states) > before }); err != nil {
		return State{}, fmt.Errorf("wait for the provider's state: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.states[len(s.states)-1], nil
}

// Term asks the provider to end in order. It does not wait; see Reaped.
func (s *Provider) Term() error { return s.Signal(syscall.SIGTERM) }
