package notification

import (
	"context"
	"sync/atomic"
)

// turn is a mutex that one can stop waiting for. Taking a free one costs little.
type turn struct {
	held    atomic.Bool
	waiting atomic.Int32
	freed   chan struct{} // a word to one who waits
}

func newTurn() turn { return turn{freed: make(chan struct{}, 1)} }

// take returns when the caller has the turn, or with ctx's error.
func (t *turn) take(ctx context.Context) error {
	if t.held.CompareAndSwap(false, true) {
		return nil
	}
	t.waiting.Add(1)
	defer t.waiting.Add(-1)
	for !t.held.CompareAndSwap(false, true) {
		select {
		case <-t.freed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// leave passes the turn on.
func (t *turn) leave() {
	t.held.Store(false)
	if t.waiting.Load() > 0 {
		select {
		case t.freed <- struct{}{}:
		default:
		}
	}
}
