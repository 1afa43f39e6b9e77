package notification_test

import (
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"

	"crier.local/api"
	"crier.local/client/notification"
	service "crier.local/provider/notification"
)

// BenchmarkKillToLeft kills processes with -9 and measures until a witness is
// told, the last of all that it is to be told. Witness, provider and victims are
// processes of their own.
func BenchmarkKillToLeft(b *testing.B) {
	for _, tc := range []struct{ handles, kills int }{{1, 100}, {5000, 5}} {
		b.Run(fmt.Sprintf("%d", tc.handles), func(b *testing.B) {
			w := newWorld(b)
			w.spawn(service.DefaultStall)
			witness := w.connect(api.Connect{Room: "r", Presence: true})
			var took []time.Duration
			for range max(b.N, tc.kills) {
				took = append(took, killToLeft(w, witness, tc.handles))
			}
			report(b, took, time.Millisecond, "ms")
		})
	}
}

// killToLeft measures for one victim with that many connections.
func killToLeft(w *world, witness *notification.Connection, handles int) time.Duration {
	w.t.Helper()
	victim := w.start("crowd", "r", fmt.Sprint(handles))
	events := 0
	all := func(kind api.Kind) func(api.Event) bool {
		events = 0
		return func(e api.Event) bool {
			if e.Kind == kind {
				events++
			}
			return events == handles
		}
	}
	w.until(witness, all(api.KindJoined))
	victim.expect("here")
	left := all(api.KindLeft)
	killed := time.Now()
	victim.signal(syscall.SIGKILL)
	w.until(witness, left)
	took := time.Since(killed)
	victim.reaped()
	return took
}

// report reports what half and what nearly all measurements stay below.
func report(b *testing.B, took []time.Duration, unit time.Duration, name string) {
	slices.Sort(took)
	at := func(percent int) float64 {
		return float64(took[min(len(took)-1, len(took)*percent/100)]) / float64(unit)
	}
	b.ReportMetric(at(50), name+"-p50")
	b.ReportMetric(at(99), name+"-p99")
}

// BenchmarkRoundTrip measures from a message of one process to the answer that
// another one gives it, while nothing else goes on. b.N counts round trips.
func BenchmarkRoundTrip(b *testing.B) {
	w := newWorld(b)
	w.spawn(service.DefaultStall)
	w.start("answerer").expect("here")
	asker := w.start("asker")
	asker.expect("here")
	b.ResetTimer()
	asker.tell("ask %d", b.N)
	report(b, asker.durations(b), time.Microsecond, "µs")
}

// BenchmarkSend measures from a message to its receipt, with nobody in the room
// and with one who hears it in another process.
func BenchmarkSend(b *testing.B) {
	for _, receivers := range []int{0, 1} {
		b.Run(fmt.Sprint(receivers), func(b *testing.B) {
			w := newWorld(b)
			w.spawn(service.DefaultStall)
			for range receivers {
				w.start("listener", api.DefaultRoom, "listener").expect("here")
			}
			asker := w.start("asker")
			asker.expect("here")
			b.ResetTimer()
			asker.tell("send %d", b.N)
			report(b, asker.durations(b), time.Microsecond, "µs")
		})
	}
}

// durations reads what an asker has measured.
func (c *child) durations(b *testing.B) []time.Duration {
	b.Helper()
	count := c.expectNumber("took")
	b.StopTimer()
	took := make([]time.Duration, 0, count)
	for range count {
		took = append(took, time.Duration(c.expectNumber("")))
	}
	return took
}

// playAsker measures: "ask COUNT" messages of 64 bytes that are answered, or
// "send COUNT" that get a receipt.
func playAsker(s *stage) error {
	c, x, err := s.connect(api.Connect{Name: "asker"})
	if err != nil {
		return err
	}
	defer c.Close()
	s.say("here")
	payload := make([]byte, 64)
	for command := range s.commands {
		var what string
		var count int
		if _, err := fmt.Sscanf(command, "%s %d", &what, &count); err != nil {
			return err
		}
		took := make([]time.Duration, count)
		for i := range took {
			began := time.Now()
			if what == "send" {
				_, err = x.Send(s.ctx, payload)
			} else if err = x.Post(s.ctx, payload); err == nil {
				_, err = x.Receive(s.ctx)
			}
			if err != nil {
				return err
			}
			took[i] = time.Since(began)
		}
		s.say("took %d", count)
		for _, d := range took {
			s.say("%d", d)
		}
	}
	return nil
}

// playAnswerer posts back every message.
func playAnswerer(s *stage) error {
	c, x, err := s.connect(api.Connect{Name: "answerer"})
	if err != nil {
		return err
	}
	defer c.Close()
	s.say("here")
	for e, err := range x.Events(s.ctx) {
		if err == nil {
			err = x.Post(s.ctx, e.Payload)
		}
		if err != nil && s.ctx.Err() == nil {
			return err
		}
	}
	return nil
}
