package main

import (
	"fmt"
	"os"
	"time"
)

// bench is a whole run: rounds, in each of which every system is measured once in
// every cell.
type bench struct {
	options
	h       *house
	cells   []cell
	systems []system
	samples samples
	began   time.Time
}

func newBench(h *house, o options) (*bench, error) {
	b := &bench{options: o, h: h, began: time.Now()}
	all, err := pick(cells(), o.cells, func(c cell) string { return c.name })
	if err != nil {
		return nil, err
	}
	b.cells = all
	wanted, err := pick(systems(), o.systems, system.name)
	if err != nil {
		return nil, err
	}
	for _, s := range wanted {
		if err := s.find(h); err != nil {
			if h.ctx.Err() != nil {
				return nil, h.ctx.Err()
			}
			b.say("%s is left out: %v", s.name(), err)
			continue
		}
		b.systems = append(b.systems, s)
	}
	return b, nil
}

func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%4.0fs "+format+"\n", append([]any{time.Since(b.began).Seconds()}, args...)...)
}

// run runs all rounds. The systems of a cell are measured one right after the other,
// in an order that turns from round to round, so that what the machine does besides
// falls on each alike.
func (b *bench) run() error {
	for round := range b.rounds {
		for i, c := range b.cells {
			for j := range b.systems {
				sys := b.systems[(round+i+j)%len(b.systems)]
				if !c.has(sys.name()) || c.once && round > 0 {
					continue
				}
				if err := b.measure(round, c, sys); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// measure makes a sample. What fails is told, and there is no sample of it; an error
// is the end of the run.
func (b *bench) measure(round int, c cell, sys system) error {
	b.h.doing = c.name
	s, err := b.sample(c, sys)
	if b.h.ctx.Err() != nil {
		return b.h.ctx.Err()
	}
	if err != nil {
		s = sample{Error: err.Error()}
	}
	s.Round, s.Cell, s.System = round, c.name, sys.name()
	b.samples = append(b.samples, s)
	b.say("round %d/%d %-8s %-10s %s", round+1, b.rounds, c.name, sys.name(), s.summary())
	return nil
}

// sample measures a system in a cell.
func (b *bench) sample(c cell, sys system) (sample, error) {
	st := &stage{h: b.h, c: c, sys: sys}
	var v values
	var err error
	switch c.kind {
	case flow:
		return measureFlow(st, seconds(b.warm), c.measured(b.seconds))
	case request:
		return measureRequests(st, c.measured(b.seconds))
	case memory:
		v, err = measureMemory(st)
	case attached:
		v, err = measureAttached(st)
	case connects:
		v, err = measureConnects(st)
	case killed:
		v, err = measureKilled(st)
	case idle:
		v, err = measureIdle(st, c.measured(b.seconds))
	}
	return sample{Values: v}, err
}
