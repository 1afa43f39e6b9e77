package faults_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"crier.local/api"
	"crier.local/client"
	"crier.local/cmd/internal/faults"
)

// idleTime is how long nothing happens while it is measured what that costs;
// settleTime is what goes before, in which deadlines for greetings still end.
const (
	idleTime   = 10 * time.Second
	settleTime = 6 * time.Second
)

// cost is what a process has taken.
type cost struct {
	cpu      time.Duration
	switches int64 // times that a thread began to wait
}

// costOf looks at what the provider has taken so far.
func (s *scene) costOf() (c cost) {
	s.t.Helper()
	c.cpu = s.Provider().CPU()
	names, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", s.Provider().Pid()))
	s.must(err)
	for _, name := range names {
		text, _ := os.ReadFile(name)
		for line := range strings.Lines(string(text)) {
			if value, ok := strings.CutPrefix(line, "voluntary_ctxt_switches:"); ok {
				n, _ := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
				c.switches += n
			}
		}
	}
	return c
}

// quiet measures what nothing costs.
func (s *scene) quiet() (c cost) {
	s.t.Helper()
	s.pass(settleTime)
	before := s.costOf()
	s.pass(idleTime)
	after := s.costOf()
	return cost{after.cpu - before.cpu, after.switches - before.switches}
}

// gone waits until the provider holds nothing of those who were killed but what
// the given number of processes have.
func (s *scene) gone(processes int) {
	s.t.Helper()
	s.poll(func() error {
		now, err := s.Provider().State(s.ctx)
		if err == nil && now.Processes > processes {
			err = fmt.Errorf("%d processes are left, want %d", now.Processes, processes)
		}
		return err
	})
}

// hardly is how often threads may run in idleTime, of a provider that has nothing
// to do.
const hardly = 100

// TestQuiet has thousands of attachments, one of which has thousands of
// connections, and nothing to do.
func TestQuiet(t *testing.T) {
	apart(t)
	const actors = 4
	s := newScene(t, "thousands of attachments and connections, idle", faults.Setup{Transport: faults.TransportUnix})
	each, more := fewer(500, 50), fewer(5000, 500)
	var all []*faults.Actress
	for range actors {
		a := s.actor()
		s.attend(a, "r", each)
		all = append(all, a)
	}
	s.crowd(all[0], "crowd", more, "room=r name=crowd")
	c := s.quiet()
	if c.switches > hardly {
		t.Errorf("%d context switches in %s, want hardly any", c.switches, idleTime)
	}
	killed := time.Now()
	for _, a := range all {
		a.Kill()
	}
	for _, a := range all {
		s.must(a.Killed(s.ctx))
	}
	s.gone(0)
	s.n, s.notice = actors*each+more, append(s.notice, time.Since(killed))
	s.note = fmt.Sprintf("%s CPU and %d context switches in %s; notice: the provider holds nothing of them", c.cpu, c.switches, idleTime)
	s.check()
}

// TestConnectChurn has clients come and go as fast as they can be started.
func TestConnectChurn(t *testing.T) {
	const rate, span = 500, 5 * time.Second
	overBoth(t, "500 connects a second, for a talking pair", faults.Setup{}, func(s *scene) {
		s.witness("r")
		s.talkers("r")
		options := s.clientOptions()
		var comers sync.WaitGroup
		var mu sync.Mutex
		attached, refused, dropped := 0, 0, 0
		tick := time.NewTicker(time.Second / rate)
		defer tick.Stop()
		began := time.Now()
		for range fewer(rate, rate/5) * int(span/time.Second) {
			<-tick.C
			comers.Go(func() {
				err := s.comeAndGo(options)
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					attached++
				case errors.Is(err, api.ErrTooMany):
					refused++
				case s.transport == faults.TransportTLS && errors.Is(err, api.ErrNoProvider):
					dropped++ // before anybody knows who it is
				default:
					t.Error(err)
				}
			})
		}
		comers.Wait()
		took := time.Since(began)
		s.gone(4) // two who talk, and the witness with two
		s.n, s.note = attached, fmt.Sprintf("%.0f a second; %d told that it is too many, %d dropped; nobody else noticed",
			float64(attached+refused+dropped)/took.Seconds(), refused, dropped)
	})
}

// comeAndGo attaches and leaves.
func (s *scene) comeAndGo(o client.Options) error {
	ctx, cancel := context.WithTimeout(s.ctx, time.Minute)
	defer cancel()
	c, err := client.Dial(ctx, o)
	if err != nil {
		return err
	}
	return c.Close()
}
