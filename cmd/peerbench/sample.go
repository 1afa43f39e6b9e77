package main

import (
	"fmt"
	"maps"
	"slices"

	"crier.local/cmd/internal/load"
)

// sample is what one measurement of a system in a cell has given.
type sample struct {
	Round  int        `json:"round"`
	Cell   string     `json:"cell"`
	System string     `json:"system"`
	Values values     `json:"values,omitempty"`
	Tally  load.Tally `json:"tally,omitzero"`
	// Latency is a histogram of HdrHistogram's, where latencies were measured.
	Latency *load.Latency `json:"latency,omitempty"`
	// Error says why there are no values.
	Error string `json:"error,omitempty"`
}

// The names of values.
const (
	rate         = "deliveries_per_second"
	serverCPU    = "server_cpu_ns_per_delivery"
	publisherCPU = "publisher_cpu_ns_per_delivery"
	receiverCPU  = "receiver_cpu_ns_per_delivery"
	allCPU       = "cpu_ns_per_delivery"
	p50          = "p50_us"
	p99          = "p99_us"
	p999         = "p999_us"
	longest      = "max_us"

	perProcess    = "bytes_per_process"
	perConnection = "bytes_per_connection"
	perSecond     = "connects_per_second"
	told          = "told_ms"
	idleCPU       = "idle_cpu_percent"
	idleWakeUps   = "idle_wake_ups_per_second"
)

// values are figures by name.
type values map[string]float64

// addLatency adds the percentiles of latencies, if there are any.
func (v values) addLatency(l *load.Latency) {
	if l != nil {
		v[p50], v[p99], v[p999], v[longest] = l.P50(), l.P99(), l.P999(), l.Max()
	}
}

// summary is the sample in a line.
func (s sample) summary() string {
	if s.Error != "" {
		return "FAILED: " + s.Error
	}
	text := ""
	if !s.Tally.Exact() {
		text = fmt.Sprintf("  LOST %d, twice %d, late %d", s.Tally.Lost, s.Tally.Duplicated, s.Tally.Reordered)
	}
	if s.Latency != nil {
		return fmt.Sprintf("p50 %.0f µs, p99 %.0f µs, p99.9 %.0f µs, %d samples%s",
			s.Values[p50], s.Values[p99], s.Values[p999], s.Latency.Count(), text)
	}
	if _, is := s.Values[allCPU]; !is {
		for _, name := range slices.Sorted(maps.Keys(s.Values)) {
			text += fmt.Sprintf("  %s %s", name, number(s.Values[name]))
		}
		return text[2:]
	}
	return fmt.Sprintf("%8.3f M/s, CPU in ns each: server %.0f, publisher %.0f, receivers %.0f%s",
		s.Values[rate]/1e6, s.Values[serverCPU], s.Values[publisherCPU], s.Values[receiverCPU], text)
}
