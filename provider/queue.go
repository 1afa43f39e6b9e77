package provider

import "crier.local/api"

// Notification is what a resource's proxy in the client is told. It is
// immutable, and shared by all the resources it is queued for.
type Notification struct {
	// Body is what arrives.
	Body []byte
	// Urgent lets it use the part of a queue that is reserved.
	Urgent bool
	// Tag is the service's own; it does not travel.
	Tag uint64
}

func (n *Notification) charge() int64 { return int64(api.Charge(len(n.Body))) }

// queue holds what waits for one resource, and decides what may be sent when.
// It is a pure state machine: no locks, no I/O, no time. Its owner moves what
// push and pull let through to the wire, and reports with sent when it left.
type queue struct {
	limit, reserve int64 // bytes, as charged
	credit         int64 // bytes that may go to the wire; the last one let through may overdraw it
	held           bool  // nothing may go yet: the client does not know the handle
	closed         bool

	head    *Notification   // goes before the backlog
	backlog []*Notification // oldest first
	waiting int64           // bytes in backlog and head
	passed  int64           // bytes let through, but not sent yet
	unsent  int             // entries let through, but not sent yet
}

// within reports whether n may be pushed while the queue holds held bytes. An
// empty queue takes anything.
func (q *queue) within(held int64, n *Notification) bool {
	limit := q.limit
	if !n.Urgent {
		limit -= q.reserve
	}
	return held == 0 || held+n.charge() <= limit
}

// bytes is what the provider holds for the resource.
func (q *queue) bytes() int64 { return q.waiting + q.passed }

// len is how many entries the provider holds for the resource.
func (q *queue) len() int {
	n := len(q.backlog) + q.unsent
	if q.head != nil {
		n++
	}
	return n
}

// blocked reports whether something waits for credit.
func (q *queue) blocked() bool { return q.head != nil || len(q.backlog) > 0 }

// push accepts n and reports whether it goes to the wire at once.
func (q *queue) push(n *Notification) bool {
	if !q.blocked() && q.open() {
		q.pass(n)
		return true
	}
	q.backlog = append(q.backlog, n)
	q.waiting += n.charge()
	return false
}

func (q *queue) open() bool { return !q.held && q.credit > 0 }

func (q *queue) pass(n *Notification) {
	q.credit -= n.charge()
	q.passed += n.charge()
	q.unsent++
}

// pull returns the next that may go to the wire, nil if none may.
func (q *queue) pull() *Notification {
	if !q.open() {
		return nil
	}
	n := q.head
	switch {
	case n != nil:
		q.head = nil
	case len(q.backlog) > 0:
		n = q.backlog[0]
		q.backlog[0] = nil
		if q.backlog = q.backlog[1:]; len(q.backlog) == 0 {
			q.backlog = nil // let the array go
		}
	default:
		return nil
	}
	q.waiting -= n.charge()
	q.pass(n)
	return n
}

// sent reports that something let through has left.
func (q *queue) sent(charge int64) {
	q.passed -= charge
	q.unsent--
}

// shed drops the oldest of the backlog, one after the other, while it is too much.
func (q *queue) shed(tooMuch func() bool, dropped func(*Notification)) {
	for len(q.backlog) > 0 && tooMuch() {
		oldest := q.backlog[0]
		q.backlog[0] = nil
		q.backlog = q.backlog[1:]
		q.waiting -= oldest.charge()
		dropped(oldest)
	}
}

// swapHead replaces the record before the backlog.
func (q *queue) swapHead(next func(old *Notification) *Notification) {
	if q.closed {
		return
	}
	old := q.head
	if old != nil {
		q.waiting -= old.charge()
	}
	if q.head = next(old); q.head != nil {
		q.waiting += q.head.charge()
	}
}

// close drops what is not let through yet; nothing can be pushed any more.
func (q *queue) close() {
	q.closed = true
	q.head, q.backlog, q.waiting = nil, nil, 0
}
