package faults_test

import (
	"fmt"
	"testing"
	"time"

	"crier.local/cmd/internal/faults"
)

// TestIdle has thousands of connections that do nothing: what they cost, and that
// all of them are gone when their processes are killed.
func TestIdle(t *testing.T) {
	t.Run("connections", func(t *testing.T) {
		overBoth(t, "5,000 idle connections of one process", faults.Setup{}, func(s *scene) {
			s.idle(fewer(5000, 1000), 1, "")
		})
	})
	t.Run("attachments", func(t *testing.T) {
		overBoth(t, "1,000 idle clients", faults.Setup{}, func(s *scene) {
			s.idle(fewer(1000, 200), 4, "each")
		})
	})
}

// idle makes count idle connections in so many processes.
func (s *scene) idle(count, processes int, options string) {
	s.t.Helper()
	w := s.witness("r")
	before := s.Provider().RSS()
	joined := w.Watch(s.Seen("r", nth(count, func(r faults.Record) bool { return r.Kind == "joined" })))
	var actors []*faults.Actress
	for range processes {
		a := s.actor()
		if options != "" {
			_, err := a.Ask(s.ctx, faults.Said("", "dialled"), "dial %d", count/processes)
			s.must(err)
		}
		s.crowd(a, "c", count/processes, "room=r name=%s %s", a.Name, options)
		actors = append(actors, a)
	}
	s.wait(joined)
	each := (s.Provider().RSS() - before) / int64(count)

	const rest = 2 * time.Second
	busy := s.Provider().CPU()
	s.pass(rest)
	busy = s.Provider().CPU() - busy

	var last int64
	gone := w.Watch(s.Seen("r", collect(count, func(r faults.Record) bool { return r.Kind == "left" }, func(r faults.Record) {
		last = r.Nanos
		if r.Reason != "died" {
			s.t.Errorf("%s left because it %s, want died", r.Who, r.Reason)
		}
	})))
	killed := faults.Monotonic()
	for _, a := range actors {
		a.Kill()
	}
	s.wait(gone)
	s.notice = append(s.notice, time.Duration(last-killed))
	for _, a := range actors {
		s.must(a.Killed(s.ctx))
	}
	s.n = count
	s.note = fmt.Sprintf("%.1f KB each; idle %.1f %% of a CPU; notice: all have left", float64(each)/1024, 100*busy.Seconds()/rest.Seconds())
}
