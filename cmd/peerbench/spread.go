package main

import (
	"fmt"
	"math"
	"slices"

	"crier.local/cmd/internal/load"
)

// spread is what several rounds gave, in rising order.
type spread []float64

func (s spread) median() float64 {
	if n := len(s); n > 0 {
		return (s[(n-1)/2] + s[n/2]) / 2
	}
	return math.NaN()
}

func (s spread) least() float64 { return s[0] }

func (s spread) most() float64 { return s[len(s)-1] }

// text is the median, and behind it the range if there was more than one round.
func (s spread) text(unit string) string {
	switch len(s) {
	case 0:
		return nothing
	case 1:
		return number(s[0]) + unit
	}
	return fmt.Sprintf("%s%s [%s–%s]", number(s.median()), unit, number(s.least()), number(s.most()))
}

// number writes a figure with as many digits as mean something.
func number(f float64) string {
	switch size := math.Abs(f); {
	case math.IsNaN(f):
		return nothing
	case size >= 99.95:
		return fmt.Sprintf("%.0f", f)
	case size >= 9.995:
		return fmt.Sprintf("%.1f", f)
	case size >= 0.0995 || size == 0:
		return fmt.Sprintf("%.2f", f)
	}
	return fmt.Sprintf("%.2g", f)
}

// samples are all that a run has measured.
type samples []sample

// key is a figure: a value of a system in a cell.
type key struct{ cell, system, value string }

// rounds returns the figure of each round that has it.
func (all samples) rounds(k key) map[int]float64 {
	found := map[int]float64{}
	for _, s := range all {
		if v, has := s.Values[k.value]; has && s.Cell == k.cell && s.System == k.system {
			found[s.Round] = v
		}
	}
	return found
}

// spread returns the figure's spread over the rounds.
func (all samples) spread(k key) spread {
	var found spread
	for _, v := range all.rounds(k) {
		found = append(found, v)
	}
	slices.Sort(found)
	return found
}

// latency returns the latencies of all rounds.
func (all samples) latency(cell, system string) *load.Latency {
	sum := load.NewLatency()
	for _, s := range all {
		if s.Latency != nil && s.Cell == cell && s.System == system {
			sum.Merge(s.Latency)
		}
	}
	return sum
}

// ratios returns the spread of the ratios of two figures, each of one round.
func (all samples) ratios(of, to key) spread {
	var found spread
	divisors := all.rounds(to)
	for round, v := range all.rounds(of) {
		if by, has := divisors[round]; has && by != 0 {
			found = append(found, v/by)
		}
	}
	slices.Sort(found)
	return found
}
