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
	// came back, while the resource is watched.
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
	window   int64 // bytes that calls on the resource may take
	left     int64 // of it
	received uint64
	ended    uint64
	flushAt  uint64 // report when that many have ended; 0: nobody asked
	report   wire.ProviderEntry
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
	if !r.out.fits(r, n) {
		return api.ErrFull
	}
	return r.out.notify(r, n)
}

// NotifyAll queues n for each of the resources that can take it, and returns for
// how many.
func NotifyAll(resources []*Resource, n *Notification) int {
	var fitting Group
	for _, r := range resources {
		if r.handle.Notifiable() && r.out.fits(r, n) {
			fitting.Add(r)
		}
	}
	return fitting.Append(n, nil)
}

// Fits reports whether Notify would take n.
func (r *Resource) Fits(n *Notification) bool { return r.out.fits(r, n) }

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
		q.shed(func() bool { return all || !r.out.takes(r, q.bytes(), n) }, dropped)
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
	if !r.end(api.ReasonClosed, &wire.ProviderEntry{Reason: api.ReasonClosed, Body: n.Body}) {
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
		r.out.put(last)
	}
	return true
}

// born lets notifications out: the client knows the handle.
func (r *Resource) born() { r.out.update(r, func(q *queue) { q.held = false }) }

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
		r.progress()
	}
	return err
}

// admit counts a call of n bytes that arrives on r.
func (r *Resource) admit(n int) error {
	r.out.mu.Lock()
	defer r.out.mu.Unlock()
	if r.inbound.left <= 0 {
		return fmt.Errorf("call on handle %d without credit", r.handle)
	}
	r.inbound.left -= int64(api.Charge(n))
	r.inbound.received++
	return nil
}

// settle counts the end of a call of n bytes on r, and tells the client if it
// is worth it. A post is one that has no reply of its own.
func (r *Resource) settle(n int, post bool, err error) {
	r.out.mu.Lock()
	defer r.out.mu.Unlock()
	in := &r.inbound
	in.ended++
	in.report.Bytes += uint32(api.Charge(n))
	if post {
		in.report.Ended++
		if err != nil {
			if in.report.Refused++; in.report.Refused == 1 {
				in.report.Failure = api.FailureOf(err)
			}
		}
	}
	flushed := in.flushAt != 0 && in.ended >= in.flushAt
	if flushed || in.report.Refused > 0 || int64(in.report.Bytes) >= in.window/2 {
		r.reportLocked()
	}
}

// flush reports as soon as all calls received so far have ended.
func (r *Resource) flush() {
	r.out.mu.Lock()
	defer r.out.mu.Unlock()
	if r.inbound.flushAt = r.inbound.received; r.inbound.ended >= r.inbound.flushAt {
		r.reportLocked()
	}
}

func (r *Resource) reportLocked() {
	in := &r.inbound
	if in.ended >= in.flushAt {
		in.flushAt = 0
	}
	in.left += int64(in.report.Bytes)
	in.report.Kind, in.report.Handle = wire.Posted, r.handle
	r.out.putLocked(&in.report)
	in.report = wire.ProviderEntry{}
}
