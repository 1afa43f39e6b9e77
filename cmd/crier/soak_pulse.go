package main

import (
	"context"
	"sync"
	"time"
)

const (
	pulseRate = 250 * time.Millisecond
	// stillTime is from when on the host counts as having stood still. The shortest
	// deadline of a connection is 3 s, of which part may have run out before.
	stillTime = time.Second
	// stillAfter is for how long what happens may come of that.
	stillAfter = 20 * time.Second
)

// pulse notices when the host stands still, as a virtual machine does that is
// frozen: deadlines run out then for which nobody has to answer (I5). Whatever
// is lost or told wrongly counts all the same.
type pulse struct {
	tell func(time.Duration) // of each time

	mu      sync.Mutex
	last    time.Time
	excused time.Time // until when
	count   int
	worst   time.Duration
}

// run feels the pulse until ctx ends.
func (p *pulse) run(ctx context.Context) {
	tick := time.NewTicker(pulseRate)
	defer tick.Stop()
	for {
		p.steady()
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// steady reports whether the host has been running for a while.
func (p *pulse) steady() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if gap := now.Sub(p.last); !p.last.IsZero() && gap >= stillTime {
		p.count, p.worst = p.count+1, max(p.worst, gap)
		p.excused = now.Add(stillAfter)
		p.tell(gap)
	}
	p.last = now
	return now.After(p.excused)
}

func (p *pulse) figures() (count int, worst time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.count, p.worst
}
