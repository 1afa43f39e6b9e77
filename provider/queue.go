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

func (n *Notification) charge() int64 { return charge(len(n.Body)) }

// charge is what a body of so many bytes counts as.
func charge(body int) int64 { return int64(api.Charge(body)) }

// queue holds what waits for one resource, and decides what may be sent when.
// It is a pure state machine: no locks, no I/O, no time. Its owner moves what
// push and pull let through to the wire, and reports with sent when it left.
type queue struct {
	limit, reserve int64 // bytes, as charged
	credit         int64 // bytes that may go to the wire; the last one let through may overdraw it
	held           bool  // nothing may go yet: the client does not know the handle
	closed         bool

	head    *Notification // goes before the backlog
	backlog []parcel      // oldest first
	waiting int64         // bytes in backlog and head
	passed  int64         // bytes let through, but not sent yet
	unsent  int           // notifications let through, but not sent yet
}

// within reports whether so much may be pushed while the queue holds held bytes.
// An empty queue takes anything.
func (q *queue) within(held, charge int64, urgent bool) bool {
	limit := q.limit
	if !urgent {
		limit -= q.reserve
	}
	return held == 0 || held+charge <= limit
}

// bytes is what the provider holds for the resource.
func (q *queue) bytes() int64 { return q.waiting + q.passed }

// len is how many notifications the provider holds for the resource.
func (q *queue) len() int {
	n := q.unsent
	for i := range q.backlog {
		n += q.backlog[i].len()
	}
	if q.head != nil {
		n++
	}
	return n
}

// blocked reports whether something waits for credit.
func (q *queue) blocked() bool { return q.head != nil || len(q.backlog) > 0 }

// push accepts p, and returns what of it goes to the wire at once, without a hold.
func (q *queue) push(p parcel) (passed parcel) {
	if !q.blocked() && q.open() {
		passed, p = p.cut(q.credit)
		q.pass(&passed)
	}
	if !p.empty() {
		q.backlog = append(q.backlog, p.settled())
		q.waiting += p.charge()
	}
	return passed
}

func (q *queue) open() bool { return !q.held && q.credit > 0 }

func (q *queue) pass(p *parcel) {
	q.credit -= p.charge()
	q.passed += p.charge()
	q.unsent += p.len()
}

// pull returns the next that may go to the wire, nothing if none may, and a hold.
func (q *queue) pull() (passed parcel) {
	switch {
	case !q.open():
		return parcel{}
	case q.head != nil:
		passed, q.head = parcel{one: q.head}, nil
	case len(q.backlog) > 0:
		oldest := q.backlog[0]
		var rest parcel
		passed, rest = oldest.cut(q.credit)
		passed.hold()
		q.setOldest(rest.settled())
		oldest.release()
	default:
		return parcel{}
	}
	q.waiting -= passed.charge()
	q.pass(&passed)
	return passed
}

// setOldest replaces the oldest of the backlog, or removes it if p is nothing.
func (q *queue) setOldest(p parcel) {
	q.backlog[0] = p
	if !p.empty() {
		return
	}
	if q.backlog = q.backlog[1:]; len(q.backlog) == 0 {
		q.backlog = nil // let the array go
	}
}

// sent reports that so many of those let through have left.
func (q *queue) sent(notifications int, charge int64) {
	q.passed -= charge
	q.unsent -= notifications
}

// shed drops the oldest of the backlog, one after the other, while it is too much.
func (q *queue) shed(tooMuch func() bool, dropped func(*Notification)) {
	for len(q.backlog) > 0 && tooMuch() {
		oldest := q.backlog[0]
		rest := oldest
		n := rest.drop()
		q.waiting -= n.charge()
		q.setOldest(rest.settled())
		oldest.release()
		dropped(n)
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
