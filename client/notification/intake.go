package notification

import (
	"context"
	"errors"
	"iter"
	"time"

	"crier.local/api"
	"crier.local/api/wire"
)

// intake makes events of notifications. Whoever has the turn receives.
type intake struct {
	turn    turn
	current *segment  // nil between two
	epoch   api.Epoch // of the last segment
	seen    api.Seq   // the highest number that is accounted for
	from    string    // the last sender, whose name is likely to be the next one's,
	nanos   int64     // and when its message was admitted, which several in a row share
	time    time.Time // nanos
	larder  larder
	event   wire.Event   // other than a message
	members []api.Member // the first chunks of a list
	ready   []api.Event  // further departures of one record
}

// Receive returns the next event. It blocks until there is one, ctx ends or the
// connection does; what had arrived by then is returned first, and then always
// the connection's error. A connection that only sends has
// [api.ErrNotNotifiable].
//
// After a loss of the link comes, behind everything that had arrived before,
// one event of kind restarted or reconnected.
func (x *Connection) Receive(ctx context.Context) (api.Event, error) {
	in := &x.in
	if err := in.turn.take(ctx); err != nil {
		return api.Event{}, err
	}
	defer in.turn.leave()
	for {
		if len(in.ready) > 0 {
			e := in.ready[0]
			in.ready = in.ready[1:]
			return e, nil
		}
		if in.current == nil {
			seg, err := x.nextSegment(ctx)
			if err != nil {
				return api.Event{}, err
			}
			if e, ok := in.begin(seg); ok {
				return e, nil
			}
		}
		body, lent, err := in.current.resource.Borrow(ctx)
		if err != nil {
			if err = x.receiveFailed(ctx, err); err != nil {
				return api.Event{}, err
			}
			continue
		}
		if m, ok := wire.ReadMessage(body); ok {
			return in.message(&m, lent), nil
		}
		if err := in.decode(body); err != nil {
			return api.Event{}, x.broken(err)
		}
		if in.complete() {
			return in.event.Event, nil
		}
	}
}

// message returns the event that m is.
func (in *intake) message(m *wire.Message, lent bool) api.Event {
	if string(m.From) != in.from {
		in.from = string(m.From)
	}
	if m.Nanos != in.nanos {
		in.nanos, in.time = m.Nanos, m.Time()
	}
	in.seen = max(in.seen, m.Seq)
	payload := m.Payload
	if lent {
		payload = in.larder.keep(payload)
	}
	return api.Event{
		Kind: api.KindMessage, Seq: m.Seq, Time: in.time, From: in.from, UID: m.UID,
		Payload: payload, To: string(m.To),
	}
}

// Events iterates over what [Connection.Receive] returns; its error comes last.
func (x *Connection) Events(ctx context.Context) iter.Seq2[api.Event, error] {
	return func(yield func(api.Event, error) bool) {
		for {
			e, err := x.Receive(ctx)
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

// nextSegment waits until the connection is reopened, or over.
func (x *Connection) nextSegment(ctx context.Context) (*segment, error) {
	for {
		x.mu.Lock()
		if len(x.coming) > 0 {
			seg := x.coming[0]
			x.coming = x.coming[1:]
			x.mu.Unlock()
			return seg, nil
		}
		err, changed := x.err, x.changed
		x.mu.Unlock()
		if err != nil {
			return nil, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// receiveFailed tells the three ways apart in which receiving from a segment
// ends: ctx is over, the link is lost (nil: there may be another segment), or
// the connection has ended.
func (x *Connection) receiveFailed(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil && errors.Is(err, ctx.Err()), errors.Is(err, api.ErrNotNotifiable):
		return err
	case lost(err):
		x.in.current, x.in.members = nil, nil
		return nil
	default:
		x.finish(err)
		return x.ended()
	}
}

// broken ends a connection whose provider sends what is not an event. What came
// behind that is not trusted either.
func (x *Connection) broken(err error) error {
	x.finish(err)
	x.in.current.resource.Close()
	x.in.current = nil
	x.mu.Lock()
	defer x.mu.Unlock()
	x.coming = nil
	return x.err
}

// begin goes on to seg. Unless that is the first, it returns the event that
// tells what happened.
func (in *intake) begin(seg *segment) (api.Event, bool) {
	restarted := in.epoch != seg.attachment.Epoch
	in.current, in.epoch = seg, seg.attachment.Epoch
	first := in.seen + 1
	if restarted || seg.seq > in.seen {
		in.seen = seg.seq
	}
	switch {
	case !seg.again:
		return api.Event{}, false
	case restarted:
		return api.Event{Kind: api.KindRestarted, Epoch: in.epoch}, true
	default:
		return api.Event{Kind: api.KindReconnected, First: first, Last: seg.seq}, true
	}
}

// decode reads body into in.event.
func (in *intake) decode(body []byte) error {
	if err := wire.DecodeEvent(body, &in.event); err != nil {
		return err
	}
	in.seen = max(in.seen, in.event.Seq, in.event.Last)
	return nil
}

// complete reports whether in.event is one to be returned as it is. Those who
// left together leave one by one; a list of members waits for its last chunk; a
// gap that holds nothing but such chunks is no loss.
func (in *intake) complete() bool {
	e := &in.event
	switch {
	case len(e.Departures) > 0:
		in.ready = in.ready[:0]
		for _, d := range e.Departures {
			left := e.Event
			left.From, left.UID = d.Name, d.UID
			in.ready = append(in.ready, left)
		}
		return false
	case e.Kind == api.KindMembers:
		in.members = append(in.members, e.Members...)
		if e.More {
			return false
		}
		e.Members, in.members = in.members, nil
	case e.Kind == api.KindGap:
		in.members = nil // the rest of a list may be in the gap; a new one follows then
		return e.Count > 0
	}
	return true
}
