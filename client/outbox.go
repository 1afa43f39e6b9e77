package client

import (
	"errors"
	"io"
	"sync"

	"crier.local/api/wire"
)

// outboxLimit is how many bytes may wait for the writer before callers do. What
// the reader and closings add is not held up by it, and is small.
const outboxLimit = 1 << 20

// entryRoom bounds what an entry takes besides its arguments; what exceeds it
// (a long selector) makes the buffer grow.
const entryRoom = 64

// outbox holds encoded entries until the writer takes them. Its link's mutex
// guards it.
type outbox struct {
	wake    sync.Cond        // the writer waits here, for entries or the link's end
	full    [][]byte         // batches that are ready, oldest first
	current []byte           // the batch being filled; nil for none
	bytes   int              // in all of them
	room    gate             // opens when the writer has taken them
	entry   wire.ClientEntry // what append encodes, here since it escapes
}

// fits reports whether an entry with n bytes of arguments may be added by a
// caller. An empty outbox takes any.
func (o *outbox) fits(n int) bool { return o.bytes == 0 || o.bytes+n <= outboxLimit }

// append encodes e behind all others and wakes the writer.
func (o *outbox) append(e wire.ClientEntry) {
	size := len(e.Args) + entryRoom
	if len(o.current) >= wire.BatchSize || len(o.current)+size > cap(o.current) {
		o.turn(size)
	}
	before := len(o.current)
	o.entry = e
	o.current = wire.AppendClient(o.current, &o.entry)
	o.entry.Args = nil // the caller's
	o.bytes += len(o.current) - before
	o.wake.Signal()
}

// turn starts a new batch that has room for an entry of the given size.
func (o *outbox) turn(size int) {
	if len(o.current) > 0 {
		o.full = append(o.full, o.current)
	}
	if size > wire.BatchSize {
		o.current = make([]byte, 0, size)
		return
	}
	o.current = wire.GetBuffer()
}

// take moves all batches behind those of list, and returns it.
func (o *outbox) take(list [][]byte) [][]byte {
	list = append(list, o.full...)
	if len(o.current) > 0 {
		list = append(list, o.current)
	}
	o.drop()
	return list
}

// drop empties the outbox.
func (o *outbox) drop() {
	clear(o.full)
	o.full, o.current, o.bytes = o.full[:0], nil, 0
	o.room.open()
	o.wake.Signal()
}

// write is the link's writer: it sends whatever has gathered while it sent what
// gathered before. It ends with the link, whose reader it leaves the last word:
// after io.EOF there may be a farewell to be read.
func (l *link) write() {
	var batches [][]byte
	var b wire.Batch
	for l.await() {
		l.mu.Lock()
		batches = l.out.take(batches[:0])
		l.mu.Unlock()
		for i, data := range batches {
			batches[i] = nil
			b = wire.Batch{Data: data}
			if err := l.stream.Send(&b); err != nil {
				if !errors.Is(err, io.EOF) {
					l.cancel(err)
				}
				return
			}
		}
	}
}

// await blocks until there is something to write; false at the link's end.
func (l *link) await() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.err == nil && l.out.bytes == 0 {
		l.out.wake.Wait()
	}
	return l.err == nil
}

// gate is where callers wait for a change of something that a mutex guards; the
// same mutex guards the gate.
type gate struct{ changed chan struct{} }

// wait returns a channel that is closed with the next change.
func (g *gate) wait() <-chan struct{} {
	if g.changed == nil {
		g.changed = make(chan struct{})
	}
	return g.changed
}

// open tells all who wait.
func (g *gate) open() {
	if g.changed != nil {
		close(g.changed)
		g.changed = nil
	}
}
