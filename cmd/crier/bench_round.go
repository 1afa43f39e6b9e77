package main

import (
	"context"
	"math"
	"sync/atomic"

	"crier.local/cmd/internal/load"
)

// benchRound is a time of publishing, or of visiting.
type benchRound struct {
	// ctx ends when nobody is there any more who waits for the result.
	ctx context.Context
	// open ends with the round.
	open context.Context
	end  context.CancelFunc

	clock  load.Clock
	closed atomic.Int64 // when it was stopped; MaxInt64 before
}

func newBenchRound(ctx context.Context, clock load.Clock) *benchRound {
	r := &benchRound{ctx: ctx, clock: clock}
	r.open, r.end = context.WithCancel(ctx)
	r.closed.Store(math.MaxInt64)
	return r
}

// stop ends the round. It may be called again.
func (r *benchRound) stop() {
	r.closed.CompareAndSwap(math.MaxInt64, r.clock.Now())
	r.end()
}

// over reports whether the round was stopped.
func (r *benchRound) over() bool { return r.closed.Load() != math.MaxInt64 }

// until returns now, or when the round was stopped.
func (r *benchRound) until(now int64) int64 { return min(now, r.closed.Load()) }
