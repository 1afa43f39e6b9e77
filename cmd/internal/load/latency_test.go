package load_test

import (
	"encoding/json"
	"math"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"pgregory.net/rapid"

	"crier.local/cmd/internal/load"
)

// within reports whether two figures are the same to three digits.
func within(got, want float64) bool { return math.Abs(got-want) <= want/1000+0.6 }

func TestLatency(t *testing.T) {
	l := load.NewLatency()
	for _, figure := range []func() float64{l.P50, l.P99, l.P999, l.Max} {
		if figure() != 0 {
			t.Error("there is a figure of nothing")
		}
	}
	for us := range 1000 {
		l.Record(int64(us+1) * 1000)
	}
	for name, figure := range map[string]struct{ got, want float64 }{
		"p50": {l.P50(), 500}, "p99": {l.P99(), 990}, "p99.9": {l.P999(), 999}, "max": {l.Max(), 1000},
	} {
		if !within(figure.got, figure.want) {
			t.Errorf("%s is %v µs, want %v", name, figure.got, figure.want)
		}
	}
	if l.Count() != 1000 {
		t.Errorf("%d recorded", l.Count())
	}
	l.Reset()
	if l.Count() != 0 || l.Max() != 0 {
		t.Errorf("%d recorded after the reset, the longest %v", l.Count(), l.Max())
	}
}

func TestLatencyBounds(t *testing.T) {
	for ns, want := range map[int64]float64{
		math.MinInt64: 1, -1: 1, 0: 1, 999: 1,
		int64(time.Hour): 60e6, math.MaxInt64: 60e6,
	} {
		l := load.NewLatency()
		l.Record(ns)
		if l.Count() != 1 || !within(l.Max(), want) {
			t.Errorf("%d ns: %d recorded, the longest %v µs, want %v", ns, l.Count(), l.Max(), want)
		}
	}
}

// What is merged from several processes is as if one had recorded everything.
func TestLatencyTravels(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		whole, merged := load.NewLatency(), load.NewLatency()
		for range 3 {
			part := load.NewLatency()
			for _, ns := range rapid.SliceOf(rapid.Int64Range(0, int64(time.Minute))).Draw(t, "part") {
				whole.Record(ns)
				part.Record(ns)
			}
			text, err := json.Marshal(part)
			if err != nil {
				t.Fatal(err)
			}
			arrived := load.NewLatency()
			if err := json.Unmarshal(text, arrived); err != nil {
				t.Fatal(err)
			}
			merged.Merge(arrived)
		}
		if merged.Count() != whole.Count() || merged.P50() != whole.P50() || merged.P99() != whole.P99() || merged.P999() != whole.P999() || merged.Max() != whole.Max() {
			t.Errorf("merged %d %v %v, whole %d %v %v", merged.Count(), merged.P50(), merged.Max(), whole.Count(), whole.P50(), whole.Max())
		}
	})
}

func TestLatencyRefusesOthers(t *testing.T) {
	other, err := hdrhistogram.New(1, 1000, 2).EncodeV2()
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{`""`, `"nonsense"`, `"` + string(other) + `"`} {
		if err := json.Unmarshal([]byte(text), load.NewLatency()); err == nil {
			t.Errorf("%s are latencies", text)
		}
	}
}
