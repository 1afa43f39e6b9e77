package client

import (
	"sync"
	"time"

	"crier.local/api"
	"crier.local/api/wire"
)

// When credit goes back: at half a window, or a quarter when nothing is left to
// take; else, once there are creditStep bytes of it, when creditPause has passed
// since the last time, so that a provider sees a slow receiver move. Each time
// wakes the provider up.
const (
	creditStep  = 16 << 10
	creditPause = 250 * time.Millisecond
)

// inbox holds the notifications of a resource until they are received. The
// reader fills one slice while receivers empty another, so that they meet once
// per slice and not once per notification.
type inbox struct {
	half int // of the receive window

	receive sync.Mutex // guards what receivers work on, unless there is only one:
	current arrival    // is being received
	taken   int        // bytes of current
	batch   []arrival  // those after it; those before next are zero
	next    int        // in batch
	owed    int        // credit to be returned
	check   int        // the amount owed up to which none is
	granted time.Time  // when credit was last returned

	mu      sync.Mutex // guards what the reader works on; may be taken with receive held
	pending []arrival  // those that arrived after batch
	err     error      // why no more will come; nil while there may be
	arrived gate       // opens with news of either
}

func (b *inbox) start(window int) {
	b.half, b.granted = max(1, window/2), time.Now()
	b.check = min(b.half, creditStep)
}

// arrival is notifications as they came.
type arrival struct {
	bodies wire.Bodies
	loan   *wire.Loan // of the memory they are in; nil if it belongs to the receiver
}

// add appends what arrived.
func (b *inbox) add(arrivals []arrival) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return
	}
	for i := range arrivals {
		arrivals[i].loan.Share()
	}
	b.pending = append(b.pending, arrivals...)
	b.arrived.open()
}

// end says that nothing will come any more but last, if that is not nil.
func (b *inbox) end(last []byte, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if last != nil {
		b.pending = append(b.pending, arrival{bodies: wire.Bodies(nil).Append(last)})
	}
	b.err = err
	b.arrived.open()
}

// another takes the next notification if that is all there is to do, and returns
// nil if not: take does then.
func (b *inbox) another() []byte {
	rest := b.current.bodies[b.taken:]
	body, ok := rest.Next()
	if owed := b.owed + api.Charge(len(body)); ok && owed < b.check && len(rest) > 0 {
		b.taken = len(b.current.bodies) - len(rest)
		b.owed = owed
		return body
	}
	return nil
}

// take takes the next notification, and returns the credit to be granted for it
// and earlier ones. With none there, it returns what to wait for, or the error
// that ended the inbox.
func (b *inbox) take() (body []byte, grant int, wait <-chan struct{}, err error) {
	if wait, err = b.advance(); wait != nil || err != nil {
		return nil, 0, wait, err
	}
	rest := b.current.bodies[b.taken:]
	body, _ = rest.Next()
	b.taken = len(b.current.bodies) - len(rest)
	b.owed += api.Charge(len(body))
	if b.owed >= b.half || b.owed >= creditStep && b.due() {
		grant = b.owed
		b.owed, b.granted = 0, time.Now()
		b.check = min(b.half, creditStep)
	}
	return body, grant, nil, nil
}

// lent reports whether what was taken last is good until the next step only.
func (b *inbox) lent() bool { return b.current.loan != nil }

// advance sees to it that something of current is not taken.
func (b *inbox) advance() (wait <-chan struct{}, err error) {
	for b.taken == len(b.current.bodies) {
		b.current.loan.Repay()
		b.current, b.taken = arrival{}, 0
		if b.next == len(b.batch) {
			if wait, err = b.refill(); wait != nil || err != nil {
				return wait, err
			}
		}
		b.current, b.batch[b.next] = b.batch[b.next], arrival{}
		b.next++
	}
	return nil, nil
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
	if b.owed >= b.half/2 && b.taken == len(b.current.bodies) && b.next == len(b.batch) && b.drained() {
		return true
	}
	if b.owed < b.check {
		return false
	}
	b.check = min(b.half, b.owed+creditStep)
	return time.Since(b.granted) >= creditPause
}

func (b *inbox) drained() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.pending) == 0
}
