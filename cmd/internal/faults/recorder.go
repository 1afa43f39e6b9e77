package faults

import (
	"encoding/json"
	"io"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// backlog is how many bytes of records may wait to be written before those who
// write more have to wait.
const backlog = 8 << 20

// recorder writes records, one line of JSON each. What is put while a write is
// under way goes out with the next, so that few writes carry many records and
// none waits while there is nothing else to do.
type recorder struct {
	out   io.Writer
	over  chan struct{} // closed when write has returned
	start time.Time
	base  int64 // of the machine's monotonic clock, at start

	mu      sync.Mutex
	changed sync.Cond // pending grew or shrank, written grew, or closed
	pending []byte
	put     int64 // bytes that were ever pending
	written int64 // bytes that were written
	closed  bool
	err     error
}

func newRecorder(out io.Writer) *recorder {
	r := &recorder{out: out, over: make(chan struct{}), start: time.Now(), base: Monotonic()}
	r.changed.L = &r.mu
	go r.write()
	return r
}

// Monotonic returns the nanoseconds of the machine's monotonic clock, which is what
// records are stamped with; 0 if it cannot be read.
func Monotonic() int64 {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return 0
	}
	return now.Nano()
}

// now is Monotonic, without a system call.
func (r *recorder) now() int64 { return r.base + int64(time.Since(r.start)) }

// record puts a record, with the time. It waits while the reader of the other end
// does not keep up.
func (r *recorder) record(rec Record) {
	rec.Nanos = r.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.pending) > backlog && r.err == nil {
		r.changed.Wait()
	}
	before := len(r.pending)
	r.pending = appendRecord(r.pending, &rec)
	r.put += int64(len(r.pending) - before)
	r.changed.Broadcast()
}

// announce is record that returns when the record has been written: whatever
// happens next, the parent knows of it.
func (r *recorder) announce(rec Record) {
	r.record(rec)
	r.mu.Lock()
	defer r.mu.Unlock()
	for mark := r.put; r.written < mark && r.err == nil; {
		r.changed.Wait()
	}
}

// write writes what is pending until close, or until nobody listens any more.
func (r *recorder) write() {
	defer close(r.over)
	var batch []byte
	for r.next(&batch) {
		_, err := r.out.Write(batch)
		r.mu.Lock()
		r.written += int64(len(batch))
		if r.err == nil {
			r.err = err
		}
		r.changed.Broadcast()
		r.mu.Unlock()
	}
}

// next exchanges batch for what is pending, for which it waits.
func (r *recorder) next(batch *[]byte) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.pending) == 0 && !r.closed {
		r.changed.Wait()
	}
	*batch, r.pending = r.pending, (*batch)[:0]
	r.changed.Broadcast()
	return len(*batch) > 0
}

// close writes what is left, and returns the first error of writing.
func (r *recorder) close() error {
	r.mu.Lock()
	r.closed = true
	r.changed.Broadcast()
	r.mu.Unlock()
	<-r.over
	return r.err
}

// appendRecord appends a record as a line.
func appendRecord(b []byte, rec *Record) []byte {
	line, err := json.Marshal(rec)
	if err != nil {
		panic(err) // it has nothing that JSON has not
	}
	return append(append(b, line...), '\n')
}

// parseRecord reads a line.
func parseRecord(line []byte) (Record, error) {
	var rec Record
	err := json.Unmarshal(line, &rec)
	return rec, err
}
