package client

import (
	"context"
	"fmt"
	"time"

	"crier.local/api"
	"crier.local/api/wire"
)

// call is an entry that the provider answers.
type call struct {
	id       uint32
	kind     wire.ClientKind
	session  *Session    // Invoke: whose resources it may make
	keeps    bool        // Invoke: the caller wants the resource
	deserted bool        // nobody waits for the answer any more; guarded by the link
	answer   chan answer // takes the one there will be
}

// answer is what became of a call.
type answer struct {
	body     []byte
	session  *Session
	resource *Resource
	err      error
}

func newCall(kind wire.ClientKind) *call {
	return &call{kind: kind, answer: make(chan answer, 1)}
}

// lost returns the error of a call whose answer was outstanding when err ended
// the wait for it. Only an Invoke can have left something behind.
func (c *call) lost(err error) error {
	if c.kind != wire.Invoke {
		return err
	}
	return fmt.Errorf("%w: %w", api.ErrOutcomeUnknown, err)
}

// request is an entry on its way into the outbox, and what it depends on.
type request struct {
	entry    wire.ClientEntry
	session  *Session  // nil for entries about the process
	resource *Resource // nil if no window is charged
	call     *call     // nil for a post
}

// call sends q as a call and waits for the answer. When ctx ends first, the
// provider is told, and an error wraps both ctx's and, if something may have
// happened, [api.ErrOutcomeUnknown].
func (l *link) call(ctx context.Context, q request) (answer, error) {
	if q.call == nil {
		q.call = newCall(q.entry.Kind)
	}
	if err := l.send(ctx, &q); err != nil {
		return answer{}, err
	}
	select {
	case a := <-q.call.answer:
		return a, a.err
	case <-ctx.Done():
		return l.desert(q.call, ctx.Err())
	}
}

// desert gives up waiting for c, unless the answer has just come.
func (l *link) desert(c *call, err error) (answer, error) {
	l.mu.Lock()
	if l.calls[c.id] != c {
		l.mu.Unlock()
		a := <-c.answer
		return a, a.err
	}
	defer l.mu.Unlock()
	c.deserted = true
	if c.kind == wire.Invoke {
		l.out.append(wire.ClientEntry{Kind: wire.Cancel, Call: c.id})
	}
	return answer{}, c.lost(err)
}

// send queues q as soon as there is room for it, in the order of the calls of
// one goroutine. If it returns an error, nothing was sent.
func (l *link) send(ctx context.Context, q *request) error {
	if err := wire.CheckMessage(len(q.entry.Args), l.terms.MaxMessage+api.ArgsSlack); err != nil {
		return err
	}
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		l.mu.Lock()
		wait, err := l.trySendLocked(ctx, q)
		l.mu.Unlock()
		if wait == nil {
			return err
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// trySendLocked queues q, or returns what to wait for before it is tried again.
func (l *link) trySendLocked(ctx context.Context, q *request) (<-chan struct{}, error) {
	if err := q.overLocked(l); err != nil {
		return nil, err
	}
	if q.resource != nil && q.resource.window <= 0 {
		return q.resource.credit.wait(), nil
	}
	if !l.out.fits(len(q.entry.Args)) {
		return l.out.room.wait(), nil
	}
	if q.call != nil {
		if err := q.timeout(ctx); err != nil {
			return nil, err
		}
		q.call.session = q.session
		l.addCallLocked(q.call)
		q.entry.Call = q.call.id
	}
	if r := q.resource; r != nil {
		r.window -= api.Charge(len(q.entry.Args))
		if q.call == nil {
			r.posted++
		}
	}
	l.out.append(q.entry)
	return nil, nil
}

// overLocked returns why q can't be sent any more, or nil.
func (q *request) overLocked(l *link) error {
	switch {
	case q.resource != nil && q.resource.err != nil:
		return q.resource.err
	case q.session != nil && q.session.err != nil:
		return q.session.err
	default:
		return l.err
	}
}

// timeout makes ctx's deadline the call's.
func (q *request) timeout(ctx context.Context) error {
	deadline, ok := ctx.Deadline()
	if !ok || q.entry.Kind != wire.Invoke {
		return nil
	}
	if q.entry.Timeout = time.Until(deadline); q.entry.Timeout <= 0 {
		return context.DeadlineExceeded
	}
	return nil
}

// addCallLocked gives c a number that no other unanswered call has.
func (l *link) addCallLocked(c *call) {
	for {
		l.lastCall++
		if _, taken := l.calls[l.lastCall]; l.lastCall != 0 && !taken {
			break
		}
	}
	c.id = l.lastCall
	l.calls[c.id] = c
}

// finishLocked ends c with a; its number may be used again.
func (l *link) finishLocked(c *call, a answer) {
	delete(l.calls, c.id)
	c.answer <- a
}
