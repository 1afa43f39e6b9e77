package notification_test

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"crier.local/api"
	"crier.local/client/notification"
	"crier.local/provider"
	service "crier.local/provider/notification"
)

func TestKillOne(t *testing.T)    { testKill(t, 1) }
func TestKillTwenty(t *testing.T) { testKill(t, 20) }

// testKill kills members at once while they send.
func testKill(t *testing.T, count int) {
	const room = "r"
	w := newWorld(t)
	w.serve(provider.Options{}, service.Options{})
	witness := w.connect(api.Connect{Room: room, Presence: true})
	var victims []*child
	for i := range count {
		victims = append(victims, w.start("chatter", room, fmt.Sprint("victim-", i)))
	}
	here := make(chan error, 1)
	heard := make(chan []api.Event, 1)
	go func() { heard <- untilLeft(w, witness, count, here) }()
	if err := <-here; err != nil { // all have been heard: they are at it
		t.Fatal(err)
	}
	for _, c := range victims {
		c.signal(syscall.SIGKILL)
	}
	events := append(<-heard, w.rest(witness)...)
	for _, c := range victims {
		c.reaped()
	}

	checkVisits(t, events, count)
	for name, reasons := range departures(events) {
		if len(reasons) != 1 || reasons[0] != api.ReasonDied {
			t.Errorf("%s left because it %v, want died, once", name, reasons)
		}
	}
	checkChatter(t, events)
}

// untilLeft returns the events of x until count others have left. It reports on
// here when a message of each has come, or an error.
func untilLeft(w *world, x *notification.Connection, count int, here chan<- error) []api.Event {
	var events []api.Event
	speakers := map[string]bool{}
	for left := 0; left < count; {
		e, err := x.Receive(w.ctx)
		if err != nil {
			here <- err
			return events
		}
		events = append(events, e)
		switch {
		case e.Kind == api.KindLeft:
			left++
		case e.Kind == api.KindMessage && !speakers[e.From]:
			if speakers[e.From] = true; len(speakers) == count {
				close(here)
			}
		}
	}
	return events
}

// checkChatter checks that what each has said is there without a hole.
func checkChatter(t *testing.T, events []api.Event) {
	t.Helper()
	said := map[string]int{}
	for _, e := range events {
		if e.Kind != api.KindMessage {
			continue
		}
		if want := fmt.Sprintf("%s %d", e.From, said[e.From]); string(e.Payload) != want {
			t.Fatalf("message %q, want %q", e.Payload, want)
		}
		said[e.From]++
	}
}

// TestKillCrowd kills a process that holds thousands of connections: they leave
// as one.
func TestKillCrowd(t *testing.T) {
	const room, count = "r", 5000
	w := newWorld(t)
	w.serve(provider.Options{}, service.Options{})
	witness := w.connect(api.Connect{Room: room, Presence: true})
	crowd := w.start("crowd", room, fmt.Sprint(count))
	came := 0
	w.until(witness, func(e api.Event) bool {
		if e.Kind == api.KindJoined {
			came++
		}
		return came == count
	})
	crowd.expect("here")

	killed := time.Now()
	crowd.signal(syscall.SIGKILL)
	first := w.next(witness)
	toFirst := time.Since(killed)
	left := append([]api.Event{first}, w.rest(witness)...)
	t.Logf("kill -9 of %d connections: the witness is told after %v", count, toFirst)
	crowd.reaped()

	names := map[string]bool{}
	for _, e := range left {
		if e.Kind != api.KindLeft || e.Reason != api.ReasonDied || e.Seq != first.Seq || names[e.From] {
			t.Fatalf("%v of %s because it %v, seq %d; want left, died, seq %d, once", e.Kind, e.From, e.Reason, e.Seq, first.Seq)
		}
		names[e.From] = true
	}
	if len(names) != count {
		t.Errorf("%d have left, want %d", len(names), count)
	}
}

// TestKillWhileOthersConnect has one name taken again and again, each time by a
// process that is killed: its next holder never meets its ghost for long, and
// what the room hears alternates.
func TestKillWhileOthersConnect(t *testing.T) {
	const room, name, rounds = "r", "phoenix", 5
	w := newWorld(t)
	w.serve(provider.Options{}, service.Options{})
	witness := w.connect(api.Connect{Room: room, Presence: true})
	for round := range rounds {
		c := w.start("chatter", room, name)
		w.until(witness, func(e api.Event) bool { return e.Kind == api.KindMessage })
		c.kill()
		events := w.until(witness, func(e api.Event) bool { return e.Kind == api.KindLeft })
		for _, e := range events {
			if e.Kind == api.KindMessage && !strings.HasPrefix(string(e.Payload), name) {
				t.Errorf("round %d: message %q", round, e.Payload)
			}
		}
	}
	if rest := w.rest(witness); len(rest) > 0 {
		t.Errorf("then came %v", rest)
	}
}
