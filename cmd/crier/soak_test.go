package main

import (
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"crier.local/cmd/internal/faults"
)

// The same seed breaks the same things, in the same order and with the same
// victims, whatever else happens.
func TestSoakReplays(t *testing.T) {
	plan := func(seed int) (names []string) {
		s := &soak{seed: seed, processes: 12}
		s.cast = newCast(s)
		for i := range s.processes {
			s.cast.players = append(s.cast.players, newPlayer(s.cast, i))
		}
		for number := range uint64(200) {
			kind, trial := s.draw(number)
			name := kind.name
			for _, p := range trial.victims(3, speaker, flooder) {
				name += string(rune('A' + p.at))
			}
			names = append(names, name)
		}
		return names
	}
	first := plan(7)
	if again := plan(7); !slices.Equal(first, again) {
		t.Errorf("seed 7 has %v, and then %v", first, again)
	}
	if slices.Equal(first, plan(8)) {
		t.Error("seeds 7 and 8 break the same things")
	}
	for _, k := range faultKinds() {
		if !slices.ContainsFunc(first, func(name string) bool { return strings.HasPrefix(name, k.name) }) {
			t.Errorf("%q never happens", k.name)
		}
	}
}

func TestSoakSparesTheProvider(t *testing.T) {
	s := &soak{seed: 1, spare: true}
	for number := range uint64(500) {
		if kind, _ := s.draw(number); strings.HasPrefix(kind.name, "provider") {
			t.Fatalf("fault %d is %q", number, kind.name)
		}
	}
}

// What the provider holds is compared with what it should hold.
func TestSoakLooks(t *testing.T) {
	base := faults.State{Goroutines: 70, Descriptors: 30, Processes: 12, Connections: 18}
	c := &cast{baseline: base}
	right := look{State: base, expected: 18, processes: 12}
	for _, test := range []struct {
		name   string
		change func(*look)
		want   string // the invariant that is broken; "" for none
	}{
		{"right", func(*look) {}, ""},
		{"a connection is left", func(l *look) { l.Connections++ }, "I1"},
		{"a process is left", func(l *look) { l.Processes++ }, "I1"},
		{"goroutines leak", func(l *look) { l.Goroutines += spareGoroutines + 1 }, "I4"},
		{"descriptors leak", func(l *look) { l.Descriptors += spareDescriptors + 1 }, "I4"},
		{"more processes have more", func(l *look) { l.Processes, l.processes, l.Goroutines = 30, 30, 200 }, ""},
		{"no answer", func(l *look) { l.err = errSoakOver }, "I1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := right
			test.change(&l)
			found := ""
			if v := c.wrong(&l); v != nil {
				found = v.Invariant
			}
			if found != test.want {
				t.Errorf("found %q, want %q", found, test.want)
			}
		})
	}
}

// No fault concerns an actor: then an error of it is a violation.
func TestSoakComplains(t *testing.T) {
	const actor = "t5.1"
	for _, test := range []struct {
		record faults.Record
		want   int
	}{
		{faults.Record{At: faults.AtOK}, 0},
		{faults.Record{At: faults.AtFailed, Error: "full"}, 1},
		{faults.Record{At: faults.AtUnknown}, 1},
		{faults.Record{At: faults.AtEnd, Reason: "slow"}, 1},
		{faults.Record{At: faults.AtEvent, Kind: "reconnected"}, 1},
		{faults.Record{At: faults.AtEvent, Kind: "message"}, 0},
		{faults.Record{At: faults.AtClosed}, 0},
	} {
		s := &soak{p: &program{stderr: newJournal(io.Discard)}, history: faults.NewHistory()}
		c := newCast(s)
		s.report.began(s)
		c.disturb(actor, time.Hour)
		c.complain(actor, &test.record)
		if n := s.report.violations(); n > 0 {
			t.Errorf("%+v: %d violations of one that a fault concerns", test.record, n)
		}
		c.forgive(actor)
		c.complain(actor, &test.record)
		if n := s.report.violations(); n != test.want {
			t.Errorf("%+v: %d violations, want %d", test.record, n, test.want)
		}
	}
}

func TestMiddleAndWorst(t *testing.T) {
	median, worst := middleAndWorst([]time.Duration{9 * time.Millisecond, time.Millisecond, 2 * time.Millisecond})
	if median != 2 || worst != 9 {
		t.Errorf("%v and %v, want 2 and 9", median, worst)
	}
	if median, worst := middleAndWorst(nil); median != 0 || worst != 0 {
		t.Errorf("%v and %v of nothing", median, worst)
	}
}
