package faults

import (
	"fmt"
	"strings"
	"testing"

	"crier.local/api"
)

// script is records that are written by hand.
type script struct{ records []Record }

const (
	testRoom  = "room"
	testEpoch = "e1"

	testStart = 1          // when all connect
	testTalk  = 1000000000 // when they talk
	testLater = 2 * testTalk

	testReceivers = 2 // more than there ever are
)

// connect has label join, with options as words.
func (s *script) connect(label string, options ...string) *script {
	r := Record{At: AtConnected, Conn: label, Room: testRoom, Name: nameIn(label), Epoch: testEpoch, Nanos: testStart}
	for _, o := range options {
		switch o {
		case "presence":
			r.Presence = true
		case "gap":
			r.Gap = true
		case "sendonly":
			r.SendOnly = true
		case "echo":
			r.Echo = true
		}
	}
	s.records = append(s.records, r)
	if r.Presence {
		s.members(label)
	}
	return s
}

func nameIn(label string) string { return strings.ReplaceAll(label, "/", "-") }

func (s *script) add(r Record) *script {
	s.records = append(s.records, r)
	return s
}

// members gives label a list of the members: itself and others.
func (s *script) members(label string, others ...string) *script {
	names := append([]string{nameIn(label)}, others...)
	return s.add(Record{At: AtEvent, Conn: label, Kind: members, Members: names})
}

// send has label send its message n, which becomes seq.
func (s *script) send(label string, n int, seq api.Seq) *script {
	id := fmt.Sprintf("%s#%d", label, n)
	s.add(Record{At: AtInvoke, Conn: label, ID: id, Nanos: testTalk})
	return s.add(Record{At: AtOK, Conn: label, ID: id, Seq: seq, Epoch: testEpoch, Receivers: testReceivers})
}

// hear has label hear message n of from as seq.
func (s *script) hear(label, from string, n int, seq api.Seq) *script {
	return s.add(Record{At: AtEvent, Conn: label, Kind: message, ID: fmt.Sprintf("%s#%d", from, n), Who: nameIn(from), Seq: seq})
}

// presence has label hear of who.
func (s *script) presence(label, kind, who string, seq api.Seq) *script {
	return s.add(Record{At: AtEvent, Conn: label, Kind: kind, Who: who, Seq: seq})
}

func (s *script) gap(label string, first, last api.Seq, count uint64) *script {
	return s.add(Record{At: AtEvent, Conn: label, Kind: gapped, First: first, Last: last, Count: count})
}

// play adds all records, and returns what is found.
func (s *script) play(h *History) []Violation {
	for _, r := range s.records {
		h.Add(r)
	}
	return h.Check(true)
}

// TestHistory has histories of which each breaks one promise, or none.
func TestHistory(t *testing.T) {
	for _, test := range []struct {
		name   string
		script *script
		want   string // words of the violations, one each, with " + " between them; "" for none
	}{
		{"clean", talkOf(5), ""},
		{"lost", talkOf(5).without("b/1", 3), "lost"},
		{"lost to all", new(script).connect("a/1").connect("b/1").send("a/1", 1, 1).hear("b/1", "a/1", 1, 1).
			send("a/1", 2, 2).send("a/1", 3, 3).hear("b/1", "a/1", 3, 3), "lost"},
		{"lost at first", new(script).connect("a/1").connect("b/1").connect("c/1").
			send("a/1", 1, 1).hear("c/1", "a/1", 1, 1).
			send("a/1", 2, 2).hear("c/1", "a/1", 2, 2).hear("b/1", "a/1", 2, 2), "lost"},
		{"sent before it came", new(script).connect("a/1").connect("c/1").
			send("a/1", 1, 1).hear("c/1", "a/1", 1, 1).
			add(Record{At: AtConnected, Conn: "b/1", Room: testRoom, Name: "b-1", Epoch: testEpoch, Nanos: testTalk}).
			send("a/1", 2, 2).hear("c/1", "a/1", 2, 2).hear("b/1", "a/1", 2, 2), ""},
		{"not heard yet", new(script).connect("a/1").connect("b/1").send("a/1", 1, 1).hear("b/1", "a/1", 1, 1).
			send("a/1", 2, 2), "never heard"},
		{"silence hides nothing", talkOf(5).without("b/1", 3).without("c/1", 3).without("c/1", 4).without("c/1", 5), "never heard + lost"},
		{"a send that never ends hides nothing", new(script).connect("x/1", "sendonly").
			add(Record{At: AtInvoke, Conn: "x/1", ID: "x/1#1", Nanos: testTalk}).and(talkOf(5)).without("b/1", 3), "never ended + lost"},
		{"posts that never end hide nothing", new(script).connect("x/1", "sendonly").
			add(Record{At: AtPosted, Conn: "x/1", From: 1, To: 9, Nanos: testTalk}).and(talkOf(5)).without("b/1", 3), "never ended + lost"},
		{"twice", talkOf(5).hear("b/1", "a/1", 5, 5), "twice"},
		{"twice under another number", talkOf(5).hear("b/1", "a/1", 5, 6).hear("c/1", "a/1", 5, 6), "twice"},
		{"reordered", new(script).connect("a/1").connect("b/1").connect("c/1").
			hear("c/1", "a/1", 1, 1).hear("c/1", "a/1", 2, 2).
			hear("b/1", "a/1", 2, 2).hear("b/1", "a/1", 1, 1), "reordered"},
		{"two orders", new(script).connect("a/1").connect("b/1").connect("c/1").
			hear("b/1", "a/1", 1, 1).hear("b/1", "a/1", 2, 2).
			hear("c/1", "a/1", 1, 1).hear("c/1", "a/1", 3, 2), "two orders"},
		{"another number than its receipt's", new(script).connect("a/1").connect("b/1").
			send("a/1", 1, 1).hear("b/1", "a/1", 2, 1), "two orders"},
		{"failed but delivered", new(script).connect("a/1").connect("b/1").
			add(Record{At: AtInvoke, Conn: "a/1", ID: "a/1#1"}).add(Record{At: AtFailed, Conn: "a/1", ID: "a/1#1"}).
			hear("b/1", "a/1", 1, 1), "failed but delivered"},
		{"delivered and then failed", new(script).connect("a/1").connect("b/1").
			add(Record{At: AtInvoke, Conn: "a/1", ID: "a/1#1"}).hear("b/1", "a/1", 1, 1).
			add(Record{At: AtFailed, Conn: "a/1", ID: "a/1#1"}), "failed but delivered"},
		{"unknown and delivered", new(script).connect("a/1").connect("b/1").
			add(Record{At: AtInvoke, Conn: "a/1", ID: "a/1#1"}).hear("b/1", "a/1", 1, 1).
			add(Record{At: AtUnknown, Conn: "a/1", ID: "a/1#1"}), ""},
		{"unknown and not delivered", new(script).connect("a/1").connect("b/1").
			add(Record{At: AtInvoke, Conn: "a/1", ID: "a/1#1"}).add(Record{At: AtUnknown, Conn: "a/1", ID: "a/1#1"}).
			send("a/1", 2, 1).hear("b/1", "a/1", 2, 1), ""},
		{"gap", gapOf(3), ""},
		{"gap too small", gapOf(2), "gap count"},
		{"gap too large", gapOf(4), "gap count"},
		{"gap unasked", new(script).connect("a/1").connect("b/1").gap("b/1", 1, 2, 2), "asked for none"},
		{"gap of what was heard", new(script).connect("a/1").connect("b/1", "gap").
			hear("b/1", "a/1", 1, 5).gap("b/1", 4, 6, 1), "gap"},
		{"posts", postsOf(1, 2, 3, 4), ""},
		{"a post lost to all", postsOf(1, 2, 4), "lost"},
		{"the last posts lost to all", lastPosts().mark(), "lost"},
		{"the last posts of a closed connection lost to all", lastPosts().add(Record{At: AtClosed, Conn: "a/1"}).mark(), "lost"},
		{"the last posts lost to some", lastPosts().hear("b/1", "a/1", 1, 1).hear("b/1", "a/1", 2, 2).hear("b/1", "a/1", 3, 3).mark(), "lost + lost + lost"},
		{"the last posts lost with the link", lastPosts().
			add(Record{At: AtEvent, Conn: "b/1", Kind: reconnected, First: 1, Last: 3, Nanos: testLater}).
			add(Record{At: AtEvent, Conn: "c/1", Kind: reconnected, First: 1, Last: 3, Nanos: testLater}).mark(), ""},
		{"the last posts before anybody came", new(script).connect("a/1", "sendonly").
			add(Record{At: AtPosted, Conn: "a/1", From: 1, To: 3, Nanos: testStart}).
			add(Record{At: AtFlushed, Conn: "a/1", From: 1, To: 3, Admitted: 3, Epoch: testEpoch, Nanos: testStart}).
			connect("b/1").connect("c/1").mark(), ""},
		{"posts out of order", lastPosts().hear("b/1", "a/1", 3, 1).hear("b/1", "a/1", 1, 2).hear("b/1", "a/1", 2, 3).
			hear("c/1", "a/1", 3, 1).hear("c/1", "a/1", 1, 2).hear("c/1", "a/1", 2, 3).mark(), "out of order"},
		{"sends out of order", new(script).connect("a/1").connect("b/1").connect("c/1").
			send("a/1", 1, 2).send("a/1", 2, 1).
			hear("b/1", "a/1", 2, 1).hear("b/1", "a/1", 1, 2).
			hear("c/1", "a/1", 2, 1).hear("c/1", "a/1", 1, 2), "out of order"},
		{"heard by more than its receipt counts", new(script).connect("a/1").connect("b/1").connect("c/1").
			add(Record{At: AtOK, Conn: "a/1", ID: "a/1#1", Seq: 1, Epoch: testEpoch, Receivers: 1}).
			hear("b/1", "a/1", 1, 1).hear("c/1", "a/1", 1, 1), "receipt"},
		{"refused post delivered", new(script).connect("a/1").connect("b/1").
			add(Record{At: AtPosted, Conn: "a/1", From: 1, To: 2}).
			add(Record{At: AtFlushed, Conn: "a/1", From: 1, To: 2, Error: "full"}).hear("b/1", "a/1", 2, 1), "failed but delivered"},
		{"own messages", new(script).connect("a/1").connect("b/1").send("a/1", 1, 1).hear("b/1", "a/1", 1, 1).
			send("b/1", 1, 2).hear("a/1", "b/1", 1, 2), ""},
		{"echo lost", new(script).connect("a/1", "echo").connect("b/1").
			send("b/1", 1, 1).hear("a/1", "b/1", 1, 1).
			send("a/1", 1, 2).hear("b/1", "a/1", 1, 2).
			send("b/1", 2, 3).hear("a/1", "b/1", 2, 3).hear("b/1", "a/1", 2, 4).hear("a/1", "a/1", 2, 4), "lost"},
		{"presence", new(script).connect("w/1", "presence").connect("a/1").presence("w/1", joined, "a-1", 1).
			hear("w/1", "a/1", 1, 2).add(Record{At: AtClosed, Conn: "a/1"}).presence("w/1", left, "a-1", 3), ""},
		{"left without joined", new(script).connect("w/1", "presence").presence("w/1", left, "a-1", 3), "left without joined"},
		{"joined twice", new(script).connect("w/1", "presence").connect("a/1").
			presence("w/1", joined, "a-1", 1).presence("w/1", joined, "a-1", 2), "joined twice"},
		{"message after left", new(script).connect("w/1", "presence").connect("a/1").
			presence("w/1", joined, "a-1", 1).presence("w/1", left, "a-1", 2).hear("w/1", "a/1", 1, 3).
			add(Record{At: AtClosed, Conn: "a/1"}), "message after left"},
		{"joined and not left", new(script).connect("w/1", "presence").connect("a/1").
			presence("w/1", joined, "a-1", 1).add(Record{At: AtClosed, Conn: "a/1"}), "joined and not left"},
		{"joined and not told", new(script).connect("w/1", "presence").connect("a/1"), "joined and not told"},
		{"renamed", new(script).connect("w/1", "presence").connect("a/1").presence("w/1", joined, "a-1", 1).
			add(Record{At: AtRenamed, Conn: "a/1", Name: "z"}).
			add(Record{At: AtEvent, Conn: "w/1", Kind: renamed, Who: "a-1", NewName: "z", Seq: 2}).
			add(Record{At: AtClosed, Conn: "a/1"}).presence("w/1", left, "z", 3), ""},
		{"renamed oneself", new(script).connect("w/1", "presence").connect("v/1", "presence").
			members("w/1", "v-1").members("v/1", "w-1").
			add(Record{At: AtEvent, Conn: "w/1", Kind: renamed, Who: "v-1", NewName: "y", Seq: 1}).
			add(Record{At: AtRenamed, Conn: "v/1", Name: "y"}).
			add(Record{At: AtEvent, Conn: "w/1", Kind: renamed, Who: "y", NewName: "z", Seq: 2}).
			add(Record{At: AtRenamed, Conn: "v/1", Name: "z"}).
			presence("w/1", joined, "x", 3).presence("v/1", joined, "x", 3).
			presence("w/1", left, "x", 4).presence("v/1", left, "x", 4), ""},
		{"renamed and not told", new(script).connect("w/1", "presence").connect("a/1").presence("w/1", joined, "a-1", 1).
			add(Record{At: AtRenamed, Conn: "a/1", Name: "z"}).
			add(Record{At: AtClosed, Conn: "a/1"}), "joined and not left"},
		{"presence unasked", new(script).connect("b/1").connect("a/1").presence("b/1", joined, "a-1", 1), "did not ask"},
		{"presence before the list", new(script).add(Record{At: AtConnected, Conn: "w/1", Room: testRoom, Name: "w-1", Epoch: testEpoch, Presence: true}).
			connect("a/1").presence("w/1", joined, "a-1", 1), "before it had a list"},
		{"presence lost", new(script).connect("w/1", "presence").connect("v/1", "presence").connect("a/1").
			members("w/1", "v-1", "a-1").members("v/1", "w-1", "a-1").
			hear("w/1", "a/1", 1, 1).hear("v/1", "a/1", 1, 1).
			presence("w/1", joined, "b-1", 2).connect("b/1").
			hear("b/1", "a/1", 2, 3).hear("w/1", "a/1", 2, 3).hear("v/1", "a/1", 2, 3).
			add(Record{At: AtClosed, Conn: "b/1"}).presence("w/1", left, "b-1", 4), "never heard + lost"},
		{"departed together", new(script).connect("w/1", "presence").connect("v/1", "presence").
			members("w/1", "v-1", "x", "y").members("v/1", "w-1", "x", "y").
			presence("w/1", left, "x", 1).presence("w/1", left, "y", 1).
			presence("v/1", left, "x", 1).presence("v/1", left, "y", 1), ""},
		{"reconnected", rangeOf(2, 3), ""},
		{"range too small", rangeOf(2, 2), "lost"},
		{"restarted", new(script).connect("a/1").connect("b/1").hear("b/1", "a/1", 1, 100).
			add(Record{At: AtEvent, Conn: "b/1", Kind: restarted, Epoch: "e2", Name: "b-1"}).
			hear("b/1", "a/1", 2, 1).hear("b/1", "a/1", 3, 2), ""},
		{"sent again by itself", new(script).connect("a/1").connect("b/1").hear("b/1", "a/1", 1, 100).
			add(Record{At: AtEvent, Conn: "b/1", Kind: restarted, Epoch: "e2", Name: "b-1"}).
			hear("b/1", "a/1", 1, 1), "twice"},
		{"of nobody", new(script).connect("b/1").add(Record{At: AtEvent, Conn: "b/1", Kind: message, Seq: 1}), "sent by nobody"},
	} {
		t.Run(test.name, func(t *testing.T) {
			found := test.script.play(NewHistory())
			if !areOf(found, test.want) {
				t.Errorf("found %v, want %q", found, test.want)
			}
		})
	}
}

// areOf reports whether each violation has its word of words, in that order.
func areOf(found []Violation, words string) bool {
	if words == "" {
		return len(found) == 0
	}
	list := strings.Split(words, " + ")
	for i, v := range found {
		if i < len(list) && !strings.Contains(v.Text, list[i]) {
			return false
		}
	}
	return len(found) == len(list)
}

// and appends what another script has.
func (s *script) and(other *script) *script {
	s.records = append(s.records, other.records...)
	return s
}

// talkOf is a talk of n messages, which b and c hear.
func talkOf(n int) *script {
	s := new(script).connect("a/1").connect("b/1").connect("c/1")
	for i := range n {
		s.send("a/1", i+1, api.Seq(i+1)).hear("c/1", "a/1", i+1, api.Seq(i+1)).hear("b/1", "a/1", i+1, api.Seq(i+1))
	}
	return s
}

// without drops what label heard as seq.
func (s *script) without(label string, seq api.Seq) *script {
	var kept []Record
	for _, r := range s.records {
		if r.At != AtEvent || r.Conn != label || r.Seq != seq {
			kept = append(kept, r)
		}
	}
	s.records = kept
	return s
}

// gapOf is a talk of which b loses three messages, and is told of count.
func gapOf(count uint64) *script {
	s := new(script).connect("a/1").connect("b/1", "gap").connect("c/1")
	for i := range 6 {
		seq := api.Seq(i + 1)
		s.send("a/1", i+1, seq).hear("c/1", "a/1", i+1, seq)
	}
	s.hear("b/1", "a/1", 1, 1).gap("b/1", 2, 4, count)
	return s.hear("b/1", "a/1", 5, 5).hear("b/1", "a/1", 6, 6)
}

// postsOf is three posts, and a later one, of which b hears some.
func postsOf(heard ...int) *script {
	s := new(script).connect("a/1").connect("b/1").
		add(Record{At: AtPosted, Conn: "a/1", From: 1, To: 3, Nanos: testTalk}).
		add(Record{At: AtFlushed, Conn: "a/1", From: 1, To: 3, Admitted: 3, Epoch: testEpoch})
	for _, n := range heard {
		s.hear("b/1", "a/1", n, api.Seq(n))
	}
	return s
}

// lastPosts is three posts after which a says nothing more, while b and c listen.
func lastPosts() *script {
	return new(script).connect("a/1", "sendonly").connect("b/1").connect("c/1").
		add(Record{At: AtPosted, Conn: "a/1", From: 1, To: 3, Nanos: testTalk}).
		add(Record{At: AtFlushed, Conn: "a/1", From: 1, To: 3, Admitted: 3, Epoch: testEpoch, Nanos: testTalk})
}

// mark has k come and say a last word, as 4, which b and c hear.
func (s *script) mark() *script {
	s.connect("k/1", "sendonly").add(Record{At: AtInvoke, Conn: "k/1", ID: "k/1#1", Nanos: testLater})
	s.add(Record{At: AtOK, Conn: "k/1", ID: "k/1#1", Seq: 4, Epoch: testEpoch, Receivers: testReceivers})
	return s.hear("b/1", "k/1", 1, 4).hear("c/1", "k/1", 1, 4)
}

// rangeOf is a talk of which b loses 2 and 3 by a loss of its link, and is told
// that it may have missed first to last.
func rangeOf(first, last api.Seq) *script {
	s := talkOf(5).without("b/1", 2).without("b/1", 3)
	for i, r := range s.records {
		if r.At == AtEvent && r.Conn == "b/1" && r.Seq == 4 {
			told := Record{At: AtEvent, Conn: "b/1", Kind: reconnected, First: first, Last: last}
			s.records = append(s.records[:i:i], append([]Record{told}, s.records[i:]...)...)
			break
		}
	}
	return s
}
