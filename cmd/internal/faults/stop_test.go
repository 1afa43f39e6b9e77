package faults_test

import (
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"crier.local/cmd/internal/faults"
)

// TestStopIdle stops a client while little happens. It keeps its seat, and has
// missed nothing when it goes on.
func TestStopIdle(t *testing.T) {
	overBoth(t, "SIGSTOP of an idle client", faults.Setup{}, func(s *scene) {
		const messages = 20
		s.witness("r")
		v := s.actor()
		s.connect(v, "v", "room=r name=victim presence")
		s.must(v.Stop())
		talker := s.uninvolved()
		s.connect(talker, "talk", "room=r")
		_, err := talker.Ask(s.ctx, faults.Said(talker.Label("talk"), "sent"), "send %s %d every=50ms", talker.Label("talk"), messages)
		s.must(err)
		all := v.Watch(nth(messages, func(r faults.Record) bool { return r.Kind == "message" }))
		gone := faults.Monotonic()
		s.must(v.Cont())
		rec := s.wait(all)
		s.n, s.recovery, s.note = 1, append(s.recovery, since(gone, rec)), "keeps its seat, misses nothing"
	})
}

// TestStopSilent stops a client for longer than a network may be silent: over TCP
// it is given up, and comes back when it goes on.
func TestStopSilent(t *testing.T) {
	apart(t)
	s := newScene(t, "SIGSTOP of an idle client for long", faults.Setup{Transport: faults.TransportTLS})
	w := s.witness("r")
	s.talkers("r")
	v := s.actor()
	s.connect(v, "v", "room=r name=victim")
	gone := w.Watch(s.Seen("r", left("victim")))
	stopped := faults.Monotonic()
	s.must(v.Stop())
	rec := s.wait(gone)
	if rec.Reason != "unreachable" {
		t.Errorf("it left because it %s, want unreachable", rec.Reason)
	}
	s.notice = append(s.notice, since(stopped, rec))
	back := v.Watch(func(r faults.Record) bool { return r.Kind == "reconnected" })
	on := faults.Monotonic()
	s.must(v.Cont())
	rec = s.wait(back)
	s.n, s.recovery = 1, append(s.recovery, since(on, rec))
	s.check()
}

// TestProviderStopped stops the provider for a while, as a debugger or a freezing
// container does. Over a unix socket nobody notices but by the wait; over TCP one
// may be given up, and comes back.
func TestProviderStopped(t *testing.T) {
	apart(t)
	overBoth(t, "provider stopped for a while", faults.Setup{}, func(s *scene) {
		const standstill = 4 * time.Second
		s.witness("r")
		start := s.uninvolved
		if s.transport == faults.TransportTLS {
			start = s.actor
		}
		var actors []*faults.Actress
		for i := range 4 {
			a := start()
			s.connect(a, "c", "room=r name=c%d", i)
			s.tell(a, "send %s 1000000 every=2ms", a.Label("c"))
			actors = append(actors, a)
		}
		s.must(s.Provider().Stop())
		s.pass(standstill)
		var answers []*faults.Sighting
		for _, a := range actors {
			answers = append(answers, a.Watch(func(r faults.Record) bool { return r.At == faults.AtOK }))
		}
		on := faults.Monotonic()
		s.must(s.Provider().Cont())
		for _, answer := range answers {
			s.recovery = append(s.recovery, since(on, s.wait(answer)))
		}
		for _, a := range actors {
			s.endOf(a, "c", "sent")
		}
		s.n, s.note = 1, fmt.Sprintf("for %v; recover: the next receipt", standstill)
	})
}

// pauses are the times between what happens again and again.
type pauses struct {
	mu    sync.Mutex
	last  time.Time
	worst time.Duration
	count int
}

func (p *pauses) happens() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if p.count > 0 {
		p.worst = max(p.worst, now.Sub(p.last))
	}
	p.last = now
	p.count++
}

// bulk is the size of messages that fill queues.
const bulk = 16 << 10

// TestStopInFlood stops a client that much is sent to, and that all others wait
// for: no longer than the stall deadline, and it learns of it when it goes on.
func TestStopInFlood(t *testing.T) {
	apart(t)
	overBoth(t, "SIGSTOP in a flood, senders wait", faults.Setup{Serve: []string{"--stall", stall.String()}}, func(s *scene) {
		w := s.witness("r")
		other := s.uninvolved()
		s.connect(other, "read", "room=r")
		v := s.actor()
		s.connect(v, "v", "room=r name=victim")
		sender := s.uninvolved()
		s.connect(sender, "talk", "room=r sendonly")
		var sends pauses
		label := sender.Label("talk")
		s.listen(func(r faults.Record) {
			if r.At == faults.AtOK && r.Conn == label {
				sends.happens()
			}
		})
		gone := w.Watch(s.Seen("r", left("victim")))
		s.must(v.Stop())
		stopped := faults.Monotonic()
		s.tell(sender, "send %s 1000000 size=%d", label, bulk)
		rec := s.wait(gone)
		if rec.Reason != "slow" {
			t.Errorf("it left because it %s, want slow", rec.Reason)
		}
		s.notice = append(s.notice, since(stopped, rec))
		s.endOf(sender, "talk", "sent")
		ended := v.Watch(func(r faults.Record) bool { return r.At == faults.AtEnd })
		on := faults.Monotonic()
		s.must(v.Cont())
		rec = s.wait(ended)
		if rec.Reason != "slow" {
			t.Errorf("it learns that it was %s, want slow", rec.Reason)
		}
		s.recovery = append(s.recovery, since(on, rec))
		s.n, s.note = 1, fmt.Sprintf("a send waited %s at most, deadline %v", short(sends.worst), stall)
	})
}

// TestStopCrowdInFlood stops a client with many connections, which together hold
// all that may be held for a process. One stall deadline is enough for all.
func TestStopCrowdInFlood(t *testing.T) {
	apart(t)
	count := fewer(1000, 100)
	overBoth(t, "SIGSTOP of a client with 1,000 connections in a flood", faults.Setup{Serve: []string{"--stall", stall.String()}}, func(s *scene) {
		w := s.witness("r")
		crowd := s.actor()
		s.crowd(crowd, "c", count, "room=r name=c")
		sender := s.uninvolved()
		s.connect(sender, "talk", "room=r sendonly")
		var sends pauses
		label := sender.Label("talk")
		s.listen(func(r faults.Record) {
			if r.At == faults.AtOK && r.Conn == label {
				sends.happens()
			}
		})
		gone := w.Watch(s.Seen("r", nth(count, func(r faults.Record) bool { return r.Kind == "left" && r.Reason == "slow" })))
		s.must(crowd.Stop())
		stopped := faults.Monotonic()
		s.tell(sender, "send %s 1000000 size=%d", label, bulk)
		s.notice = append(s.notice, since(stopped, s.wait(gone)))
		s.endOf(sender, "talk", "sent")
		ended := crowd.Watch(nth(count, func(r faults.Record) bool { return r.At == faults.AtEnd && r.Reason == "slow" }))
		on := faults.Monotonic()
		s.must(crowd.Cont())
		s.recovery = append(s.recovery, since(on, s.wait(ended)))
		s.n, s.note = count, fmt.Sprintf("a send waited %s at most, deadline %v", short(sends.worst), stall)
	})
}

// TestKillAwaited kills a stopped client that all others wait for: they go on at
// once, long before the stall deadline.
func TestKillAwaited(t *testing.T) {
	overBoth(t, "kill -9 of a client that senders wait for", faults.Setup{Serve: []string{"--stall", "10m"}}, func(s *scene) {
		w := s.witness("r")
		v := s.actor()
		s.connect(v, "v", "room=r name=victim")
		sender := s.uninvolved()
		s.connect(sender, "talk", "room=r sendonly")
		label := sender.Label("talk")
		s.must(v.Stop())
		s.tell(sender, "send %s 1000000 size=%d", label, bulk)
		s.waitsFor("victim")
		gone := w.Watch(s.Seen("r", left("victim")))
		goes := sender.Watch(func(r faults.Record) bool { return r.At == faults.AtOK })
		killed := faults.Monotonic()
		v.Kill()
		s.notice = append(s.notice, since(killed, s.wait(gone)))
		s.recovery = append(s.recovery, since(killed, s.wait(goes)))
		s.must(v.Killed(s.ctx))
		s.endOf(sender, "talk", "sent")
		s.n, s.note = 1, "recover: the next receipt"
	})
}

// waitsFor returns when senders wait for the connection with that name.
func (s *scene) waitsFor(name string) {
	s.t.Helper()
	s.poll(func() error {
		out, err := exec.CommandContext(s.ctx, crier(s.t), append([]string{"who", "--json"}, s.ActorArgs()...)...).Output()
		for line := range strings.Lines(string(out)) {
			if strings.Contains(line, strconv.Quote(name)) && strings.Contains(line, `"awaited":true`) {
				return nil
			}
		}
		return fmt.Errorf("nobody waits for %s (%v)", name, err)
	})
}

// endOf halts what a connection does, and waits until it is over.
func (s *scene) endOf(a *faults.Actress, conn, said string) {
	s.t.Helper()
	label := a.Label(conn)
	_, err := a.Ask(s.ctx, faults.Said(label, said), "halt %s", label)
	s.must(err)
}

// TestStopInFloodGap stops a client that nobody waits for. When it goes on it is
// told exactly how much it has missed; or, where it stood still for so long that a
// network gave it up, which numbers it may have missed.
func TestStopInFloodGap(t *testing.T) {
	overBoth(t, "SIGSTOP in a flood, nobody waits", faults.Setup{}, func(s *scene) {
		const messages = 3000
		s.witness("r")
		other := s.uninvolved()
		s.connect(other, "read", "room=r")
		v := s.actor()
		s.connect(v, "v", "room=r name=victim gap presence")
		sender := s.uninvolved()
		s.connect(sender, "talk", "room=r sendonly")
		s.must(v.Stop())
		label := sender.Label("talk")
		began := time.Now()
		_, err := sender.Ask(s.ctx, faults.Said(label, "sent"), "send %s %d size=%d", label, messages, bulk)
		s.must(err)
		rate := float64(messages) / time.Since(began).Seconds()
		gap := v.Watch(func(r faults.Record) bool { return r.Kind == "gap" || r.Kind == "reconnected" })
		on := faults.Monotonic()
		s.must(v.Cont())
		rec := s.wait(gap)
		s.recovery = append(s.recovery, since(on, rec))
		s.n, s.note = 1, fmt.Sprintf("%d of %d reported missing; %.0f sends/s meanwhile", rec.Count, messages, rate)
	})
}
