package faults

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"crier.local/api"
	"crier.local/client/notification"
)

// burst is how many posts go between two flushes, and burstBytes how much.
const (
	burst      = 1024
	burstBytes = 256 << 10
)

// seat is a connection of an actor.
type seat struct {
	troupe  *troupe
	label   string
	client  *notification.Client
	x       *notification.Connection
	sending sync.Mutex // held while something is sent, so that numbers tell the order
	number  uint64     // of the last message, under sending
	reading sync.WaitGroup
	ended   atomic.Bool // Receive has returned an error of its own
	leaving sync.Once

	mu       sync.Mutex
	stop     chan struct{} // closed and replaced by halt
	interval time.Duration // between two events that are taken; 0 for none
	silent   bool          // nothing is taken
	changed  chan struct{} // closed and replaced when one of the two changes
}

func newSeat(t *troupe, label string, c *notification.Client, x *notification.Connection) *seat {
	return &seat{troupe: t, label: label, client: c, x: x, stop: make(chan struct{}), changed: make(chan struct{})}
}

// id names the message with that number.
func (s *seat) id(number uint64) string { return fmt.Sprintf("%s#%d", s.label, number) }

// payload is a message with its id at the head, filled up to size.
func payload(b []byte, id string, size int) []byte {
	b = append(append(b[:0], id...), ' ')
	for len(b) < size {
		b = append(b, '.')
	}
	return b
}

// background starts what goes on until it is over or halted, and says it then.
func (s *seat) background(said string, do func(halted <-chan struct{}) uint64) {
	s.mu.Lock()
	halted := s.stop
	s.mu.Unlock()
	s.troupe.work.Go(func() {
		count := do(halted)
		s.troupe.out.record(Record{At: AtSaid, Conn: s.label, Reason: said, Count: count})
	})
}

// halt ends what goes on.
func (s *seat) halt(order) {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.stop)
	s.stop = make(chan struct{})
}

// pause waits for d and reports whether to go on.
func (s *seat) pause(d time.Duration, halted <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-halted:
	case <-s.troupe.ctx.Done():
	}
	select {
	case <-halted:
		return false
	default:
		return s.troupe.ctx.Err() == nil
	}
}

// send sends messages one after the other.
func (s *seat) send(o order) {
	s.background("sent", func(halted <-chan struct{}) (sent uint64) {
		var b []byte
		for range o.count {
			if !s.sendOne(&b, o.size) {
				break
			}
			sent++
			if !s.pause(o.every, halted) {
				break
			}
		}
		return sent
	})
}

// sendOne sends the next message, in b, and reports whether another can be sent.
func (s *seat) sendOne(b *[]byte, size int) bool {
	s.sending.Lock()
	defer s.sending.Unlock()
	s.number++
	id := s.id(s.number)
	*b = payload(*b, id, size)
	return s.sendAs(id, *b)
}

// sendAs sends a message and reports whether the next can be sent.
func (s *seat) sendAs(id string, b []byte) bool {
	out := s.troupe.out
	out.announce(Record{At: AtInvoke, Conn: s.label, ID: id})
	before := s.epoch()
	receipt, err := s.x.Send(s.troupe.ctx, b)
	switch {
	case err == nil:
		out.record(Record{At: AtOK, Conn: s.label, ID: id, Seq: receipt.Seq, Receivers: receipt.Receivers, Epoch: s.epochSince(before)})
	case errors.Is(err, api.ErrOutcomeUnknown):
		out.record(Record{At: AtUnknown, Conn: s.label, ID: id, Error: err.Error()})
	default:
		out.record(Record{At: AtFailed, Conn: s.label, ID: id, Error: err.Error()})
	}
	return !s.over(err)
}

// epoch is the run of the provider that the connection is, or was last, in.
func (s *seat) epoch() api.Epoch { return s.client.Provider().Epoch }

// epochSince is the run of the provider if it has been the same since before;
// else nobody can tell in which of the two it was that something happened.
func (s *seat) epochSince(before api.Epoch) string {
	if s.epoch() != before {
		return ""
	}
	return before.String()
}

// over reports whether err ends the connection.
func (s *seat) over(err error) bool {
	for _, final := range []error{api.ErrClosed, api.ErrGone, api.ErrEvicted, api.ErrNameTaken} {
		if errors.Is(err, final) {
			return true
		}
	}
	return s.troupe.ctx.Err() != nil
}

// post posts messages.
func (s *seat) post(o order) {
	s.background("posted", func(halted <-chan struct{}) (posted uint64) {
		for left := o.count; left > 0; {
			n := min(left, burstOf(o))
			done, ok := s.postSome(n, o.size)
			posted += done
			left -= n
			if !ok || !s.pause(o.every, halted) {
				break
			}
		}
		return posted
	})
}

// flood posts messages until it is halted.
func (s *seat) flood(o order) {
	s.background("flooded", func(halted <-chan struct{}) (posted uint64) {
		for {
			done, ok := s.postSome(burstOf(o), o.size)
			posted += done
			if !ok || !s.pause(o.every, halted) {
				return posted
			}
		}
	})
}

// burstOf returns how many posts go before a flush: one, if there is to be time
// between them.
func burstOf(o order) int {
	if o.every > 0 {
		return 1
	}
	return max(1, min(burst, burstBytes/max(1, o.size)))
}

// postSome posts n messages and waits until they have ended. It returns how many
// were admitted, and whether there can be more.
func (s *seat) postSome(n, size int) (uint64, bool) {
	s.sending.Lock()
	defer s.sending.Unlock()
	from, to := s.number+1, s.number+uint64(n)
	s.number = to
	s.troupe.out.announce(Record{At: AtPosted, Conn: s.label, From: from, To: to})
	var b []byte
	var failed error
	before := s.epoch()
	for number := from; number <= to && failed == nil; number++ {
		b = payload(b, s.id(number), size)
		failed = s.x.Post(s.troupe.ctx, b)
	}
	report, err := s.x.Flush(s.troupe.ctx)
	if report.Err != nil {
		err = errors.Join(err, report.Err)
	}
	err = errors.Join(err, failed)
	rec := Record{
		At: AtFlushed, Conn: s.label, From: from, To: to,
		Admitted: uint64(report.Ended - report.Refused), Epoch: s.epochSince(before),
	}
	if err != nil {
		rec.Error = err.Error()
	}
	s.troupe.out.record(rec)
	return rec.Admitted, !s.over(err)
}

// read sets how events are taken.
func (s *seat) read(o order) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.silent, s.interval = o.mode == "never", o.every
	close(s.changed)
	s.changed = make(chan struct{})
}

// ready waits until the next event may be taken.
func (s *seat) ready() {
	for since := time.Now(); ; {
		s.mu.Lock()
		silent, interval, changed := s.silent, s.interval, s.changed
		s.mu.Unlock()
		rest := interval - time.Since(since)
		switch {
		case silent:
			<-changed
		case rest <= 0:
			return
		default:
			timer := time.NewTimer(rest)
			select {
			case <-changed:
			case <-timer.C:
			}
			timer.Stop()
		}
	}
}

// receive records what the connection hears, to its end.
func (s *seat) receive() {
	for {
		s.ready()
		e, err := s.x.Receive(context.Background()) // it ends with the connection
		if err != nil {
			s.recordEnd(err)
			return
		}
		s.troupe.out.record(s.heard(e))
	}
}

// recordEnd records why Receive ends, unless this process has closed the connection.
func (s *seat) recordEnd(err error) {
	if errors.Is(err, api.ErrClosed) {
		return
	}
	s.ended.Store(true)
	s.troupe.out.record(Record{At: AtEnd, Conn: s.label, Reason: endReason(err), Error: err.Error()})
}

// endReason is the word for why a connection ended.
func endReason(err error) string {
	if e, ok := errors.AsType[*api.EvictedError](err); ok {
		return e.Reason.String()
	}
	switch {
	case errors.Is(err, api.ErrGone):
		return api.ReasonGoingAway.String()
	case errors.Is(err, api.ErrNameTaken):
		return "name_taken"
	default:
		return "error"
	}
}

// heard is the record of an event.
func (s *seat) heard(e api.Event) Record {
	rec := Record{
		At: AtEvent, Conn: s.label, Kind: e.Kind.String(), Seq: e.Seq, Who: e.From, NewName: e.To,
		First: e.First, Last: e.Last, Count: e.Count, Size: len(e.Payload),
	}
	switch e.Kind {
	case api.KindMessage:
		rec.ID, _, _ = strings.Cut(string(e.Payload[:min(len(e.Payload), maxID)]), " ")
	case api.KindLeft:
		rec.Reason = e.Reason.String()
	case api.KindMembers:
		for _, m := range e.Members {
			rec.Members = append(rec.Members, m.Name)
		}
	case api.KindReconnected:
		rec.Name = s.x.Name()
	case api.KindRestarted:
		rec.Name, rec.Epoch = s.x.Name(), e.Epoch.String()
	}
	return rec
}

// maxID bounds where the id at the head of a message is looked for.
const maxID = 128

// rename gives the connection another name.
func (s *seat) rename(o order) {
	s.troupe.work.Go(func() {
		if err := s.x.Rename(s.troupe.ctx, o.connect.Name); err != nil {
			s.troupe.out.record(Record{At: AtSaid, Conn: s.label, Reason: "not renamed", Error: err.Error()})
			return
		}
		s.troupe.out.record(Record{At: AtRenamed, Conn: s.label, Name: o.connect.Name})
	})
}

// close closes the connection.
func (s *seat) close(order) { s.troupe.work.Go(s.leave) }

// leave closes the connection, and returns when everything that it heard is
// recorded.
func (s *seat) leave() {
	s.leaving.Do(func() {
		s.halt(order{})
		s.read(order{mode: "all"}) // what has come is to be told
		err := s.x.Close()
		s.reading.Wait()
		if s.ended.Load() {
			return
		}
		rec := Record{At: AtClosed, Conn: s.label}
		if err != nil {
			rec.Error = err.Error()
		}
		s.troupe.out.record(rec)
	})
}
