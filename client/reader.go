package client

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"crier.local/api"
	"crier.local/api/wire"
)

// reader is the link's reader: it takes in what the provider sends. It waits for
// nobody but the stream, and writes only by the outbox, which always takes its
// few and small entries.
type reader struct {
	link  *link
	rest  wire.Reader // of the batch being read
	entry wire.ProviderEntry

	loan *wire.Loan // of the batch being read; nil if it is nobody else's

	// Notifications in a row for the same handles are handed over together.
	handles   []api.Handle
	arrivals  []arrival
	receivers []*Resource
}

// run reads until the stream ends, and returns why. The batch that brought the
// welcome comes first.
func (d *reader) run() error {
	var batch wire.Batch
	for {
		if err := d.batch(); err != nil {
			return err
		}
		batch = wire.Batch{Borrow: true}
		if err := d.link.stream.Recv(&batch); err != nil {
			return err
		}
		d.rest, d.loan = wire.NewReader(batch.Data), batch.Loan
	}
}

// batch takes in the rest of a batch.
func (d *reader) batch() error {
	defer d.finish()
	for {
		more, err := d.rest.NextProvider(&d.entry)
		if !more {
			return err
		}
		if d.entry.Kind == wire.Notification {
			d.gather()
			continue
		}
		d.deliver()
		if err := d.take(&d.entry); err != nil {
			return err
		}
	}
}

// finish ends a batch, of which nothing is kept in memory then.
func (d *reader) finish() {
	d.deliver()
	d.loan.Repay()
	d.rest, d.loan = wire.Reader{}, nil
	d.entry = wire.ProviderEntry{Handles: d.entry.Handles[:0]}
}

// gather keeps notifications for deliver.
func (d *reader) gather() {
	e := &d.entry
	if len(d.arrivals) > 0 && !slices.Equal(d.handles, e.Handles) {
		d.deliver()
	}
	if len(d.arrivals) == 0 {
		d.handles = append(d.handles[:0], e.Handles...)
	}
	d.arrivals = append(d.arrivals, arrival{bodies: e.Bodies, loan: d.loan})
}

// deliver hands the gathered notifications to their resources. Those that are
// closed already get nothing and cost nothing.
func (d *reader) deliver() {
	if len(d.arrivals) == 0 {
		return
	}
	d.link.mu.Lock()
	for _, h := range d.handles {
		if r := d.link.resources[h]; r != nil {
			d.receivers = append(d.receivers, r)
		}
	}
	d.link.mu.Unlock()
	if len(d.receivers) > 1 {
		d.keep()
	}
	for _, r := range d.receivers {
		r.in.add(d.arrivals)
	}
	clear(d.receivers)
	clear(d.arrivals)
	d.receivers, d.arrivals = d.receivers[:0], d.arrivals[:0]
}

// keep makes of what arrived for several a copy that all of them share.
func (d *reader) keep() {
	for i := range d.arrivals {
		if a := &d.arrivals[i]; a.loan != nil {
			*a = arrival{bodies: bytes.Clone(a.bodies)}
		}
	}
}

// take takes in one entry other than a notification.
func (d *reader) take(e *wire.ProviderEntry) error {
	if d.loan != nil {
		e.Body = bytes.Clone(e.Body)
	}
	d.link.mu.Lock()
	defer d.link.mu.Unlock()
	switch e.Kind {
	case wire.Opened:
		return d.link.openedLocked(e)
	case wire.Reply:
		return d.link.replyLocked(e)
	case wire.Closed:
		if r := d.link.resources[e.Handle]; r != nil {
			r.endLocked(e.Body, ending(e))
		}
	case wire.ReturnCredit:
		if r := d.link.resources[e.Handle]; r != nil {
			r.creditLocked(e.Bytes)
		}
	case wire.Posted:
		if r := d.link.resources[e.Handle]; r != nil {
			r.postedLocked(e)
		}
	case wire.Farewell:
		return fmt.Errorf("farewell: %w", parting(e))
	}
	return nil // the rest is from a newer provider, and not for us
}

// ending returns the error that a closed resource ends with.
func ending(e *wire.ProviderEntry) error {
	switch {
	case e.Reason == api.ReasonClosed:
		return api.ErrClosed
	case e.Reason != api.ReasonGoingAway:
		return &api.EvictedError{Reason: e.Reason, Note: e.Note}
	case e.Note != "":
		return fmt.Errorf("%w: %s", api.ErrGone, e.Note)
	default:
		return api.ErrGone
	}
}

// openedLocked answers an open, with a session that is there before the next
// entry is read.
func (l *link) openedLocked(e *wire.ProviderEntry) error {
	c := l.calls[e.Call]
	switch {
	case c == nil:
		return nil
	case c.kind != wire.Open || e.Session == 0 || l.sessions[e.Session] != nil:
		return errors.New("malformed batch: a session that was not asked for")
	}
	s := &Session{link: l, id: e.Session, provided: e.Provided, resources: map[api.Handle]*Resource{}}
	l.finishLocked(c, answer{session: s})
	if c.deserted {
		l.closeLocked(wire.ClientEntry{Kind: wire.CloseSession, Session: e.Session})
		return nil
	}
	l.sessions[s.id] = s
	return nil
}

// replyLocked answers a call, with a resource that is there before the next
// entry is read.
func (l *link) replyLocked(e *wire.ProviderEntry) error {
	c := l.calls[e.Call]
	if c == nil {
		return nil
	}
	a := answer{body: e.Body, err: e.Failure.Err()}
	switch {
	case c.kind == wire.Open && a.err == nil:
		return errors.New("malformed batch: a reply instead of a session")
	case e.Handle != 0 && (c.kind != wire.Invoke || l.resources[e.Handle] != nil):
		return errors.New("malformed batch: a resource that was not asked for")
	case e.Handle != 0 && (c.deserted || !c.keeps || c.session.err != nil):
		if c.session.err == nil {
			l.closeLocked(wire.ClientEntry{Kind: wire.CloseResource, Session: c.session.id, Handle: e.Handle})
		} else if c.keeps {
			a.err = c.session.err
		}
	case e.Handle != 0:
		a.resource = newResource(c.session, e)
		l.resources[e.Handle], c.session.resources[e.Handle] = a.resource, a.resource
	}
	l.finishLocked(c, a)
	return nil
}
