package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The test binary is the program, in all its roles.
func TestMain(m *testing.M) {
	if role := os.Getenv(roleKey); role != "" {
		os.Exit(act(role, os.Args[1:]))
	}
	os.Exit(m.Run())
}

// newTestHouse returns a house that has to be empty in the end.
func newTestHouse(t *testing.T, ctx context.Context) *house {
	t.Helper()
	h, err := newHouse(ctx, options{window: windowBytes, binaries: map[string]string{}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(h.dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is still there: %v", h.dir, err)
		}
		noChildren(t)
	})
	return h
}

// noChildren fails the test if this process has one that runs.
func noChildren(t *testing.T) {
	t.Helper()
	lists, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		t.Fatal(err)
	}
	for _, list := range lists {
		if pids, err := os.ReadFile(list); err == nil && len(bytes.TrimSpace(pids)) > 0 {
			t.Errorf("processes are left: %s", pids)
		}
	}
}

// small are cells as tests can bear them.
func small() []cell {
	var all []cell
	for _, c := range cells() {
		switch c.name {
		case "16x1", "1024x10", "shared", "loaded", "latency", "send", "send-heard":
		case "128all8":
			c.publishers, c.receivers = 3, 3
		case "memory", "connects", "killed", "idle":
			c.receivers = min(c.receivers, 5)
		case "attached":
			c.receivers = 10
		default:
			continue
		}
		c.receivers, c.rate, c.settle = min(c.receivers, 10), min(c.rate, 2000), time.Millisecond
		all = append(all, c)
	}
	return all
}

// TestSystems measures each system that is there in small cells: every figure is
// there, no delivery is missing, and afterwards nothing is.
func TestSystems(t *testing.T) {
	h := newTestHouse(t, t.Context())
	for _, sys := range systems() {
		t.Run(sys.name(), func(t *testing.T) {
			if err := sys.find(h); err != nil {
				if name := sys.name(); name == us || name == "nats" {
					t.Fatal(err) // they are built here
				}
				t.Skip(err)
			}
			b := &bench{options: options{seconds: 0.05, warm: 0.02, rounds: 1}, h: h, systems: []system{sys}, began: time.Now()}
			for _, c := range small() {
				if !c.has(sys.name()) {
					continue
				}
				b.cells = append(b.cells, c)
				if err := b.measure(0, c, sys); err != nil {
					t.Fatal(err)
				}
				checkSample(t, c, b.samples[len(b.samples)-1])
				noChildren(t)
			}
		})
	}
}

func checkSample(t *testing.T, c cell, s sample) {
	t.Helper()
	switch {
	case s.Error != "":
		t.Errorf("%s: %s", c.name, s.Error)
	case len(s.Values) == 0:
		t.Errorf("%s: no figures", c.name)
	case !s.Tally.Exact():
		t.Errorf("%s: not exact: %+v", c.name, s.Tally)
	case c.kind == flow && s.Tally.Delivered == 0:
		t.Errorf("%s: nothing was delivered", c.name)
	case c.rate > 0 && s.Latency == nil, c.kind == request && s.Latency.Count() == 0:
		t.Errorf("%s: nothing was timed", c.name)
	}
}

// TestInterrupt ends a run while it measures.
func TestInterrupt(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	h := newTestHouse(t, ctx)
	st := &stage{h: h, c: flowCell(16, 2), sys: &interrupted{raw{}, cancel}}
	if _, err := measureFlow(st, 0, time.Minute); !errors.Is(err, context.Canceled) {
		t.Errorf("an interrupted measurement: %v", err)
	}
}

// interrupted calls a function as soon as there is a server.
type interrupted struct {
	system
	call func()
}

func (i *interrupted) start(h *house) (*server, error) {
	s, err := i.system.start(h)
	i.call()
	return s, err
}

// TestServerDies has a server die under its clients.
func TestServerDies(t *testing.T) {
	h := newTestHouse(t, t.Context())
	st := &stage{h: h, c: flowCell(16, 2)}
	st.sys = &interrupted{raw{}, func() { go killWhenBusy(t.Context(), st) }}
	_, err := measureFlow(st, 0, time.Minute)
	if err == nil || !strings.Contains(err.Error(), "raw") {
		t.Errorf("a measurement whose server has died: %v", err)
	}
}

// killWhenBusy kills the stage's server when messages arrive.
func killWhenBusy(ctx context.Context, st *stage) {
	for tick := time.NewTicker(time.Millisecond); st.board.sum() == 0; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
	st.server.kill()
}
