package faults_test

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"crier.local/cmd/internal/faults"
)

// returns counts, by connection, how often it was told that the provider is
// another, and when it was told last.
type returns struct {
	mu    sync.Mutex
	count map[string]int
	last  map[string]int64
}

// listenForReturns has all that comes back counted.
func (s *scene) listenForReturns() *returns {
	r := &returns{count: map[string]int{}, last: map[string]int64{}}
	s.listen(func(rec faults.Record) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if rec.Kind == "restarted" || rec.Kind == "reconnected" {
			r.count[rec.Conn]++
			r.last[rec.Conn] = rec.Nanos
		}
	})
	return r
}

// audience attaches count clients, spread over a few processes, each with a
// connection of its own.
func (s *scene) audience(count int) []*faults.Actress {
	s.t.Helper()
	var actors []*faults.Actress
	for per := min(count, 250); count > 0; count -= per {
		a := s.actor()
		_, err := a.Ask(s.ctx, faults.Said("", "dialled"), "dial %d", min(per, count))
		s.must(err)
		s.crowd(a, "c", min(per, count), "each room=r name=%s", a.Name)
		actors = append(actors, a)
	}
	return actors
}

// backAfter waits until all of the actors' connections are back, and adds to the
// figures how long each took since then.
func (s *scene) backAfter(then int64, sightings []*faults.Sighting, r *returns) {
	s.t.Helper()
	for _, sighting := range sightings {
		s.wait(sighting)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, at := range r.last {
		s.recovery = append(s.recovery, time.Duration(at-then))
	}
}

// watchBack looks out for the return of all connections of the actors, of which
// each has so many.
func watchBack(actors []*faults.Actress, each int) (sightings []*faults.Sighting) {
	for _, a := range actors {
		sightings = append(sightings, a.Watch(nth(each, func(r faults.Record) bool { return r.Kind == "restarted" })))
	}
	return sightings
}

// TestProviderKilledUnder kills the provider while clients are attached, and
// starts it anew: all come back by themselves, and are told once.
func TestProviderKilledUnder(t *testing.T) {
	for _, count := range []int{1, 100, fewer(2000, 500)} {
		t.Run(fmt.Sprint(count), func(t *testing.T) {
			overBoth(t, fmt.Sprintf("provider killed with %d clients", count), faults.Setup{}, func(s *scene) {
				s.witness("r")
				actors := s.audience(count)
				r := s.listenForReturns()
				back := watchBack(actors, count/len(actors))
				s.must(s.KillProvider(s.ctx))
				s.must(s.Start(s.ctx))
				up := faults.Monotonic()
				s.backAfter(up, back, r)
				s.n = count
				s.check()
				for conn, n := range r.count {
					if n != 1 {
						t.Errorf("%s was told %d times that the provider is another", conn, n)
					}
				}
				if want := count + 1; len(r.count) != want { // the witness too
					t.Errorf("%d were told that the provider is another, want %d", len(r.count), want)
				}
			})
		})
	}
}

// TestRestarts restarts the provider again and again under load, by turns in order
// and with -9, and does not wait until all are back.
func TestRestarts(t *testing.T) {
	apart(t)
	restarts := fewer(20, 6)
	overBoth(t, "restarts under load, SIGTERM and -9 by turns", faults.Setup{}, func(s *scene) {
		s.witness("r")
		var actors []*faults.Actress
		for i := range 4 {
			a := s.actor()
			s.connect(a, "c", "room=r name=c%d presence", i)
			s.tell(a, "send %s 1000000 every=1ms", a.Label("c"))
			actors = append(actors, a)
		}
		for i := range restarts {
			back := watchBack(actors, 1)
			down := faults.Monotonic()
			if i%2 == 0 {
				s.must(s.TermProvider(s.ctx))
			} else {
				s.must(s.KillProvider(s.ctx))
			}
			s.must(s.Start(s.ctx))
			if i < restarts-1 {
				s.pass(time.Duration(s.rand.Int64N(int64(2 * time.Second)))) // back or not
				continue
			}
			for _, b := range back {
				s.recovery = append(s.recovery, since(down, s.wait(b)))
			}
		}
		for _, a := range actors {
			s.endOf(a, "c", "sent")
		}
		s.n, s.note = restarts, "recovery after the last"
	})
}

// TestDrain ends the provider in order when much is admitted and not read yet:
// everybody gets all of it before, and comes back to the next one.
func TestDrain(t *testing.T) {
	count := fewer(1000, 200)
	overBoth(t, "SIGTERM with many clients and full queues", faults.Setup{}, func(s *scene) {
		const messages, size = 200, 1000
		s.witness("r")
		sender := s.actor()
		s.connect(sender, "talk", "room=r sendonly")
		actors := s.audience(count)
		heard := map[string]int{}
		s.listen(func(r faults.Record) {
			if r.Kind == "message" && r.Size >= size {
				heard[r.Conn]++
			}
		})
		label := sender.Label("talk")
		rec, err := sender.Ask(s.ctx, faults.Said(label, "posted"), "post %s %d size=%d", label, messages, size)
		s.must(err)
		down := faults.Monotonic()
		s.must(s.TermProvider(s.ctx))
		took := time.Duration(faults.Monotonic() - down)
		if e := s.Address(); e.Network == "unix" {
			if _, err := os.Lstat(e.Address); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the socket is left: %v", err)
			}
		}
		back := watchBack(actors, count/len(actors))
		s.must(s.Start(s.ctx))
		up := faults.Monotonic()
		for _, b := range back {
			s.recovery = append(s.recovery, since(up, s.wait(b)))
		}
		s.n, s.note = count, fmt.Sprintf("ended with 0 after %s", short(took))
		s.check()
		for conn, n := range heard {
			if n != int(rec.Count) {
				t.Errorf("%s has heard %d of %d messages that were admitted", conn, n, rec.Count)
			}
		}
		if len(heard) != count+1 {
			t.Errorf("%d have heard something, want %d", len(heard), count+1)
		}
	})
}
