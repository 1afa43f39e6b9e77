package main

import (
	"runtime"
	"time"

	"crier.local/cmd/internal/load"
)

// publish publishes until the board says stop, and returns how many messages that
// were.
func (p *player) publish() (uint64, error) {
	w := &publisher{player: p, m: p.members[0], payload: make([]byte, p.Size), self: -1}
	for i := load.HeaderSize; i < len(w.payload); i++ {
		w.payload[i] = 'x'
	}
	if p.Count > 0 {
		w.self = p.First
	}
	var err error
	if p.Rate > 0 {
		err = w.paced()
	} else {
		err = w.flat()
	}
	if err != nil {
		return w.number, err
	}
	load.Put(w.payload, uint16(p.Publisher), w.number, load.End)
	if err := w.m.publish(w.payload); err != nil {
		return w.number, err
	}
	return w.number, w.m.flush()
}

// publisher publishes numbered messages, at most a window ahead of the slowest
// receiver.
type publisher struct {
	*player
	m       member
	payload []byte
	number  uint64 // of the next message
	limit   uint64 // the first number that is out of the window
	self    int    // the receiver that is the same client; -1 for none
}

// flat publishes as fast as that goes.
func (w *publisher) flat() error {
	phase := w.board.phase()
	for phase.Load() != stopping {
		if w.number >= w.limit && !w.mayPublish() {
			if err := w.await(); err != nil {
				return err
			}
			continue
		}
		if err := w.send(0); err != nil {
			return err
		}
	}
	return nil
}

func (w *publisher) send(due int64) error {
	load.Put(w.payload, uint16(w.Publisher), w.number, due)
	w.number++
	return w.m.publish(w.payload)
}

func (w *publisher) mayPublish() bool { return w.room() > 0 }

// room looks how many messages the window has room for.
func (w *publisher) room() uint64 {
	w.limit = w.board.slowest(w.Publisher, w.self) + w.Window
	return w.limit - min(w.limit, w.number)
}

// breath is how long a publisher waits before it looks again how far the receivers
// have come.
const breath = 50 * time.Microsecond

// await waits until a quarter of the window is open, as flow control does: a message
// at a time would have every system work with batches of one.
func (w *publisher) await() error {
	if err := w.m.push(); err != nil {
		return err
	}
	for w.room() < max(1, w.Window/4) && w.board.phase().Load() != stopping {
		sleepUntil(w.clock.Now() + int64(breath))
	}
	return nil
}

// early is how long before a message is due the publisher wakes, to spend the rest
// with its eyes on the clock: a sleep alone ends some 30 µs late. Where messages are
// due more often, what is due goes out in small bursts.
const early = 60 * time.Microsecond

// paced publishes at a rate, whatever becomes of the messages: what is late is sent
// at once, and the time since it was due counts. Messages are timed while the board
// says measuring.
func (w *publisher) paced() error {
	runtime.LockOSThread() // whose wake-ups are then its own
	schedule := load.NewSchedule(w.clock.Now()+int64(time.Millisecond), w.Rate)
	phase := w.board.phase()
	exact := time.Duration(float64(time.Second)/float64(w.Rate)) > 2*early // else it would use up a processor
	for {
		now := phase.Load()
		if now == stopping {
			return nil
		}
		for due := schedule.Count(w.clock.Now()); w.number < due; {
			if w.number >= w.limit && !w.mayPublish() {
				if err := w.await(); err != nil || phase.Load() == stopping {
					return err
				}
				continue
			}
			at := int64(0)
			if now == measuring {
				at = schedule.Due(w.number)
			}
			if err := w.send(at); err != nil {
				return err
			}
		}
		if err := w.m.push(); err != nil {
			return err
		}
		// A sleep in the kernel keeps the goroutines that were just woken from this
		// processor, as no wait of an ordinary program does; they go first.
		runtime.Gosched()
		next := schedule.Due(w.number)
		if !exact {
			sleepUntil(max(next, w.clock.Now()+int64(breath)))
			continue
		}
		sleepUntil(next - int64(early))
		for w.clock.Now() < next { // a sleep of this goroutine would be too long
		}
	}
}
