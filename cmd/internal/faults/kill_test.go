package faults_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"crier.local/api"
	"crier.local/cmd/internal/faults"
)

// talkers has two clients talk in a room, whom nothing is to happen to.
func (s *scene) talkers(room string) {
	s.t.Helper()
	for range 2 {
		a := s.uninvolved()
		s.connect(a, "talk", "room=%s", room)
		s.tell(a, "send %s 1000000 every=2ms", a.Label("talk"))
	}
}

// victim starts a client that talks in a room until it is killed, and returns when
// its first message has a receipt.
func (s *scene) victim(room, name string, every time.Duration) *faults.Actress {
	s.t.Helper()
	a := s.actor()
	s.connect(a, "v", "room=%s name=%s", room, name)
	s.talkEvery(a, "v", every)
	return a
}

// talkEvery has a connection send all the time, and returns when a message has its
// receipt.
func (s *scene) talkEvery(a *faults.Actress, conn string, every time.Duration) {
	s.t.Helper()
	_, err := a.Ask(s.ctx, func(r faults.Record) bool { return r.At == faults.AtOK }, "send %s 1000000 every=%v", a.Label(conn), every)
	s.must(err)
}

// TestKillOne kills a client that talks, again and again; the next takes its name.
func TestKillOne(t *testing.T) {
	rounds := fewer(25, 20)
	overBoth(t, "kill -9 of a client", faults.Setup{}, func(s *scene) {
		w := s.witness("r")
		s.talkers("r")
		for range rounds {
			v := s.victim("r", "victim", time.Millisecond)
			gone := w.Watch(s.Seen("r", left("victim")))
			killed := faults.Monotonic()
			v.Kill()
			rec := s.wait(gone)
			s.notice = append(s.notice, since(killed, rec))
			if rec.Reason != "died" {
				t.Errorf("it left because it %s, want died", rec.Reason)
			}
			s.must(v.Killed(s.ctx))
		}
		s.n = rounds
	})
}

// TestKillInFlood kills clients that post as fast as they can: what was admitted of
// that reaches everybody, without a hole, and before they have left.
func TestKillInFlood(t *testing.T) {
	rounds := fewer(10, 4)
	overBoth(t, "kill -9 of a client in a flood of its own", faults.Setup{}, func(s *scene) {
		w := s.witness("r")
		s.talkers("r")
		for i := range rounds {
			name := fmt.Sprint("victim-", i)
			v := s.actor()
			s.connect(v, "v", "room=r name=%s", name)
			_, err := v.Ask(s.ctx, func(r faults.Record) bool { return r.At == faults.AtFlushed }, "flood %s size=100", v.Label("v"))
			s.must(err)
			s.pass(time.Duration(s.rand.Int64N(int64(50 * time.Millisecond))))
			gone := w.Watch(s.Seen("r", left(name)))
			killed := faults.Monotonic()
			v.Kill()
			s.notice = append(s.notice, since(killed, s.wait(gone)))
			s.must(v.Killed(s.ctx))
		}
		s.n = rounds
		s.note = fmt.Sprintf("%d messages", s.History.Summary().Sent)
	})
}

// TestKillHundred kills many clients at once.
func TestKillHundred(t *testing.T) {
	count := fewer(100, 20)
	overBoth(t, "kill -9 of many clients at once", faults.Setup{}, func(s *scene) {
		w := s.witness("r")
		s.talkers("r")
		var victims []*faults.Actress
		for i := range count {
			victims = append(victims, s.victim("r", fmt.Sprint("victim-", i), time.Second))
		}
		someone := func(r faults.Record) bool { return r.Kind == "left" && strings.HasPrefix(r.Who, "victim-") }
		var times []int64
		last := w.Watch(s.Seen("r", collect(count, someone, func(r faults.Record) { times = append(times, r.Nanos) })))
		killed := faults.Monotonic()
		for _, v := range victims {
			v.Kill()
		}
		s.wait(last)
		for _, at := range times {
			s.notice = append(s.notice, time.Duration(at-killed))
		}
		for _, v := range victims {
			s.must(v.Killed(s.ctx))
		}
		s.n = count
	})
}

// TestKillCrowd kills a client that holds thousands of connections: they leave as
// one.
func TestKillCrowd(t *testing.T) {
	const count = 5000
	overBoth(t, "kill -9 of a client with 5,000 handles", faults.Setup{}, func(s *scene) {
		w := s.witness("r")
		s.talkers("aside")
		v := s.actor()
		all := w.Watch(s.Seen("r", nth(count, func(r faults.Record) bool { return r.Kind == "joined" })))
		s.crowd(v, "c", count, "room=r name=c")
		s.wait(all)
		seqs := map[uint64]int{}
		someone := func(r faults.Record) bool {
			if r.Kind == "left" {
				seqs[uint64(r.Seq)]++
			}
			return r.Kind == "left"
		}
		last := w.Watch(s.Seen("r", nth(count, someone)))
		killed := faults.Monotonic()
		v.Kill()
		rec := s.wait(last)
		s.notice = append(s.notice, since(killed, rec))
		s.must(v.Killed(s.ctx))
		if len(seqs) != 1 {
			t.Errorf("they left in %d records, want 1", len(seqs))
		}
		s.n, s.note = count, "all have left"
	})
}

// TestKillParent kills a client whose child has inherited the socket, and lives
// on. The kernel tells of it on a unix socket; over TCP only its silence does.
func TestKillParent(t *testing.T) {
	apart(t)
	overBoth(t, "kill -9 of a client whose child holds the socket", faults.Setup{}, func(s *scene) {
		if s.Address().Network == "unix" && !hasPeerPidfd(s.t) {
			s.t.Skip("this kernel has no SO_PEERPIDFD")
		}
		w := s.witness("r")
		s.talkers("r")
		v := s.actor()
		s.connect(v, "v", "room=r name=parent")
		_, err := v.Ask(s.ctx, faults.Said("", "forked"), "fork")
		s.must(err)
		gone := w.Watch(s.Seen("r", left("parent")))
		killed := faults.Monotonic()
		v.Kill()
		rec := s.wait(gone)
		s.n, s.notice, s.note = 1, append(s.notice, since(killed, rec)), "reason "+rec.Reason
		if want := reasonOfHeir(s); rec.Reason != want {
			s.t.Errorf("it left because it %s, want %s", rec.Reason, want)
		}
		s.must(v.Killed(s.ctx))
	})
}

// reasonOfHeir is why a client leaves whose child holds its socket.
func reasonOfHeir(s *scene) string {
	if s.Address().Network == "tcp" {
		return api.ReasonUnreachable.String()
	}
	return api.ReasonDied.String()
}
