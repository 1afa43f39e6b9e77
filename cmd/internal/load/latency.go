package load

import (
	"fmt"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// The latencies that a histogram tells apart, in nanoseconds: those beyond count as
// the bound.
const (
	minLatency = 1e3
	maxLatency = 60 * second
	digits     = 3
)

// Latency is a histogram of latencies from 1 µs to 60 s, true to three digits. As
// text, and so in JSON, it is in the compressed V2 encoding of HdrHistogram, which
// any process can read. It is for one goroutine.
type Latency struct{ histogram *hdrhistogram.Histogram }

// NewLatency returns an empty histogram.
func NewLatency() *Latency {
	return &Latency{hdrhistogram.New(minLatency, maxLatency, digits)}
}

// Record enters a latency, in nanoseconds.
func (l *Latency) Record(ns int64) {
	if err := l.histogram.RecordValue(max(minLatency, min(ns, maxLatency))); err != nil {
		panic(err) // it is within the bounds
	}
}

// Merge adds what other has recorded.
func (l *Latency) Merge(other *Latency) {
	if dropped := l.histogram.Merge(other.histogram); dropped > 0 {
		panic(fmt.Sprintf("load: %d latencies of another range", dropped)) // UnmarshalText lets none in
	}
}

// Reset forgets what was recorded.
func (l *Latency) Reset() { l.histogram.Reset() }

// Count returns how many were recorded.
func (l *Latency) Count() int64 { return l.histogram.TotalCount() }

// P50 returns the median, in microseconds; 0 if nothing was recorded.
func (l *Latency) P50() float64 { return l.percentile(50) }

// P99 returns what 99 % are not above, in microseconds.
func (l *Latency) P99() float64 { return l.percentile(99) }

// P999 returns what 99.9 % are not above, in microseconds.
func (l *Latency) P999() float64 { return l.percentile(99.9) }

// Max returns the longest, in microseconds.
func (l *Latency) Max() float64 { return l.percentile(100) }

func (l *Latency) percentile(p float64) float64 {
	if l.Count() == 0 {
		return 0
	}
	return float64(l.histogram.ValueAtPercentile(p)) / 1e3
}

// MarshalText encodes the histogram.
func (l *Latency) MarshalText() ([]byte, error) { return l.histogram.EncodeV2() }

// UnmarshalText replaces the histogram by one that MarshalText encoded.
func (l *Latency) UnmarshalText(text []byte) error {
	h, err := hdrhistogram.Decode(text)
	if err != nil {
		return fmt.Errorf("latencies: %w", err)
	}
	if h.LowestTrackableValue() != minLatency || h.HighestTrackableValue() != maxLatency || h.SignificantFigures() != digits {
		return fmt.Errorf("latencies from %d to %d ns with %d digits: want %.0f to %.0f with %d",
			h.LowestTrackableValue(), h.HighestTrackableValue(), h.SignificantFigures(), minLatency, float64(maxLatency), digits)
	}
	l.histogram = h
	return nil
}
