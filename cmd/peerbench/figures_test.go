package main

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"crier.local/cmd/internal/load"
)

// made returns samples of a figure: for each system its values by round.
func made(cell, value string, systems map[string][]float64) samples {
	var all samples
	for system, figures := range systems {
		for round, v := range figures {
			all = append(all, sample{Round: round, Cell: cell, System: system, Values: values{value: v}})
		}
	}
	return all
}

func TestRatiosAreOfTheSameRound(t *testing.T) {
	all := made("c", rate, map[string][]float64{"crier": {2, 40, 600}, "nats": {1, 10, 100, 1000}})
	r := all.against("nats", "c", rate)
	if len(r) != 3 || r.least() != 2 || r.median() != 4 || r.most() != 6 {
		t.Errorf("ratios %v, want 2, 4 and 6", r)
	}
	if got, want := r.text("×"), "4.00× [2.00–6.00]"; got != want {
		t.Errorf("as text %q, want %q", got, want)
	}
}

func TestVerdict(t *testing.T) {
	nan := math.NaN()
	for _, tc := range []struct {
		name string
		bar  bar
		want string
	}{
		{"goal", bar{required: 2, goal: 4, measured: spread{3, 4, 5}}, goalReached},
		{"met", bar{required: 2, goal: 4, measured: spread{1, 3, 5}}, reached},
		{"one round is there", bar{required: 2, goal: 4, measured: spread{1, 1, 2}}, inRange},
		{"no round is", bar{required: 2, goal: 4, measured: spread{1, 1, 1.9}}, missed},
		{"less is better", bar{required: 2, goal: 1, less: true, measured: spread{0.5, 1, 3}}, goalReached},
		{"less, one round", bar{required: 2, goal: 1, less: true, measured: spread{2, 3, 3}}, inRange},
		{"less, missed", bar{required: 2, goal: 1, less: true, measured: spread{2.1, 3, 3}}, missed},
		{"nothing required", bar{required: nan, goal: 2, measured: spread{1}}, reported},
		{"but the goal reached", bar{required: nan, goal: 2, measured: spread{2}}, goalReached},
		{"another goal", bar{required: 1, goal: 1, less: true, measured: spread{0.5}, goalUnit: "u", goalMeasured: spread{2}}, reached},
		{"not measured", bar{required: 1, goal: 1}, nothing},
	} {
		if got := tc.bar.verdict(); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
	}
}

// TestTextOfDBus has payloads survive as strings, with the time where there is room.
func TestTextOfDBus(t *testing.T) {
	for _, size := range []int{16, 32, 64, 1024} {
		for _, due := range []int64{0, load.End, 123456789} {
			payload := make([]byte, size)
			load.Put(payload, 3, load.MaxNumber, due)
			text := toText(payload)
			if len(text) != size {
				t.Fatalf("%d bytes become %d", size, len(text))
			}
			publisher, number, got, err := load.Parse(fromText(text))
			want := due
			if size < 2*load.HeaderSize && due > 0 {
				want = 0 // there is room for the mark of an end alone; small ones are not timed
			}
			if err != nil || publisher != 3 || number != load.MaxNumber || got != want {
				t.Errorf("%d bytes due %d: %d %d %d %v", size, due, publisher, number, got, err)
			}
		}
	}
}

// TestPublish writes tables, charts and the page of results.
func TestPublish(t *testing.T) {
	latency := load.NewLatency()
	latency.Record(5e6)
	all := made("128x10", rate, map[string][]float64{"crier": {2e6, 3e6}, "nats": {1e6, 1e6}})
	all = append(all, sample{Cell: "latency", System: "nats", Latency: latency, Values: values{p50: 5000}},
		sample{Cell: "128x10", System: "dbus", Tally: load.Tally{Lost: 7}})
	dir := t.TempDir()
	b := &bench{
		options: options{rounds: 2, bars: true, charts: filepath.Join(dir, "charts"), json: filepath.Join(dir, "raw.json")},
		cells:   cells(), systems: systems(), samples: all, began: time.Now(),
	}
	var out strings.Builder
	if err := b.publish(&out); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(dir, "RESULTS.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"2.50× [2.00–3.00]", "LOST 7", "| throughput against nats, 128x10", "latency nats"} {
		if !strings.Contains(out.String(), want) || !strings.Contains(string(page), want) {
			t.Errorf("%q is not in\n%s", want, page)
		}
	}
	for _, c := range charts() {
		text, err := os.ReadFile(filepath.Join(dir, "charts", c.file))
		if err != nil || !strings.Contains(string(text), "</svg>") {
			t.Errorf("%s: %v", c.file, err)
		}
	}
}

func TestPick(t *testing.T) {
	name := func(c cell) string { return c.name }
	if got, err := pick(cells(), "128x10,send", name); err != nil || len(got) != 2 || got[1].kind != request {
		t.Errorf("picked %v, %v", got, err)
	}
	if _, err := pick(cells(), "128x10,nonsense", name); err == nil || !strings.Contains(err.Error(), "there are 16x1,") {
		t.Errorf("a cell that there is none of: %v", err)
	}
}
