package load_test

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"crier.local/cmd/internal/load"
)

// arrival is a message that arrives: publisher, number.
type arrival struct {
	publisher uint16
	number    uint64
}

func TestLedger(t *testing.T) {
	numbers := func(list ...uint64) (arrivals []arrival) {
		for _, n := range list {
			arrivals = append(arrivals, arrival{0, n})
		}
		return arrivals
	}
	tests := map[string]struct {
		arrivals []arrival
		sent     []uint64
		want     load.Tally
		prefix   bool
		heard    []uint64
	}{
		"nothing of nothing":   {nil, nil, load.Tally{}, true, []uint64{}},
		"nothing of three":     {nil, []uint64{3}, load.Tally{Lost: 3}, true, []uint64{}},
		"all of three":         {numbers(0, 1, 2), []uint64{3}, load.Tally{Delivered: 3}, true, []uint64{3}},
		"the last is lost":     {numbers(0, 1), []uint64{3}, load.Tally{Delivered: 2, Lost: 1}, true, []uint64{2}},
		"the first is lost":    {numbers(1, 2), []uint64{3}, load.Tally{Delivered: 2, Lost: 1}, false, []uint64{3}},
		"the middle is lost":   {numbers(0, 4), []uint64{5}, load.Tally{Delivered: 2, Lost: 3}, false, []uint64{5}},
		"one twice":            {numbers(0, 1, 1, 2), []uint64{3}, load.Tally{Delivered: 3, Duplicated: 1}, false, []uint64{3}},
		"the last twice":       {numbers(0, 1, 2, 2), []uint64{3}, load.Tally{Delivered: 3, Duplicated: 1}, false, []uint64{3}},
		"two exchanged":        {numbers(0, 2, 1, 3), []uint64{4}, load.Tally{Delivered: 4, Reordered: 1}, false, []uint64{4}},
		"late, and once more":  {numbers(0, 3, 1, 1, 2), []uint64{4}, load.Tally{Delivered: 4, Reordered: 2, Duplicated: 1}, false, []uint64{4}},
		"backwards":            {numbers(3, 2, 1, 0), []uint64{4}, load.Tally{Delivered: 4, Reordered: 3}, false, []uint64{4}},
		"never sent":           {numbers(0, 1, 2), []uint64{2}, load.Tally{Delivered: 2, Duplicated: 1}, true, []uint64{3}},
		"from nobody":          {[]arrival{{0, 0}, {2, 0}}, []uint64{1}, load.Tally{Delivered: 1, Duplicated: 1}, true, []uint64{1, 0, 1}},
		"a gap beyond the end": {numbers(0, 5), []uint64{2}, load.Tally{Delivered: 1, Lost: 1, Duplicated: 1}, false, []uint64{6}},
		"two publishers": {
			[]arrival{{1, 0}, {0, 0}, {1, 1}, {0, 2}},
			[]uint64{3, 2}, load.Tally{Delivered: 4, Lost: 1}, false, []uint64{3, 2},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var l load.Ledger
			for _, a := range test.arrivals {
				l.Take(a.publisher, a.number)
			}
			if diff := cmp.Diff(test.want, l.Sum(test.sent)); diff != "" {
				t.Error("tally, -want +got:\n", diff)
			}
			if l.Exact() != test.prefix {
				t.Errorf("Exact() = %t", l.Exact())
			}
			if diff := cmp.Diff(test.heard, l.Heard()); diff != "" {
				t.Error("heard, -want +got:\n", diff)
			}
		})
	}
}

// naive is a ledger that remembers every arrival.
type naive map[uint16][]uint64

func (n naive) sum(sent []uint64) (t load.Tally) {
	for p := range uint16(8) {
		var owed uint64
		if int(p) < len(sent) {
			owed = sent[p]
		}
		for number := range owed {
			if slices.Contains(n[p], number) {
				t.Delivered++
			} else {
				t.Lost++
			}
		}
		for i, number := range n[p] {
			before := n[p][:i]
			again := slices.Contains(before, number)
			if again || number >= owed {
				t.Duplicated++
			}
			if !again && slices.ContainsFunc(before, func(m uint64) bool { return m > number }) {
				t.Reordered++
			}
		}
	}
	return t
}

func (n naive) prefix() bool {
	for _, numbers := range n {
		for i, number := range numbers {
			if number != uint64(i) {
				return false
			}
		}
	}
	return true
}

func TestLedgerAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var l load.Ledger
		model := naive{}
		distinct := map[arrival]bool{}
		for range rapid.IntRange(0, 60).Draw(t, "arrivals") {
			p := rapid.Uint16Range(0, 3).Draw(t, "publisher")
			number := uint64(len(model[p])) // mostly the next
			if rapid.IntRange(0, 2).Draw(t, "odd") == 0 {
				number = rapid.Uint64Range(0, 25).Draw(t, "number")
			}
			l.Take(p, number)
			model[p] = append(model[p], number)
			distinct[arrival{p, number}] = true
		}
		sent := rapid.SliceOfN(rapid.Uint64Range(0, 30), 0, 5).Draw(t, "sent")
		if diff := cmp.Diff(model.sum(sent), l.Sum(sent)); diff != "" {
			t.Error("tally, -model +ledger:\n", diff)
		}
		if got := l.Delivered(); got != uint64(len(distinct)) {
			t.Errorf("Delivered() = %d, want %d", got, len(distinct))
		}
		if l.Exact() != model.prefix() {
			t.Errorf("Exact() = %t, want %t", l.Exact(), model.prefix())
		}
	})
}

func TestLedgerAllocatesNothing(t *testing.T) {
	var l load.Ledger
	l.Take(3, 0)
	next := uint64(1)
	allocations := testing.AllocsPerRun(100, func() {
		l.Take(3, next)
		next++
	})
	if allocations != 0 {
		t.Errorf("%v allocations for a message", allocations)
	}
}

func TestTally(t *testing.T) {
	sum := load.Tally{Delivered: 1}
	if !sum.Exact() {
		t.Error("one delivered is not exact")
	}
	sum.Add(load.Tally{Delivered: 10, Lost: 20, Duplicated: 30, Reordered: 40})
	text, err := json.Marshal(sum)
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"delivered":11,"lost":20,"duplicated":30,"reordered":40}`; string(text) != want {
		t.Errorf("got %s, want %s", text, want)
	}
	for _, wrong := range []load.Tally{{Lost: 1}, {Duplicated: 1}, {Reordered: 1}} {
		if wrong.Exact() {
			t.Errorf("%+v is exact", wrong)
		}
	}
}

func BenchmarkLedger(b *testing.B) {
	var l load.Ledger
	b.ReportAllocs()
	for i := range uint64(b.N) {
		l.Take(0, i)
	}
}
