package deploy

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"time"

	"crier.local/api"
)

// actor is a container in which `crier actor` does what it is told, and tells what
// it saw.
type actor struct {
	*container
	label  string // begins the names of its connections
	killed bool
	told   []record // read so far
}

// record is what an actor tells in one line, as far as the tests look at it.
type record struct {
	At      string  `json:"t"`
	Conn    string  `json:"c"`
	Epoch   string  `json:"epoch"`
	ID      string  `json:"id"`
	Seq     api.Seq `json:"seq"`
	Kind    string  `json:"kind"`
	Who     string  `json:"who"`
	Reason  string  `json:"reason"`
	Count   uint64  `json:"count"`
	Members []string
	Send    bool   `json:"send_only"`
	Error   string `json:"error"`
	Nanos   int64  `json:"ns"`
}

// actor starts an actor.
func (s *scene) actor(name string, o options, args ...string) *actor {
	s.t.Helper()
	return s.cast(s.run(name, o, append([]string{"actor"}, args...)...), name)
}

// actorIn starts an actor in a container that is there.
func (s *scene) actorIn(house *container, name string) *actor {
	s.t.Helper()
	c := &container{s: s, name: house.name}
	c.converse(exec.Command("docker", "exec", "--interactive", house.name, "/crier", "actor"))
	return s.cast(c, name)
}

func (s *scene) cast(c *container, label string) *actor {
	a := &actor{container: c, label: label}
	s.actors = append(s.actors, a)
	return a
}

// conn is the name of a connection of the actor.
func (a *actor) conn(name string) string { return a.label + "/" + name }

// ask tells the actor something, and returns the record that matches.
func (a *actor) ask(match func(record) bool, format string, args ...any) record {
	a.s.t.Helper()
	a.tell(format, args...)
	return a.await(match)
}

// connect makes a connection.
func (a *actor) connect(name, options string) record {
	a.s.t.Helper()
	label := a.conn(name)
	return a.ask(func(r record) bool { return r.At == "connected" && r.Conn == label }, "connect %s %s", label, options)
}

// await returns the first record that matches, of all. An order that failed fails
// the test.
func (a *actor) await(match func(record) bool) record {
	a.s.t.Helper()
	late := time.After(patience)
	for n := 0; ; {
		told, more := a.records()
		for ; n < len(told); n++ {
			switch {
			case match(told[n]):
				return told[n]
			case told[n].At == "said" && told[n].Error != "":
				a.s.t.Fatalf("%s: %s", a.name, told[n].Error)
			}
		}
		if more == nil {
			a.s.t.Fatalf("%s ended without what was awaited; it said:\n%s", a.name, a.said)
		}
		select {
		case <-more:
		case <-late:
			a.s.t.Fatalf("%s has not told what was awaited; it told:\n%s", a.name, a.log.tail())
		}
	}
}

// records returns what the actor has told so far. more is closed when there is
// more; it is nil if there never will be.
func (a *actor) records() (told []record, more <-chan struct{}) {
	a.s.t.Helper()
	lines, more := a.log.from(len(a.told))
	for _, l := range lines {
		var r record
		if err := json.Unmarshal([]byte(l.text), &r); err != nil {
			a.s.t.Fatalf("no record: %q: %v", l.text, err)
		}
		a.told = append(a.told, r)
	}
	return a.told, more
}

// count returns how many records so far match.
func (a *actor) count(match func(record) bool) (n int) {
	a.s.t.Helper()
	told, _ := a.records()
	for _, r := range told {
		if match(r) {
			n++
		}
	}
	return n
}

// said matches what an actor says when something is over.
func said(conn, reason string) func(record) bool {
	return func(r record) bool { return r.At == "said" && r.Conn == conn && r.Reason == reason }
}

// left matches that a connection is told that somebody has left.
func left(conn, who string) func(record) bool {
	return func(r record) bool { return r.Conn == conn && r.Kind == "left" && r.Who == who }
}

// event matches an event of a connection.
func event(conn, kind string) func(record) bool {
	return func(r record) bool { return r.At == "event" && r.Conn == conn && r.Kind == kind }
}

// die kills an actor, whose container ends by that.
func (a *actor) die() {
	a.s.t.Helper()
	a.killed = true
	a.kill()
}

// leave has actors close everything, and end in order. Those who were killed are
// passed over.
func (s *scene) leave(actors ...*actor) {
	s.t.Helper()
	actors = slices.DeleteFunc(slices.Clone(actors), func(a *actor) bool { return a.killed })
	for _, a := range actors {
		a.tell("quit")
	}
	for _, a := range actors {
		a.log.wait()
		if code := a.wait(); code != 0 {
			s.t.Errorf("%s ended with %d: %s", a.name, code, a.said)
		}
	}
}

// living returns the connections that hear something and have not ended.
func (a *actor) living() []string {
	a.s.t.Helper()
	var living []string
	told, _ := a.records()
	for _, r := range told {
		switch {
		case r.At == "connected" && !r.Send:
			living = append(living, r.Conn)
		case r.At == "end", r.At == "closed":
			living = slices.DeleteFunc(living, func(conn string) bool { return conn == r.Conn })
		}
	}
	return living
}

// tail is the last of what was written.
func (tr *transcript) tail() string {
	const most = 4000
	text := tr.String()
	return strings.ToValidUTF8(text[max(0, len(text)-most):], "")
}

// mark has an actor send one message, and returns once everybody has heard it.
func (s *scene) mark(by *actor, conn string) {
	s.t.Helper()
	label := by.conn(conn)
	receipt := func(r record) bool { return r.Conn == label && r.At == "ok" }
	before, n := by.count(receipt), 0
	last := by.ask(func(r record) bool {
		if receipt(r) {
			n++
		}
		return n > before
	}, "mark %s", label)
	for _, a := range s.actors {
		if a.killed {
			continue
		}
		for _, c := range a.living() {
			a.await(func(r record) bool { return r.Conn == c && (r.ID == last.ID || r.At == "end" || c == label) })
		}
	}
}

// judge returns once everybody has heard a last message, and has what all actors
// told compared: each message once and in one order, or a record of what is
// missing. What holds of it is logged.
func (s *scene) judge(by *actor, conn string) {
	s.t.Helper()
	s.mark(by, conn)
	cmd := exec.Command("go", "run", "../cmd/internal/faults/judge")
	cmd.Stdin = strings.NewReader(s.told())
	text, err := cmd.CombinedOutput()
	if err != nil {
		s.t.Fatalf("what was told does not hold: %v: %.4000s", err, text)
	}
	s.t.Logf("told in all: %s", text)
}

// over has all actors leave, and ends the provider, which has nothing left then.
func (s *scene) over(provider *container) {
	s.t.Helper()
	s.leave(s.actors...)
	if seats := s.who(); len(seats) > 0 {
		s.t.Errorf("all have left, and yet: %+v", seats)
	}
	provider.stop()
	if code := provider.wait(); code != 0 {
		s.t.Errorf("the provider ended with %d: %s", code, provider.said)
	}
}

// told is what all actors told, in the order in which it was read.
func (s *scene) told() string {
	var all []line
	for _, a := range s.actors {
		lines, _ := a.log.from(0)
		all = append(all, lines...)
	}
	slices.SortStableFunc(all, func(a, b line) int { return a.at.Compare(b.at) })
	var b strings.Builder
	for _, l := range all {
		b.WriteString(l.text + "\n")
	}
	for _, a := range s.actors {
		if a.killed {
			fmt.Fprintf(&b, "{\"t\":\"killed\",\"c\":%q}\n", a.label)
		}
	}
	return b.String()
}

// actorOf returns the actor whose connection it is.
func (s *scene) actorOf(conn string) *actor {
	label, _, _ := strings.Cut(conn, "/")
	return s.actors[slices.IndexFunc(s.actors, func(a *actor) bool { return a.label == label })]
}
