package notification

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"crier.local/api"
	"crier.local/api/wire"
)

func TestSnapshotComesInChunks(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, h *house) {
		p := h.attach(t)
		session := p.open(1)
		want := map[string]bool{"last": true}
		for i := range 1500 {
			name := fmt.Sprintf("member-%04d-%s", i, strings.Repeat("x", 40))
			p.connectIn(session, api.Connect{Name: name})
			want[name] = true
		}
		w := p.connect(api.Connect{Name: "last", Presence: true})
		p.connectIn(session, api.Connect{Name: "later"})
		events := w.events()
		if say(events[len(events)-1:]) != "+later" {
			t.Errorf("the last event is %s", sayOne(events[len(events)-1]))
		}
		chunks := events[:len(events)-1]
		for i, e := range chunks {
			if size := len(wire.EncodeEvent(&e)); e.Kind != api.KindMembers || size > maxChunk || e.More != (i < len(chunks)-1) {
				t.Errorf("chunk %d is a %v of %d bytes, more %v", i, e.Kind, size, e.More)
			}
			for _, m := range e.Members {
				if !want[m.Name] {
					t.Errorf("%s is there twice, or not at all", m.Name)
				}
				delete(want, m.Name)
			}
		}
		if len(chunks) < 3 || len(want) > 0 {
			t.Errorf("%d chunks, %d members missing", len(chunks), len(want))
		}
	})
}

// TestSnapshotIsExactUnderConcurrentJoins lets processes come and go all at once.
// What each has heard, applied to its snapshot, must be who is there in the end.
func TestSnapshotIsExactUnderConcurrentJoins(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, h *house) {
		var processes []*process
		for range 8 {
			processes = append(processes, h.attach(t))
		}
		var sessions []api.SessionID
		for _, p := range processes {
			sessions = append(sessions, p.open(1))
		}
		var group sync.WaitGroup
		for i, p := range processes {
			group.Go(func() {
				for n := range 30 {
					p.call(wire.ClientEntry{Kind: wire.Invoke, Session: sessions[i], Method: api.MethodConnect,
						Args: wire.EncodeConnect(api.Connect{Name: fmt.Sprintf("p%d-%d", i, n), Presence: true})})
				}
				if i%4 == 0 {
					p.die()
				}
			})
		}
		group.Wait()
		synctest.Wait()
		var there []string
		for i := range processes {
			for n := range 30 {
				if i%4 != 0 {
					there = append(there, fmt.Sprintf("p%d-%d", i, n))
				}
			}
		}
		slices.Sort(there)
		for i, p := range processes {
			for _, s := range p.seats {
				if i%4 == 0 {
					continue
				}
				if known := s.follow(t, nil); !slices.Equal(known, there) {
					t.Fatalf("%s knows of\n%q\nthere are\n%q", s.connected.Name, known, there)
				}
			}
		}
	})
}

// follow applies the events that s received to the members that it knows of, and
// returns who it thinks is there. None may come twice, or leave without being there.
func (s *seat) follow(t failer, known []string) []string {
	t.Helper()
	there := map[string]bool{}
	for _, name := range known {
		there[name] = true
	}
	fresh := true // the next list of members is a new one
	leave := func(name string) {
		if !there[name] {
			t.Errorf("%s left, and was not there", name)
		}
		delete(there, name)
	}
	for _, e := range s.events() {
		switch e.Kind {
		case api.KindMembers:
			if fresh {
				clear(there)
			}
			for _, m := range e.Members {
				if there[m.Name] {
					t.Errorf("%s is listed twice", m.Name)
				}
				there[m.Name] = true
			}
		case api.KindJoined:
			if there[e.From] {
				t.Errorf("%s joined, and was there", e.From)
			}
			there[e.From] = true
		case api.KindLeft:
			if e.From != "" {
				leave(e.From)
			}
			for _, d := range e.Departures {
				leave(d.Name)
			}
		case api.KindRenamed:
			leave(e.From)
			there[e.To] = true
		}
		fresh = e.Kind != api.KindMembers || !e.More
	}
	known = nil
	for name := range there {
		known = append(known, name)
	}
	slices.Sort(known)
	return known
}
