package provider

import (
	"fmt"
	"sync/atomic"

	"crier.local/api"
	"crier.local/api/wire"
)

// Resource is something that the provider holds for a session, known to the
// client by its handle. It ends with its session at the latest. Its methods are
// safe for concurrent use and never block.
type Resource struct {
	session  *Session
	out      *outbox
	owner    any
	handle   api.Handle
	onClosed func(api.Reason)
	overflow func(*Notification)
	progress func()

	closed bool // guarded by the process's lock

	held atomic.Int64 // queue.bytes(), to be read without the outbox's lock

	// The outbox's lock guards what follows.
	queue         queue
	watched       bool
	taken         uint64
	last          *wire.ProviderEntry // its end, to be told once the client knows the handle
	receiveWindow int64
	inbound       inbound
}

// ResourceOptions say what a resource can do. The zero value is a resource
// without notifications.
type ResourceOptions struct {
	// Notifiable gives it notifications. They may go out once the [Result] that
	// carries the resource has.
	Notifiable bool
	// ReceiveWindow is how many bytes of notifications may be on their way to the
	// client or wait there to be taken; SendWindow the same for calls on the
	// resource that have not ended. Each counts as [api.Charge]. 0: 1 MiB.
	ReceiveWindow, SendWindow uint32
	// Queue bounds what the provider holds for the resource, in bytes; Reserve is
	// the part that only urgent notifications may use. 0: 4 MiB and 64 KiB.
	Queue, Reserve int
	// OnClosed is called exactly once, without the runtime's locks, when the
	// resource is closed, by whomever. The process's other business waits for it.
	OnClosed func(api.Reason)
	// Overflow is the policy for a full queue. Without one [Resource.Notify] fails
	// and a [Group] does not fit. With one a group always fits, and Append calls
	// Overflow, with the caller's locks held, for what is too much: it must Shed,
	// or note that the resource is to be closed.
	Overflow func(*Notification)
	// Progress is called, without locks, after the queue became shorter or credit
	// came back, and after room came about in what it shares with other queues,
	// while the resource is watched.
	Progress func()
}

// defaultWindow is 1 MiB, defaultQueue and defaultReserve are as in ResourceOptions.
const (
	defaultWindow  = 1 << 20
	defaultQueue   = 4 << 20
	defaultReserve = 64 << 10
)

// inbound counts the calls on a resource. The outbox's lock guards it.
type inbound struct {
	window int64 // bytes that calls on the resource may take
	left   int64 // of it

	// Posts are numbered. The client is told how many of the first have ended, so
	// that what it counts as ended is never a later one.
	received uint64            // posts
	ended    uint64            // posts, up to which all have
	early    map[uint64]ending // how later ones did, by the first of them
	flushes  []uint64          // report when all posts up to these have ended; rising
	report   report
}

// report is what the client is to be told of calls that have ended.
type report struct {
	bytes, ended, refused uint32
	failure               error // of the first that was refused
}

// ending is how posts in a row ended.
type ending struct {
	posts int
	err   error
}

// Handle returns the integer that names r.
func (r *Resource) Handle() api.Handle { return r.handle }

// Session returns the session that r is held for.
func (r *Resource) Session() *Session { return r.session }

// Owner returns what NewResource was given.
func (r *Resource) Owner() any { return r.owner }

// Notify queues n, and returns at once: [api.ErrFull] if the queue is full,
// [api.ErrNotNotifiable], [api.ErrClosed].
func (r *Resource) Notify(n *Notification) error {
	if !r.handle.Notifiable() {
		return api.ErrNotNotifiable
	}
	if limit := r.session.process.p.options.Limits.HardTop; len(n.Body) > limit {
		return wire.CheckMessage(len(n.Body), limit)
	}
	return r.out.notify(r, n, false)
}

// NotifyAll queues n for each of the resources that can take it, and returns for
// how many.
func NotifyAll(resources []*Resource, n *Notification) int {
	var fitting Group
	for _, r := range resources {
		if r.handle.Notifiable() && r.out.fits(r, n.charge(), n.Urgent) {
			fitting.Add(r)
		}
	}
	return fitting.Append(n, nil)
}

// Fits reports whether Notify would take a body of so many bytes.
func (r *Resource) Fits(body int) bool { return r.out.fits(r, charge(body), false) }

// displace queues what is in p, one after the other, after Overflow has made room
// for it.
func (r *Resource) displace(p parcel) error {
	var err error
	for !p.empty() && err == nil {
		n := p.drop()
		if !r.out.fits(r, n.charge(), n.Urgent) {
			_ = r.session.process.p.guard("Overflow", func() { r.overflow(n) })
		}
		err = r.out.notify(r, n, true)
	}
	return err
}

// Queued returns how many notifications the provider holds for r, and their bytes.
func (r *Resource) Queued() (entries int, bytes int64) {
	r.out.mu.Lock()
	defer r.out.mu.Unlock()
	return r.queue.len(), r.queue.bytes()
}

// Taken returns the bytes for which the client has ever returned credit.
func (r *Resource) Taken() uint64 {
	r.out.mu.Lock()
	defer r.out.mu.Unlock()
	return r.taken
}

// Shed drops the oldest notifications that may not go to the wire yet, until n
// fits, or all of them, and hands each to dropped. The runtime's lock is held:
// dropped must not call back.
func (r *Resource) Shed(n *Notification, all bool, dropped func(*Notification)) {
	r.out.update(r, func(q *queue) {
		q.shed(func() bool { return all || !r.out.takes(r, q.bytes(), n.charge(), n.Urgent) }, dropped)
	})
}

// SwapHead replaces the record that goes before everything that waits: next gets
// the one there is, nil if none or if it is gone already, and returns the one
// that is to be. The runtime's lock is held: next must not call back.
func (r *Resource) SwapHead(next func(old *Notification) *Notification) {
	r.out.update(r, func(q *queue) { q.swapHead(next) })
}

// Watch turns the calls of Progress on or off.
func (r *Resource) Watch(on bool) {
	r.out.mu.Lock()
	defer r.out.mu.Unlock()
	r.watched = on && r.progress != nil
	r.out.ledger.await(r, r.watched)
	r.out.ledger.whole.await(r, r.watched)
}

// Close ends r, in order. Closing it again does nothing.
func (r *Resource) Close() { r.end(api.ReasonClosed, &wire.ProviderEntry{Reason: api.ReasonClosed}) }

// CloseWith ends r and tells the client why. The word outranks what waits in the
// queue, which is dropped.
func (r *Resource) CloseWith(reason api.Reason, note string) {
	r.end(reason, &wire.ProviderEntry{Reason: reason, Note: note})
}

// NotifyAndClose ends r; then n arrives as the last notification, before what
// waits in the queue, which is dropped.
func (r *Resource) NotifyAndClose(n *Notification) error {
	if !r.handle.Notifiable() {
		return api.ErrNotNotifiable
	}
	if limit := r.session.process.p.options.Limits.HardTop; len(n.Body) > limit {
		return wire.CheckMessage(len(n.Body), limit)
	}
	body := n.Body
	if body == nil {
		body = []byte{} // nil would be none
	}
	if !r.end(api.ReasonClosed, &wire.ProviderEntry{Reason: api.ReasonClosed, Body: body}) {
		return api.ErrClosed
	}
	return nil
}

// end closes r once, and reports whether it was this call that did. The last
// words are for a client that has not ended r itself; nil if there is none.
func (r *Resource) end(reason api.Reason, last *wire.ProviderEntry) bool {
	if !r.session.process.forget(r) {
		return false
	}
	r.out.update(r, (*queue).close)
	r.Watch(false)
	if r.handle.Notifiable() {
		r.out.ledger.join(-1)
	}
	r.session.process.p.handles.release(r.handle)
	if r.onClosed != nil {
		_ = r.session.process.p.guard("OnClosed", func() { r.onClosed(reason) })
	}
	r.session.closings.Done()
	if last != nil {
		last.Kind, last.Handle = wire.Closed, r.handle
		r.tell(last)
	}
	return true
}

// tell sends r's last entry, behind the reply that makes r known.
func (r *Resource) tell(last *wire.ProviderEntry) {
	r.out.mu.Lock()
	defer r.out.mu.Unlock()
	if r.queue.held {
		r.last = last
		return
	}
	r.out.putLocked(last)
}

// born lets notifications out: the client knows the handle.
func (r *Resource) born() {
	r.out.update(r, func(q *queue) {
		if q.held = false; r.last != nil {
			r.out.putLocked(r.last)
			r.last = nil
		}
	})
}

// grant returns credit that the client gave.
func (r *Resource) grant(bytes uint32) error {
	var watched bool
	var err error
	r.out.update(r, func(q *queue) {
		if q.credit+int64(bytes) > r.receiveWindow {
			err = fmt.Errorf("credit of %d bytes for handle %d is more than was used", bytes, r.handle)
			return
		}
		q.credit += int64(bytes)
		r.taken += uint64(bytes)
		watched = r.watched
	})
	if watched {
		r.moved()
	}
	return err
}

// moved calls the service's Progress.
func (r *Resource) moved() { _ = r.session.process.p.guard("Progress", r.progress) }

// admit counts a call that arrives on its resource, and numbers posts.
func (c *Call) admit() error {
	r := c.resource
	r.out.mu.Lock()
	defer r.out.mu.Unlock()
	in := &r.inbound
	last := charge(len(c.Args))
	if c.posts != nil {
		last = charge(len(c.posts[len(c.posts)-1]))
	}
	if in.left <= c.cost-last { // the last may overdraw it
		return fmt.Errorf("call on handle %d without credit", r.handle)
	}
	in.left -= c.cost
	if c.Posted() {
		c.post = in.received + 1
		in.received += uint64(max(1, len(c.posts)))
	}
	return nil
}

// settle counts the end of calls on r that cost so much together, and tells the
// client if it is worth it. They are posts from number on, or one that is none: 0.
func (r *Resource) settle(cost int64, number uint64, calls int, err error) {
	r.out.mu.Lock()
	defer r.out.mu.Unlock()
	in := &r.inbound
	in.report.bytes += uint32(cost)
	if number != 0 {
		in.end(number, calls, err)
	}
	flushed := false
	for len(in.flushes) > 0 && in.ended >= in.flushes[0] {
		in.flushes, flushed = in.flushes[1:], true
	}
	if flushed || in.report.refused > 0 || int64(in.report.bytes) >= in.window/2 {
		r.reportLocked()
	}
}

// end counts the end of posts from number on, and of those after them that ended
// before.
func (in *inbound) end(number uint64, posts int, err error) {
	if number != in.ended+1 {
		if in.early == nil {
			in.early = map[uint64]ending{}
		}
		in.early[number] = ending{posts, err}
		return
	}
	for e, ok := (ending{posts, err}), true; ok; e, ok = in.early[in.ended+1] {
		delete(in.early, in.ended+1)
		in.ended += uint64(e.posts)
		in.report.ended += uint32(e.posts)
		if e.err == nil {
			continue
		}
		if in.report.refused == 0 {
			in.report.failure = e.err
		}
		in.report.refused += uint32(e.posts)
	}
}

// flush reports as soon as all posts received so far have ended.
func (r *Resource) flush() {
	r.out.mu.Lock()
	defer r.out.mu.Unlock()
	in := &r.inbound
	switch {
	case in.ended == in.received:
		r.reportLocked()
	case len(in.flushes) == 0 || in.flushes[len(in.flushes)-1] < in.received:
		in.flushes = append(in.flushes, in.received)
	}
}

func (r *Resource) reportLocked() {
	in := &r.inbound
	in.left += int64(in.report.bytes)
	e := wire.ProviderEntry{
		Kind: wire.Posted, Handle: r.handle,
		Bytes: in.report.bytes, Ended: in.report.ended, Refused: in.report.refused,
	}
	if in.report.failure != nil {
		e.Failure = api.FailureOf(in.report.failure)
	}
	r.out.putLocked(&e)
	in.report = report{}
}
