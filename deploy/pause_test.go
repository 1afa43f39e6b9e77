package deploy

import (
	"testing"
	"time"
)

// TestPauseBusy pauses clients in a room in which much is said. The others lose
// nothing; who keeps them waiting is sent away, and learns it when it goes on; who
// is content with gaps keeps its seat.
func TestPauseBusy(t *testing.T) {
	t.Parallel()
	const messages, size = 200, 64 << 10 // more than a queue and a window hold
	s := newScene(t)
	provider := s.serve("--stall", "1s")
	witness := s.actor("witness", options{})
	witness.connect("see", "presence name=witness room=busy")
	witness.connect("mark", "sendonly room=busy")
	others := s.actor("others", options{user: "10003:20000"})
	others.ask(said("others/c", "crowded"), "crowd others/c 3 name=c room=busy")
	waits, gaps := s.actor("waits", options{}), s.actor("gaps", options{})
	waits.connect("x", "name=waits room=busy")
	gaps.connect("x", "gap name=gaps room=busy")
	listener := s.run("listener", options{}, "listen", "--json", "--room", "busy")
	listener.said.expect("^listening in busy as ")
	for _, c := range []*container{waits.container, gaps.container, listener} {
		c.pause()
	}

	talker := s.actor("talker", options{user: "10004:20000"})
	talker.connect("talk", "sendonly room=busy")
	sent := talker.ask(said("talker/talk", "sent"), "send talker/talk %d size=%d", messages, size)
	if sent.Count != messages {
		t.Errorf("%d messages were sent, want %d", sent.Count, messages)
	}
	away := witness.await(left("witness/see", "waits"))
	if away.Reason != "slow" {
		t.Errorf("who was paused left because it %s, want slow", away.Reason)
	}
	if n := witness.count(left("witness/see", "gaps")); n != 0 {
		t.Error("who wants gaps has left")
	}
	for _, c := range []*container{waits.container, gaps.container, listener} {
		c.unpause()
	}
	end := waits.await(func(r record) bool { return r.At == "end" })
	if end.Reason != "slow" {
		t.Errorf("who was paused learns that it was %s, want slow", end.Reason)
	}
	gap := gaps.await(event("gaps/x", "gap"))
	listener.log.expect(`^{"kind":"end","room":"busy","reason":"slow"`)
	if code := listener.wait(); code != 75 {
		t.Errorf("crier listen ended with %d, want 75", code)
	}
	t.Logf("the slowest send took %v; the gap is of %d messages", slowest(talker), gap.Count)
	s.judge(witness, "mark")
	s.over(provider)
}

// TestPauseIdle pauses a client in a room in which little is said, for longer than
// a slow one may take: it keeps its seat, and nothing is lost.
func TestPauseIdle(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	provider := s.serve("--stall", "500ms")
	witness := s.actor("witness", options{})
	witness.connect("see", "presence name=witness room=idle")
	witness.connect("mark", "sendonly room=idle")
	paused := s.actor("paused", options{})
	paused.connect("x", "presence name=paused room=idle")
	paused.pause()
	witness.ask(said("witness/mark", "sent"), "send witness/mark 20 every=100ms")
	if n := witness.count(left("witness/see", "paused")); n != 0 {
		t.Error("who was paused has left")
	}
	seats := s.who()
	if seats.find("paused") < 0 {
		t.Errorf("who was paused has no seat: %+v", seats)
	}
	paused.unpause()
	s.judge(witness, "mark")
	if n := paused.count(event("paused/x", "message")); n != 21 {
		t.Errorf("who was paused has heard %d messages, want 21", n)
	}
	s.over(provider)
}

// slowest returns how long a send of an actor took at most.
func slowest(a *actor) (most time.Duration) {
	a.s.t.Helper()
	begun := map[string]int64{}
	told, _ := a.records()
	for _, r := range told {
		switch r.At {
		case "invoke":
			begun[r.ID] = r.Nanos
		case "ok":
			most = max(most, time.Duration(r.Nanos-begun[r.ID]))
		}
	}
	return most.Round(time.Millisecond)
}
