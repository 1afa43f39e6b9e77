package main

import (
	"context"
	"os"
	"os/exec"
	"testing"
	"time"

	"crier.local/api"
	"crier.local/client"
	"crier.local/client/notification"
	"crier.local/cmd/internal/faults"
)

// pythonScene is a provider, in a process of its own, with clients in Go and
// processes in Python.
type pythonScene struct {
	python
	t        *testing.T
	ctx      context.Context
	dir      string // the run directory
	provider *faults.Provider
	address  api.Endpoint
}

// newPythonScene starts `crier serve` with args; without an address it listens on
// a unix socket. When the test ends the provider must hold nothing, and end in order.
func newPythonScene(t *testing.T, args ...string) *pythonScene {
	t.Helper()
	t.Parallel()
	s := &pythonScene{python: newPython(t), t: t}
	var err error
	if s.dir, err = os.MkdirTemp("", "crier-python"); err != nil { // a test's own may be too long for a socket
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(s.dir) })
	// The test's own context is over by the time it is cleaned up.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 3*time.Minute)
	t.Cleanup(cancel)
	s.ctx = ctx
	crier, err := exec.LookPath("crier")
	if err != nil {
		t.Fatal(err)
	}
	program := faults.Program{Crier: crier, Env: []string{"CRIER_RUN_DIR=" + s.dir, "GORACE=atexit_sleep_ms=0"}}
	if s.provider, err = program.Serve(ctx, args...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.end)
	s.address = s.provider.Addresses()[0]
	return s
}

func (s *pythonScene) end() {
	if s.provider.Over() {
		return // and the test has looked at how
	}
	if s.emptied() {
		s.provider.Term()
	}
	if err := s.provider.Reaped(s.ctx); err != nil {
		s.t.Errorf("provider: %v\n%s", err, s.provider.Words())
		s.provider.Kill()
	}
}

// emptied waits until nobody is attached and nothing is open.
func (s *pythonScene) emptied() bool {
	for {
		state, err := s.provider.State(s.ctx)
		if err != nil {
			s.t.Errorf("still there: %+v: %v", state, err)
			return false
		}
		if state.Processes == 0 && state.Connections == 0 {
			return true
		}
	}
}

// client attaches this process, until the test ends.
func (s *pythonScene) client() *notification.Client {
	s.t.Helper()
	c, err := notification.Dial(s.ctx, client.Options{Address: s.address})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	return c
}

// connect attaches this process, and takes a seat.
func (s *pythonScene) connect(o api.Connect) *notification.Connection {
	s.t.Helper()
	x, err := s.client().Connect(s.ctx, o)
	if err != nil {
		s.t.Fatal(err)
	}
	return x
}

// attached starts a peer and has it take a seat, `room` in Python. connect is what
// it asks for.
func (s *pythonScene) attached(connect string) *pythonPeer {
	s.t.Helper()
	p := s.start(s.ctx, s.t, "CRIER_ADDRESS="+s.address.String())
	p.do("client = crier.attach(); service = client.open(); room = service.connect(" + connect + ")")
	return p
}

// receive returns the next event that x receives.
func (s *pythonScene) receive(x *notification.Connection) api.Event {
	s.t.Helper()
	e, err := x.Receive(s.ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	return e
}

// send sends to so many receivers.
func (s *pythonScene) send(x *notification.Connection, payload []byte, receivers int) api.Receipt {
	s.t.Helper()
	receipt, err := x.Send(s.ctx, payload)
	if err != nil || receipt.Receivers != receivers {
		s.t.Fatalf("receipt %+v, %v; want %d receivers", receipt, err, receivers)
	}
	return receipt
}
