package main

import (
	"errors"
	"time"

	"crier.local/cmd/internal/load"
)

// request sends messages one at a time, each after the answer to the one before,
// and returns how long these took. What comes in the first tenth is not timed.
func (p *player) request(d time.Duration) (*load.Latency, error) {
	m, can := p.members[0].(requester)
	if !can {
		return nil, errors.New("its messages are not answered")
	}
	latency, payload := load.NewLatency(), make([]byte, p.Size)
	begin := time.Now()
	for then := begin; then.Sub(begin) < d; {
		if err := m.request(payload); err != nil {
			return nil, err
		}
		now := time.Now()
		if then.Sub(begin) > d/10 {
			latency.Record(int64(now.Sub(then)))
		}
		then = now
	}
	return latency, nil
}

// more opens further connections over each attachment.
func (p *player) more(connections int) error {
	for _, m := range p.members {
		one, can := m.(multiplier)
		if !can {
			return errors.New("has one connection for each attachment")
		}
		if err := one.more(connections); err != nil {
			return err
		}
	}
	return nil
}
