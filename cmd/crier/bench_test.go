package main

import (
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"crier.local/api"
	"crier.local/cmd/internal/load"
)

// benchOf returns a bench of a scenario, with the flags that set sets.
func benchOf(t *testing.T, scenario string, set func(*bench)) *bench {
	t.Helper()
	b := &bench{payload: 128, publishers: -1, receivers: 10, processes: -1, rate: -1, duration: time.Second}
	b.scenario.value = scenario
	if set != nil {
		set(b)
	}
	if err := b.settle(); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBenchDefaults(t *testing.T) {
	tests := map[string]struct {
		scenario   string
		set        func(*bench)
		publishers int
		processes  int
		rate       int
		kill       percent
	}{
		"fanout":           {benchFanout, nil, 1, 1, 0, 0},
		"fanout, killing":  {benchFanout, func(b *bench) { b.kill = 20 }, 1, 10, 0, 20},
		"all-to-all":       {benchAll, nil, 10, 1, 0, 0},
		"latency":          {benchLatency, nil, 1, 1, 1000, 0},
		"latency, faster":  {benchLatency, func(b *bench) { b.rate = 5 }, 1, 1, 5, 0},
		"idle":             {benchIdle, nil, 1, 1, 0, 0},
		"churn":            {benchChurn, nil, 0, 1, 0, 0},
		"kill":             {benchKill, nil, 1, 10, 10_000, 10},
		"kill, few":        {benchKill, func(b *bench) { b.receivers = 3 }, 1, 3, 10_000, 10},
		"kill, unhindered": {benchKill, func(b *bench) { b.rate, b.kill, b.processes = 0, 50, 4 }, 1, 4, 0, 50},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			b := benchOf(t, test.scenario, test.set)
			if b.publishers != test.publishers || b.processes != test.processes || b.rate != test.rate || b.kill != test.kill {
				t.Errorf("%d publishers, %d processes, rate %d, kill %d", b.publishers, b.processes, b.rate, b.kill)
			}
		})
	}
}

func TestPercent(t *testing.T) {
	for text, want := range map[string]percent{"1": 1, "10%": 10, "90%": 90, "0": 0, "91%": 0, "-5%": 0, "%": 0, "ten": 0, "10%%": 0, "": 0} {
		var p percent
		if err := p.Set(text); p != want || (err == nil) != (want > 0) {
			t.Errorf("%q is %d, %v", text, p, err)
		}
	}
}

// Whatever is asked for, every receiver and publisher is in one process, those that
// are killed are not witnesses, and some stay.
func TestBenchParts(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		scenario := rapid.SampledFrom([]string{benchFanout, benchAll, benchLatency, benchIdle, benchChurn, benchKill}).Draw(r, "scenario")
		receivers := rapid.IntRange(2, 50).Draw(r, "receivers")
		b := benchOf(t, scenario, func(b *bench) {
			b.receivers = receivers
			b.processes = rapid.IntRange(2, receivers).Draw(r, "processes")
			if scenario == benchFanout || scenario == benchAll {
				b.kill = percent(rapid.IntRange(0, 90).Draw(r, "kill"))
			}
			if scenario == benchFanout {
				b.publishers = rapid.IntRange(1, 20).Draw(r, "publishers")
			}
		})
		var receiving, doomed, witnesses int
		publishers := map[uint16]bool{}
		for _, p := range b.parts() {
			if p.Receivers > 0 {
				if p.First != receiving {
					r.Errorf("receivers from %d, after %d", p.First, receiving)
				}
				receiving += p.Receivers
			}
			for _, n := range p.Publishers {
				if publishers[n] || int(n) >= p.Sources {
					r.Errorf("publisher %d of %d is there twice", n, p.Sources)
				}
				publishers[n] = true
			}
			if p.Doomed {
				doomed++
			}
			if p.Witness {
				witnesses++
			}
			if p.Doomed && p.Witness || p.Doomed && p.Receivers == 0 {
				r.Errorf("doomed is %+v", p)
			}
		}
		if receiving != receivers || len(publishers) != b.publishers {
			r.Errorf("%d receivers, want %d; %d publishers, want %d", receiving, receivers, len(publishers), b.publishers)
		}
		if killing := b.kill > 0; killing && (doomed == 0 || witnesses != b.processes-doomed || witnesses == 0) || !killing && doomed+witnesses > 0 {
			r.Errorf("%d doomed and %d witnesses of %d processes, kill %s", doomed, witnesses, b.processes, &b.kill)
		}
	})
}

// stageOf returns a stage whose processes were never started.
func stageOf(b *bench) *benchStage {
	s := &benchStage{b: b, account: newBenchAccount()}
	for _, part := range b.parts() {
		s.processes = append(s.processes, &benchProcess{part: part})
	}
	return s
}

func tallyOf(delivered, lost, duplicated, reordered uint64) *load.Tally {
	return &load.Tally{Delivered: delivered, Lost: lost, Duplicated: duplicated, Reordered: reordered}
}

func TestBenchSum(t *testing.T) {
	s := stageOf(benchOf(t, benchFanout, func(b *bench) { b.receivers, b.publishers = 3, 2 }))
	s.account.published[0] = benchWord{Count: 70, Time: 3e9}
	s.account.published[1] = benchWord{Count: 30, Time: 2e9}
	s.account.heard[0] = benchWord{Tally: tallyOf(100, 0, 0, 0), Time: 4e9}
	s.account.heard[1] = benchWord{Tally: tallyOf(90, 10, 2, 3), Time: 6e9}
	if s.heardOut() {
		t.Error("receiver 2 has said nothing")
	}
	s.account.heard[2] = benchWord{Tally: tallyOf(60, 0, 0, 0), Time: 5e9} // it was told of 60 alone
	if !s.heardOut() || !s.finished() {
		t.Error("all have said all")
	}
	r := s.sum()
	if r.Sent != 100 || r.Tally != *tallyOf(250, 50, 2, 3) || r.Seconds != 4 || r.Rate != 62.5 {
		t.Errorf("%+v", r)
	}
	if err := r.verdict(); err == nil || err.Error() != "not exact: 50 lost, 2 duplicated, 3 reordered" {
		t.Error(err)
	}
	s.account.heard[1], s.account.heard[2] = s.account.heard[0], s.account.heard[0]
	if err := s.sum().verdict(); err != nil {
		t.Error(err)
	}
}

// All who live must get the same of a publisher that was killed.
func TestBenchSumOfTheDead(t *testing.T) {
	s := stageOf(benchOf(t, benchAll, func(b *bench) { b.receivers, b.processes, b.kill = 4, 4, 25 }))
	dead := s.processes[3]
	dead.killed, dead.count = 1, 11
	for n := range 3 {
		s.account.published[n] = benchWord{Count: 10, Time: 1}
		s.account.heard[n] = benchWord{Tally: tallyOf(25, 0, 0, 0), Dead: map[uint16]uint64{3: 5}, Time: 2}
	}
	if !s.finished() || !s.heardOut() {
		t.Error("the dead is awaited")
	}
	if r := s.sum(); r.Sent != 35 || r.Tally != *tallyOf(86, 0, 0, 0) {
		t.Errorf("%+v", r)
	}
	s.account.heard[1] = benchWord{Tally: tallyOf(27, 0, 0, 0), Dead: map[uint16]uint64{3: 7}, Time: 2}
	if r := s.sum(); r.Sent != 37 || r.Tally != *tallyOf(88, 4, 0, 0) {
		t.Errorf("two who got less than another: %+v", r)
	}
}

func TestKillFigures(t *testing.T) {
	died, closed := api.ReasonDied.String(), api.ReasonClosed.String()
	tests := map[string]struct {
		told []benchWord
		want killFigures
	}{
		"all": {
			[]benchWord{{Number: 0, Gone: 2, Reason: died, Time: 3000}, {Number: 1, Gone: 2, Reason: died, Time: 5000}},
			killFigures{Killed: 1, Witnesses: 2, Departures: 2},
		},
		"one missing": {
			[]benchWord{{Number: 0, Gone: 2, Reason: died, Time: 3000}},
			killFigures{Killed: 1, Witnesses: 2, Departures: 1, Wrong: 1},
		},
		"one twice": {
			[]benchWord{{Number: 0, Gone: 2, Reason: died, Time: 3000}, {Number: 1, Gone: 2, Reason: died, Time: 5000}, {Number: 1, Gone: 2, Reason: died, Time: 5000}},
			killFigures{Killed: 1, Witnesses: 2, Departures: 2, Wrong: 1},
		},
		"another reason": {
			[]benchWord{{Number: 0, Gone: 2, Reason: died, Time: 3000}, {Number: 1, Gone: 2, Reason: closed, Time: 5000}},
			killFigures{Killed: 1, Witnesses: 2, Departures: 1, Wrong: 1},
		},
		"of one who lives": {
			[]benchWord{{Number: 0, Gone: 2, Reason: died, Time: 3000}, {Number: 1, Gone: 2, Reason: died, Time: 5000}, {Number: 0, Gone: 1, Reason: died, Time: 5000}},
			killFigures{Killed: 1, Witnesses: 2, Departures: 2, Wrong: 1},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := stageOf(benchOf(t, benchKill, func(b *bench) { b.receivers = 3 }))
			s.processes[len(s.processes)-1].killed = 1000
			s.account.departures = test.told
			got := s.killFigures()
			if got.P50 < 1 || got.Max < got.P50 {
				t.Errorf("times %v and %v", got.P50, got.Max)
			}
			got.P50, got.Max = 0, 0
			if diff := cmp.Diff(&test.want, got); diff != "" {
				t.Error(diff)
			}
			r := benchResult{killFigures: got}
			if (r.verdict() == nil) != (test.want.Wrong == 0) {
				t.Error(r.verdict())
			}
		})
	}
}

// receiverOf returns a receiver without a connection, and what it says.
func receiverOf(part benchPart) (*benchReceiver, *strings.Builder) {
	said := &strings.Builder{}
	r := &benchReceiver{number: 1, client: &benchClient{part: part, words: &benchWords{to: said}}}
	r.begin()
	return r, said
}

func message(publisher uint16, number uint64, due int64) []byte {
	b := make([]byte, load.HeaderSize)
	load.Put(b, publisher, number, due)
	return b
}

func TestBenchReceiverAccounts(t *testing.T) {
	r, said := receiverOf(benchPart{Payload: load.HeaderSize, Sources: 2})
	for _, m := range [][]byte{
		message(0, 0, 0), message(0, 2, 0), message(0, 1, 0), message(1, 0, 0), message(1, 0, 0),
		message(0, 4, load.End), message(0, 4, load.End),
	} {
		if err := r.enter(m); err != nil {
			t.Fatal(err)
		}
	}
	if said.Len() > 0 {
		t.Errorf("before the last end mark: %s", said)
	}
	if err := r.enter(message(1, 1, load.End)); err != nil {
		t.Fatal(err)
	}
	var w benchWord
	if err := json.Unmarshal([]byte(said.String()), &w); err != nil {
		t.Fatal(err)
	}
	if want := tallyOf(4, 1, 2, 1); w.At != wordHeard || w.Number != 1 || *w.Tally != *want {
		t.Errorf("said %s, want %+v", said, want)
	}
	if r.ledger.Delivered() != 0 || r.marks != 0 {
		t.Error("the next round does not begin")
	}
}

func TestBenchReceiverRefuses(t *testing.T) {
	part := benchPart{Payload: load.HeaderSize, Sources: 2}
	for name, m := range map[string][]byte{
		"short": make([]byte, load.HeaderSize-1), "long": make([]byte, load.HeaderSize+1), "of a stranger": message(2, 0, 0),
	} {
		r, _ := receiverOf(part)
		if err := r.enter(m); err == nil {
			t.Errorf("a message that is %s is one of the load", name)
		}
	}
	part.Paired, part.Witness = true, true
	r, _ := receiverOf(part)
	if err := errors.Join(r.enter(message(0, 0, 0)), r.departed(api.Event{Kind: api.KindLeft, From: "receiver0", Reason: api.ReasonDied})); err != nil {
		t.Fatal(err)
	}
	if err := r.enter(message(0, 1, 0)); err == nil {
		t.Error("the dead may talk")
	}
}

// Those who will be killed tell at once what is wrong.
func TestBenchReceiverConfesses(t *testing.T) {
	r, _ := receiverOf(benchPart{Payload: load.HeaderSize, Sources: 1, Doomed: true})
	if err := errors.Join(r.enter(message(0, 0, 0)), r.enter(message(0, 1, 0))); err != nil {
		t.Fatal(err)
	}
	if n := r.count.Load(); n != 2 {
		t.Errorf("%d told, want 2", n)
	}
	if err := r.enter(message(0, 3, 0)); err == nil {
		t.Error("number 3 after 1 is fine")
	}
}

// The fields of bench --json are what scripts rely on.
func TestBenchJSON(t *testing.T) {
	r := benchResult{Scenario: benchLatency, latencyFigures: &latencyFigures{}}
	got, err := json.Marshal(&r)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"scenario":"latency","payload":0,"publishers":0,"receivers":0,"processes":0,"sent":0,"delivered":0,"lost":0,"duplicated":0,"reordered":0,` +
		`"seconds":0,"deliveries_per_second":0,"p50_us":0,"p99_us":0,"p999_us":0,"max_us":0}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestBenchNumbers(t *testing.T) {
	for n, want := range map[uint64]string{0: "0", 999: "999", 1000: "1,000", 123456: "123,456", math.MaxUint64: "18,446,744,073,709,551,615"} {
		if got := grouped(n); got != want {
			t.Errorf("%d is written %s, want %s", n, got, want)
		}
	}
	for rate, want := range map[float64]string{0: "0", 9999: "9999", 10_000: "10 k", 812_345: "812 k", 7_818_926: "7.82 M"} {
		if got := short(rate); got != want {
			t.Errorf("%v a second is written %s, want %s", rate, got, want)
		}
	}
	for n, want := range map[float64]string{128: "128 B", 10_000: "10000 B", 30_720: "30.0 KiB", 1 << 20: "1.0 MiB"} {
		if got := bytesText(n); got != want {
			t.Errorf("%v bytes are written %s, want %s", n, got, want)
		}
	}
	for us, want := range map[float64]string{93.4: "93 µs", 9999: "9999 µs", 12_345: "12.3 ms"} {
		if got := microsText(us); got != want {
			t.Errorf("%v µs are written %s, want %s", us, got, want)
		}
	}
}

func TestGauge(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if g := readGauge(dir); g != (gauge{}) {
		t.Errorf("of nothing: %+v", g)
	}
	write("status", "Name:\tcrier\nVmHWM:\t  99 kB\nVmRSS:\t  12 kB\n")
	write("stat", "7 (a) b) S 1 7 7 0 -1 0 0 0 0 0 150 50 0 0 20 0 9\n")
	write("task/7/status", "voluntary_ctxt_switches:\t5\nnonvoluntary_ctxt_switches:\t100\n")
	write("task/8/status", "voluntary_ctxt_switches:\t6\nnonvoluntary_ctxt_switches:\t100\n")
	if got, want := readGauge(dir), (gauge{2 * time.Second, 11, 12 << 10}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	write("task/7/schedstat", "1000 5 6\n")
	write("task/8/schedstat", "234 5 6\n")
	if got, want := readGauge(dir), (gauge{1234, 11, 12 << 10}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	got := idleFiguresOf(gauge{rss: 1000}, gauge{time.Second, 10, 5000}, gauge{2 * time.Second, 13, 9000}, 4*time.Second, 4)
	if want := (idleFigures{CPU: 25, Wakeups: 3, Memory: 1000}); *got != want {
		t.Errorf("got %+v, want %+v", *got, want)
	}
	if f := idleFiguresOf(gauge{}, gauge{}, gauge{}, time.Second, 1); f != nil {
		t.Errorf("of a process that is not known: %+v", f)
	}
}
