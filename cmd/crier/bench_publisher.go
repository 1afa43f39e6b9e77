package main

import (
	"context"
	"fmt"
	"math"

	"crier.local/client/notification"
	"crier.local/cmd/internal/load"
)

// benchPublisher posts numbered messages.
type benchPublisher struct {
	number  uint16
	sources int // how many publishers there are
	conn    *notification.Connection
	clock   load.Clock
	payload []byte

	sent  uint64
	first int64 // when the first was sent
}

// publish posts messages until the round is over, then marks the end, and waits
// until the provider has admitted all.
func (p *benchPublisher) publish(round *benchRound, o benchOrder) benchWord {
	p.sent, p.first = 0, p.clock.Now()
	if o.Limit == 0 {
		o.Limit = math.MaxUint64
	}
	var err error
	if o.Rate > 0 {
		err = p.pace(round, o)
	} else {
		err = p.flood(round, o)
	}
	if err == nil {
		err = p.finish(round.ctx)
	}
	w := benchWord{At: wordPublished, Number: int(p.number), Count: p.sent, Time: p.first}
	if err != nil {
		w.Error = fmt.Sprintf("publisher %d: %v", p.number, err)
	}
	return w
}

// flood posts as fast as the provider takes it.
func (p *benchPublisher) flood(round *benchRound, o benchOrder) error {
	var due int64
	for p.sent < o.Limit && !round.over() {
		if o.Timed {
			due = p.clock.Now()
		}
		if err := p.post(round.ctx, due); err != nil {
			return err
		}
	}
	return nil
}

// pace posts by the schedule that all publishers share: it sends every message
// whose number, divided by how many publishers there are, leaves its own. All that
// was due before the round's end is sent.
func (p *benchPublisher) pace(round *benchRound, o benchOrder) error {
	schedule := load.NewSchedule(p.first, o.Rate)
	next := uint64(p.number)
	for p.sent < o.Limit {
		for due := schedule.Count(round.until(p.clock.Now())); next < due && p.sent < o.Limit; next += uint64(p.sources) {
			if round.over() && !o.Timed {
				return nil
			}
			var at int64
			if o.Timed {
				at = schedule.Due(next)
			}
			if err := p.post(round.ctx, at); err != nil {
				return err
			}
		}
		if round.over() && schedule.Count(round.until(math.MaxInt64)) <= next {
			return nil
		}
		if err := p.clock.Wait(round.open, schedule.Due(next)); err != nil && !round.over() {
			return err
		}
	}
	return nil
}

func (p *benchPublisher) post(ctx context.Context, due int64) error {
	load.Put(p.payload, p.number, p.sent, due)
	if err := p.conn.Post(ctx, p.payload); err != nil {
		return err
	}
	p.sent++
	return nil
}

// finish posts the end mark, and waits until the provider has admitted everything.
func (p *benchPublisher) finish(ctx context.Context) error {
	load.Put(p.payload, p.number, p.sent, load.End)
	if err := p.conn.Post(ctx, p.payload); err != nil {
		return err
	}
	flushed, err := p.conn.Flush(ctx)
	switch {
	case err != nil:
		return err
	case flushed.Refused > 0:
		return fmt.Errorf("%d of %d posts were refused: %w", flushed.Refused, flushed.Ended, flushed.Err)
	}
	return nil
}
