package faults

import (
	"fmt"
	"testing"

	"crier.local/api"
)

// TestHistoryForgets lets a talk go on for long, in which people come and go: what
// is settled is not kept.
func TestHistoryForgets(t *testing.T) {
	h := NewHistory()
	const rounds, messages = 50, 200
	new(script).connect("d/1").play(h)
	for round := range rounds {
		var s script
		a, b := fmt.Sprintf("a%d/1", round), fmt.Sprintf("b%d/1", round)
		s.connect(a).connect(b)
		for i := range messages {
			seq := api.Seq(round*(messages+2) + i + 1)
			s.send(a, i+1, seq).hear(b, a, i+1, seq).hear("d/1", a, i+1, seq)
		}
		s.add(Record{At: AtPosted, Conn: a, From: messages + 1, To: messages + 2, Nanos: testTalk})
		s.add(Record{At: AtFlushed, Conn: a, From: messages + 1, To: messages + 2, Admitted: 2, Epoch: testEpoch, Nanos: testTalk})
		for i := messages; i < messages+2; i++ {
			seq := api.Seq(round*(messages+2) + i + 1)
			s.hear(b, a, i+1, seq).hear("d/1", a, i+1, seq)
		}
		s.add(Record{At: AtClosed, Conn: a})
		if found := s.play(h); len(found) > 0 {
			t.Fatal(found)
		}
		h.Killed(fmt.Sprint("b", round))
		if found := h.Check(false); len(found) > 0 {
			t.Fatal(found)
		}
		if events, conns := h.Size(); events > 0 || conns > 1 || len(h.ledgers) > 1 {
			t.Fatalf("after %d rounds %d events, %d connections and %d ledgers are kept", round+1, events, conns, len(h.ledgers))
		}
		if len(h.senders) > 2 {
			t.Fatalf("after %d rounds %d senders are kept", round+1, len(h.senders))
		}
	}
	if sum := h.Summary(); sum.Checked != rounds*(messages+2) {
		t.Errorf("%d events are accounted for, want %d", sum.Checked, rounds*(messages+2))
	}
}

// TestHistoryMissesPosts has the last posts of a connection reach nobody. That is
// found while everybody lives and talks on; not before that goes beyond them.
func TestHistoryMissesPosts(t *testing.T) {
	for _, test := range []struct {
		name string
		end  func(*History)
	}{
		{"it stays", func(*History) {}},
		{"it leaves", func(h *History) { h.Add(Record{At: AtClosed, Conn: "a/1"}) }},
		{"it dies", func(h *History) { h.Killed("a") }},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := NewHistory()
			for _, r := range lastPosts().records {
				h.Add(r)
			}
			test.end(h)
			if found := h.Check(false); len(found) > 0 {
				t.Fatalf("too early: %v", found)
			}
			for _, r := range new(script).mark().records {
				h.Add(r)
			}
			if found := h.Check(false); !areOf(found, "lost") {
				t.Errorf("found %v, want one loss", found)
			}
			if found := h.Check(true); len(found) > 0 {
				t.Errorf("found %v again", found)
			}
			if _, kept := h.senders["a/1"]; kept != (h.conns["a/1"] != nil) {
				t.Errorf("the sender is kept: %v", kept)
			}
		})
	}
}

// TestHistoryAwaits has somebody hear a message later than others.
func TestHistoryAwaits(t *testing.T) {
	h := NewHistory()
	for _, r := range new(script).connect("a/1").connect("b/1").send("a/1", 1, 1).records {
		h.Add(r)
	}
	if found := h.Check(false); len(found) > 0 {
		t.Fatal(found)
	}
	if list := h.Awaiting(); len(list) != 1 || list[0] != "b/1" {
		t.Errorf("awaiting are %v, want b/1", list)
	}
	if found := new(script).hear("b/1", "a/1", 1, 1).play(h); len(found) > 0 || len(h.Awaiting()) > 0 {
		t.Errorf("found %v, and awaiting are %v", found, h.Awaiting())
	}
}

// TestHistoryMourns has somebody die without a word to the witness: that is found
// before the end, but not at once.
func TestHistoryMourns(t *testing.T) {
	h := NewHistory()
	s := new(script).connect("w/1", "presence").connect("a/1").presence("w/1", joined, "a-1", 1).
		add(Record{At: AtClosed, Conn: "a/1"})
	for _, r := range s.records {
		h.Add(r)
	}
	for range mourning {
		if found := h.Check(false); len(found) > 0 {
			t.Fatal(found)
		}
	}
	if found := h.Check(false); len(found) != 1 || found[0].Invariant != InvariantPresence {
		t.Errorf("found %v, want one of presence", found)
	}
	if found := h.Check(true); len(found) > 0 {
		t.Errorf("found %v again", found)
	}
}

// TestHistoryKilled ends an actor that has sends open.
func TestHistoryKilled(t *testing.T) {
	h := NewHistory()
	s := new(script).connect("a/1").connect("b/1").add(Record{At: AtInvoke, Conn: "a/1", ID: "a/1#1"}).
		add(Record{At: AtPosted, Conn: "a/1", From: 2, To: 4})
	for _, r := range s.records {
		h.Add(r)
	}
	h.Killed("a")
	if found := h.Check(true); len(found) > 0 {
		t.Fatal(found)
	}
	if sum := h.Summary(); sum.Sent != 4 || sum.Unknown != 4 {
		t.Errorf("%+v, want 4 sent and 4 unknown", sum)
	}
	if behind := h.Behind(testRoom, testEpoch, 1); len(behind) != 1 || behind[0] != "b/1" {
		t.Errorf("behind are %v, want b/1", behind)
	}
	if recent := h.Recent(testRoom, 2); len(recent) != 2 || recent[1].At != AtPosted {
		t.Errorf("recent records: %v", recent)
	}
}
