package main

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"crier.local/cmd/internal/load"
)

// benchResult is what came of a scenario, and a line of bench --json.
type benchResult struct {
	Scenario   string `json:"scenario"`
	Payload    int    `json:"payload"` // bytes
	Publishers int    `json:"publishers"`
	Receivers  int    `json:"receivers"`
	Processes  int    `json:"processes"` // of the receivers
	Sent       uint64 `json:"sent"`
	load.Tally
	Seconds float64 `json:"seconds"` // from the first message to the last delivery
	Rate    float64 `json:"deliveries_per_second"`

	*latencyFigures
	*killFigures
	*churnFigures
	*idleFigures
}

// latencyFigures are of the times from when a message was due to its delivery, in
// microseconds.
type latencyFigures struct {
	P50  float64 `json:"p50_us"`
	P99  float64 `json:"p99_us"`
	P999 float64 `json:"p999_us"`
	Max  float64 `json:"max_us"`
}

// killFigures are of the receivers that were killed.
type killFigures struct {
	Killed     int `json:"killed"`     // receivers
	Witnesses  int `json:"witnesses"`  // each is to be told of each of them
	Departures int `json:"departures"` // that were told, once, with reason died
	// Wrong counts departures that were not told, told again, or told wrongly.
	Wrong int     `json:"departures_wrong"`
	P50   float64 `json:"departure_p50_us"` // from kill -9 until a witness was told
	Max   float64 `json:"departure_max_us"`
}

// churnFigures are of clients that come and go.
type churnFigures struct {
	Connects    uint64  `json:"connects"`
	ConnectRate float64 `json:"connects_per_second"`
}

// idleFigures are of a provider with nothing to do.
type idleFigures struct {
	CPU     float64 `json:"provider_cpu_percent"` // of a core
	Wakeups uint64  `json:"provider_wakeups"`     // voluntary context switches of its threads
	Memory  int64   `json:"memory_per_connection_bytes"`
}

func (b *bench) newResult() *benchResult {
	r := &benchResult{
		Scenario: b.scenario.value, Payload: b.payload, Publishers: b.publishers, Receivers: b.receivers, Processes: b.processes,
	}
	return r
}

// took enters when it began and ended, and the rate that follows.
func (r *benchResult) took(began, ended int64) {
	r.Seconds = max(0, time.Duration(ended-began).Seconds())
	if began == 0 {
		r.Seconds = 0
	}
	r.Rate = perSecond(r.Delivered, r.Seconds)
}

// perSecond returns a rate to a tenth, 0 of no time.
func perSecond(n uint64, seconds float64) float64 {
	if seconds <= 0 {
		return 0
	}
	return math.Round(float64(n)/seconds*10) / 10
}

// verdict is nil if everything was delivered and told as it should be.
func (r *benchResult) verdict() error {
	var wrong []string
	for _, c := range []struct {
		n    uint64
		what string
	}{
		{r.Lost, "lost"}, {r.Duplicated, "duplicated"}, {r.Reordered, "reordered"},
	} {
		if c.n > 0 {
			wrong = append(wrong, fmt.Sprintf("%s %s", grouped(c.n), c.what))
		}
	}
	if f := r.killFigures; f != nil && f.Wrong > 0 {
		wrong = append(wrong, fmt.Sprintf("%s missing, repeated or false", count(f.Wrong, "departure")))
	}
	if wrong == nil {
		return nil
	}
	return errors.New("not exact: " + strings.Join(wrong, ", "))
}

// print prints the result, for a program or for a person.
func (b *bench) print(r *benchResult) error {
	if b.json {
		return b.out.json(r)
	}
	return b.out.printf("%s", r.text())
}
