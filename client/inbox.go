package client

import (
	"sync"
	"time"

	"crier.local/api"
)

// When credit goes back: at half a window; else, once there are creditStep bytes
// of it, when nothing is left to take or creditPause has passed since the last
// time, so that a provider sees a slow receiver move.
const (
	creditStep  = 16 << 10
	creditPause = 250 * time.Millisecond
)

// inbox holds the notifications of a resource until they are received. The
// reader fills one slice while receivers empty another, so that they meet once
// per slice and not once per notification.
type inbox struct {
	half int // of the receive window

	receive sync.Mutex // guards what receivers work on:
	batch   [][]byte   // those being received; taken ones are nil
	next    int        // the first that is not taken
	owed    int        // credit to be returned
	check   int        // the amount owed at which the clock is looked at
	granted time.Time  // when credit was last returned

	mu      sync.Mutex // guards what the reader works on; may be taken with receive held
	pending [][]byte   // those that arrived after batch
	err     error      // why no more will come; nil while there may be
	arrived gate       // opens with news of either
}

func (b *inbox) start(window int) {
	b.half, b.check, b.granted = max(1, window/2), creditStep, time.Now()
}

// add appends what arrived.
func (b *inbox) add(bodies [][]byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return
	}
	b.pending = append(b.pending, bodies...)
	b.arrived.open()
}

// end says that nothing will come any more but last, if that is not nil.
func (b *inbox) end(last []byte, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if last != nil {
		b.pending = append(b.pending, last)
	}
	b.err = err
	b.arrived.open()
}

// pop takes the next notification, and returns the credit to be granted for it
// and earlier ones. With none there, it returns what to wait for, or the error
// that ended the inbox.
func (b *inbox) pop() (body []byte, grant int, wait <-chan struct{}, err error) {
	b.receive.Lock()
	defer b.receive.Unlock()
	if b.next == len(b.batch) {
		if wait, err = b.refill(); wait != nil || err != nil {
			return nil, 0, wait, err
		}
	}
	body, b.batch[b.next] = b.batch[b.next], nil
	b.next++
	b.owed += api.Charge(len(body))
	if b.owed >= b.half || b.owed >= creditStep && b.due() {
		grant = b.owed
		b.owed, b.check, b.granted = 0, creditStep, time.Now()
	}
	return body, grant, nil, nil
}

// refill swaps the emptied slice for the one that the reader filled.
func (b *inbox) refill() (wait <-chan struct{}, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.pending) > 0 {
		b.batch, b.pending, b.next = b.pending, b.batch[:0], 0
		return nil, nil
	}
	if b.err != nil {
		return nil, b.err
	}
	return b.arrived.wait(), nil
}

// due reports whether credit under half a window should be returned now.
func (b *inbox) due() bool {
	if b.next == len(b.batch) && b.drained() {
		return true
	}
	if b.owed < b.check {
		return false
	}
	b.check = b.owed + creditStep
	return time.Since(b.granted) >= creditPause
}

func (b *inbox) drained() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.pending) == 0
}
