package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"crier.local/cmd/internal/load"
)

// settle gives the flags that were not given the values that the scenario has for
// them, and checks them against each other.
func (b *bench) settle() error {
	if err := b.fitting(); err != nil {
		return err
	}
	b.complete()
	switch {
	case b.kill > 0 && b.receivers < 2:
		return usage(errors.New("--kill needs receivers that stay"), "give --receivers 2 or more")
	case b.kill > 0 && b.processes < 2:
		return usage(errors.New("--kill kills whole processes, and needs one that stays"), "give --processes 2 or more")
	case b.processes > b.receivers:
		return usage(fmt.Errorf("%s cannot be spread over %s", count(b.receivers, "receiver"), processesText(b.processes)), "give fewer --processes, or more --receivers")
	case max(b.receivers, b.publishers) > benchMost:
		return usage(fmt.Errorf("more than %d clients", benchMost), "give fewer --receivers and --publishers")
	case b.scenario.value == benchAll && b.receivers < 2:
		return usage(errors.New("all-to-all needs somebody to send to"), "give --receivers 2 or more")
	case b.scenario.value == benchLatency && b.rate == 0:
		return usage(errors.New("latency needs a schedule"), "give --rate 1 or more")
	case b.rate > load.MaxRate:
		return usage(fmt.Errorf("--rate %d is more than any clock tells apart", b.rate), "leave it out for as many as it can")
	}
	return nil
}

// benchMost is how many publishers messages can tell apart.
const benchMost = 1 << 16

// fitting returns an error if a flag was given that means nothing in the scenario.
func (b *bench) fitting() error {
	for _, f := range []struct {
		given bool
		flag  string
		in    []string
	}{
		{b.kill > 0, "kill", []string{benchFanout, benchAll, benchKill}},
		{b.rate >= 0, "rate", []string{benchFanout, benchAll, benchLatency, benchKill}},
		{b.publishers >= 0, "publishers", []string{benchFanout, benchLatency, benchKill}},
		{b.share, "share", []string{benchFanout, benchAll, benchLatency, benchKill, benchIdle}},
	} {
		if f.given && !slices.Contains(f.in, b.scenario.value) {
			return usage(fmt.Errorf("--%s means nothing in scenario %s", f.flag, b.scenario.value), "leave it out")
		}
	}
	return nil
}

// What the flags are that depend on the scenario.
const (
	benchKilledPart    = 10 // percent
	benchKillProcesses = 10
	benchLatencyRate   = 1000
	benchKillRate      = 10_000
)

// complete sets the flags that were not given.
func (b *bench) complete() {
	publishers, rate, processes := 1, 0, 1
	switch b.scenario.value {
	case benchAll:
		publishers = b.receivers
	case benchLatency:
		rate = benchLatencyRate
	case benchChurn:
		publishers = 0
	case benchKill:
		rate = benchKillRate
		if b.kill == 0 {
			b.kill = benchKilledPart
		}
	}
	if b.kill > 0 {
		processes = min(b.receivers, benchKillProcesses)
	}
	for _, f := range []struct {
		value   *int
		initial int
	}{{&b.publishers, publishers}, {&b.rate, rate}, {&b.processes, processes}} {
		if *f.value < 0 {
			*f.value = f.initial
		}
	}
}

// unsaidNumber is a number whose value, if none was given, depends on the rest.
type unsaidNumber struct {
	number
	initial string // in words
}

func unsaid(value *int, least int, initial string) *unsaidNumber {
	return &unsaidNumber{*wholeNumber(value, -1, least), initial}
}

func (n *unsaidNumber) String() string {
	if n.value == nil || *n.value < 0 {
		return n.initial
	}
	return n.number.String()
}

// percent is a flag that takes a part of a whole, with or without the sign; 0 if it
// was not given.
type percent int

// The parts that make sense.
const (
	leastPercent = 1
	mostPercent  = 90
)

func (p *percent) Type() string { return "percent" }

func (p *percent) String() string {
	if *p == 0 {
		return ""
	}
	return strconv.Itoa(int(*p)) + "%"
}

func (p *percent) Set(text string) error {
	n, err := strconv.Atoi(strings.TrimSuffix(text, "%"))
	if err != nil || n < leastPercent || n > mostPercent {
		return fmt.Errorf("want a part from %d%% to %d%%", leastPercent, mostPercent)
	}
	*p = percent(n)
	return nil
}
