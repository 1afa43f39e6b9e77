package main

import (
	"fmt"
	"math"
	"strconv"
)

// bar is a figure that Crier wants to reach. Where it is not said otherwise it is a
// ratio to a peer's figure of the same round.
type bar struct {
	title    string
	required float64
	goal     float64
	less     bool // less is better
	unit     string
	measured spread
	// goalMeasured is what the goal is about, where that is another figure.
	goalMeasured spread
	goalUnit     string
}

// The verdicts.
const (
	goalReached = "goal"
	reached     = "met"
	inRange     = "in range" // the median is not there, but a round was
	missed      = "MISSED"
	reported    = "reported"
)

func (b *bar) verdict() string {
	if len(b.measured) == 0 {
		return nothing
	}
	forGoal := b.measured
	if b.goalUnit != "" {
		forGoal = b.goalMeasured
	}
	best := b.measured.most()
	if b.less {
		best = b.measured.least()
	}
	goal := !math.IsNaN(b.goal) && len(forGoal) > 0 && b.holds(forGoal.median(), b.goal)
	switch {
	case math.IsNaN(b.required) && !goal:
		return reported
	case b.holds(b.measured.median(), b.required) && goal:
		return goalReached
	case b.holds(b.measured.median(), b.required):
		return reached
	case b.holds(best, b.required):
		return inRange
	}
	return missed
}

// holds reports whether a figure is as good as a threshold, of which NaN stands for
// none.
func (b *bar) holds(figure, threshold float64) bool {
	switch {
	case math.IsNaN(threshold):
		return true
	case b.less:
		return figure <= threshold
	}
	return figure >= threshold
}

func (b *bar) threshold(value float64, unit string) string {
	text := strconv.FormatFloat(value, 'g', -1, 64) + unit
	switch {
	case math.IsNaN(value):
		return reported
	case b.less:
		return "≤ " + text
	}
	return "≥ " + text
}

func (b *bar) row() []string {
	goalUnit, text := b.unit, b.measured.text(b.unit)
	if b.goalUnit != "" {
		goalUnit = b.goalUnit
		text += "; " + b.goalMeasured.text(b.goalUnit)
	}
	return []string{b.title, b.threshold(b.required, b.unit), b.threshold(b.goal, goalUnit), text, b.verdict()}
}

// bars returns all bars with what was measured.
func (all samples) bars() []bar {
	var bars []bar
	bars = append(bars, all.againstNATS()...)
	bars = append(bars, all.againstPeers()...)
	bars = append(bars, all.againstRaw()...)
	bars = append(bars, all.sharedBars()...)
	bars = append(bars, all.cpuBars()...)
	bars = append(bars, all.latencyBars()...)
	bars = append(bars, all.placeBars()...)
	return append(bars, all.growthBars()...)
}

// against is the ratio of a value of Crier to that of another system.
func (all samples) against(system, cell, value string) spread {
	return all.ratios(key{cell, us, value}, key{cell, system, value})
}

func (all samples) againstNATS() (bars []bar) {
	for _, tier := range []struct {
		required, goal float64
		cells          []string
	}{
		{3, 6, []string{"16x10", "16x100"}},
		{2, 4, []string{"128x10", "128x100"}},
		{1.2, 3, []string{"1024x1", "1024x10"}},
		{math.NaN(), 1.5, []string{"1024x100", "1024all8"}},
	} {
		for _, cell := range tier.cells {
			bars = append(bars, bar{
				title: "throughput against nats, " + cell, required: tier.required, goal: tier.goal, unit: "×",
				measured: all.against("nats", cell, rate),
			})
		}
	}
	return bars
}

// throughputCells are the cells in which all systems go as fast as they can.
func throughputCells() []string {
	var names []string
	for _, c := range cells() {
		if c.kind == flow && c.rate == 0 && c.systems == nil {
			names = append(names, c.name)
		}
	}
	return names
}

// againstPeers has a bar for each peer, in the cell where Crier is ahead least.
func (all samples) againstPeers() (bars []bar) {
	for _, s := range systems() {
		switch s.name() {
		case us, "raw", "grpc":
			continue
		}
		worst := bar{title: "throughput against " + s.name() + ", every cell", required: 1, goal: 2, unit: "×"}
		for _, cell := range throughputCells() {
			r := all.against(s.name(), cell, rate)
			if len(r) > 0 && (worst.measured == nil || r.median() < worst.measured.median()) {
				worst.measured = r
				worst.title = fmt.Sprintf("throughput against %s, every cell; least in %s", s.name(), cell)
			}
		}
		bars = append(bars, worst)
	}
	return bars
}

func (all samples) againstRaw() (bars []bar) {
	for _, cell := range []string{"128x1", "128x10", "128x100", "128all8"} {
		bars = append(bars, bar{
			title: "throughput against the raw limit, " + cell, required: 0.15, goal: 0.35, unit: "×",
			measured: all.against("raw", cell, rate),
		})
	}
	return bars
}

func (all samples) sharedBars() []bar {
	ours := key{"shared", us, rate}
	return []bar{
		{
			title:    "100 connections of one attachment, 128 B, against nats with 100 connections",
			required: 15, goal: 50, unit: "×", measured: all.ratios(ours, key{"128x100", "nats", rate}),
		},
		{
			title:    "the same against nats with 100 subscriptions of one connection",
			required: 15, goal: 50, unit: "×", measured: all.ratios(ours, key{"shared", "nats", rate}),
		},
	}
}

func (all samples) cpuBars() (bars []bar) {
	for _, cell := range []string{"16x1", "16x10", "16x100", "128x1", "128x10", "128x100", "128all8"} {
		bars = append(bars, bar{
			title: "CPU of the provider a delivery, against nats, " + cell, required: 0.5, goal: 0.2, less: true, unit: "×",
			measured: all.against("nats", cell, serverCPU),
		})
	}
	return bars
}

func (all samples) latencyBars() []bar {
	call := key{"send", "grpc", p50}
	return []bar{
		{
			title: "idle latency, p50, against nats (goal: redis-unix)", required: 1.05, goal: 1, less: true, unit: "×",
			measured: all.against("nats", "latency", p50), goalMeasured: all.against("redis-unix", "latency", p50), goalUnit: "× redis-unix",
		},
		{
			title: "idle latency, p99, against nats (goal: redis-unix)", required: 1.2, goal: 1, less: true, unit: "×",
			measured: all.against("nats", "latency", p99), goalMeasured: all.against("redis-unix", "latency", p99), goalUnit: "× redis-unix",
		},
		{
			title: "p99 at 800,000 deliveries a second against nats", required: 0.5, goal: 0.2, less: true, unit: "×",
			measured: all.against("nats", "loaded", p99),
		},
		{
			title: "Send with receipt, p50, against a bare unary gRPC call", required: 1.3, goal: 0.8, less: true, unit: "×",
			measured: all.ratios(key{"send", us, p50}, call),
		},
		{
			title: "the same with a receiver in another process", required: math.NaN(), goal: math.NaN(), less: true, unit: "×",
			measured: all.ratios(key{"send-heard", us, p50}, call),
		},
	}
}

// scaled returns the spread in another unit.
func (s spread) scaled(unit float64) spread {
	var in spread
	for _, v := range s {
		in = append(in, v/unit)
	}
	return in
}

const kibibyte = 1 << 10

// placeBars are about what connections cost, and their comings and goings.
func (all samples) placeBars() []bar {
	of := func(cell, value string) spread { return all.spread(key{cell, us, value}) }
	return []bar{
		{
			title: "memory of the provider for an idle process", required: 45, goal: 30, less: true, unit: " KiB",
			measured: of("memory", perProcess).scaled(kibibyte),
		},
		{
			title: "memory of the provider for a further connection", required: 1, goal: 0.5, less: true, unit: " KiB",
			measured: of("memory", perConnection).scaled(kibibyte),
		},
		{
			title: "connects a second", required: 2000, goal: 4000,
			measured: of("connects", perSecond),
		},
		{
			title: "100 connections of a killed process all told", required: 25, goal: 10, less: true, unit: " ms",
			measured: of("killed", told),
		},
		{
			title: "idle provider with 1,000 connections (goal: wake-ups)", required: 0.1, goal: 0, less: true, unit: " % of a core",
			measured: of("idle", idleCPU), goalMeasured: of("idle", idleWakeUps), goalUnit: " wake-ups/s",
		},
	}
}

func (all samples) growthBars() []bar {
	return []bar{
		{
			title: "throughput at 1,000 receivers against 100, 128 B", required: 0.6, goal: 0.9, unit: "×",
			measured: all.ratios(key{"128x1000", us, rate}, key{"128x100", us, rate}),
		},
		{
			title: "memory for an attachment, of 5,000 against of 1,000", required: linear, goal: linear, less: true, unit: "×",
			measured: all.ratios(key{"attached", us, attachedAt(100)}, key{"attached", us, attachedAt(20)}),
		},
	}
}

// linear is up to where growth counts as that.
const linear = 1.1

// barTable has a row for each bar.
func (all samples) barTable() table {
	t := table{{"bar", "required", "goal", "measured: median [range]", "verdict"}}
	for _, b := range all.bars() {
		t = append(t, b.row())
	}
	return t
}
