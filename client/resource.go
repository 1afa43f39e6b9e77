package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"

	"crier.local/api"
	"crier.local/api/wire"
)

// Resource stands for something that the provider holds for a session. Calls on
// it share a window: when too many bytes of them are under way, they wait. Its
// methods may be called concurrently; those of one goroutine arrive in order.
type Resource struct {
	session *Session
	link    *link
	handle  api.Handle
	in      inbox

	// guarded by the link's mutex:
	err    error // why it is over; nil while it lives
	window int   // bytes of calls that may still be sent; any above 0 lets one go
	credit gate  // opens when window grows, and at the end

	posted  uint64  // posts sent
	ended   uint64  // posts that the provider has told the end of
	asked   uint64  // posts that a flush was sent behind
	settled gate    // opens when ended grows, and at the end
	report  Flushed // what the next Flush returns
}

// Flushed tells how posts ended.
type Flushed struct {
	// Ended counts the posts that have ended since the last Flush, whichever
	// way; Refused counts those of them that the provider refused.
	Ended, Refused int
	// Err is why the first of them was refused; nil if none was.
	Err error
}

func newResource(s *Session, e *wire.ProviderEntry) *Resource {
	r := &Resource{session: s, link: s.link, handle: e.Handle, window: int(e.SendWindow)}
	r.in.start(int(e.ReceiveWindow))
	return r
}

// Handle returns the number by which the provider knows the resource.
func (r *Resource) Handle() api.Handle { return r.handle }

// Err returns why the resource is over, or nil: [api.ErrClosed],
// [api.ErrDisconnected], [api.ErrGone], or an [*api.EvictedError] if the
// provider ended it.
func (r *Resource) Err() error {
	r.link.mu.Lock()
	defer r.link.mu.Unlock()
	return r.err
}

// Invoke is [Session.Invoke] on the resource. It waits while the window is used
// up. If the provider has ended the resource, the error is that of [Resource.Err].
func (r *Resource) Invoke(ctx context.Context, m api.Method, args []byte) ([]byte, error) {
	a, err := r.link.call(ctx, r.request(m, args))
	if errors.Is(err, api.ErrUnknownHandle) {
		if ended := r.Err(); ended != nil {
			return nil, ended // it crossed the word of the end
		}
	}
	return a.body, err
}

// Post calls method m without waiting for the result: how it ends is told by
// [Resource.Flush]. It waits while the window is used up, until ctx ends. An
// error means that nothing was sent. args may be reused once it returns.
func (r *Resource) Post(ctx context.Context, m api.Method, args []byte) error {
	q := r.request(m, args)
	return r.link.send(ctx, &q)
}

func (r *Resource) request(m api.Method, args []byte) request {
	return request{
		entry:    wire.ClientEntry{Kind: wire.Invoke, Session: r.session.id, Method: m, Handle: r.handle, Args: args},
		resource: r,
		session:  r.session,
	}
}

// Flush waits until every earlier post has ended, and returns how those ended
// that no Flush has told of. If ctx ends first, the next Flush tells. If the
// resource ends first, what had been told is returned with an error that wraps
// [api.ErrOutcomeUnknown], once: the rest is lost from sight.
func (r *Resource) Flush(ctx context.Context) (Flushed, error) {
	r.link.mu.Lock()
	defer r.link.mu.Unlock()
	target := r.posted
	for r.ended < target && r.err == nil {
		if err := r.settleLocked(ctx, target); err != nil {
			return Flushed{}, err
		}
	}
	report := r.report
	r.report = Flushed{}
	if r.ended >= target {
		return report, nil
	}
	lost := r.posted - r.ended
	r.ended = r.posted
	return report, fmt.Errorf("%w of %d posts: %w", api.ErrOutcomeUnknown, lost, r.err)
}

// settleLocked asks the provider to tell the end of the posts up to target, and
// waits for news. It lets go of the lock meanwhile.
func (r *Resource) settleLocked(ctx context.Context, target uint64) error {
	if r.asked < target {
		r.asked = r.posted
		r.link.out.append(wire.ClientEntry{Kind: wire.Flush, Handle: r.handle})
	}
	settled := r.settled.wait()
	r.link.mu.Unlock()
	defer r.link.mu.Lock()
	select {
	case <-settled:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Receive returns the next notification. It blocks until there is one, ctx ends
// or the resource does; what had arrived by then is returned first, and then
// always the error of [Resource.Err]. The bytes may be kept but not changed:
// other resources may have been given the same. Keeping them keeps up to 64 KiB
// of their neighbours in memory; who keeps few of many copies them.
//
// A resource whose handle is not notifiable has [api.ErrNotNotifiable] to offer.
func (r *Resource) Receive(ctx context.Context) (body []byte, err error) {
	for {
		var wait <-chan struct{}
		r.in.receive.Lock()
		body, wait, err = r.take(ctx)
		if r.in.lent() {
			body = bytes.Clone(body)
		}
		r.in.receive.Unlock()
		if body != nil || err != nil {
			return body, err
		}
		if err := waitFor(ctx, wait); err != nil {
			return nil, err
		}
	}
}

// Borrow is [Resource.Receive] for a resource that has one receiver, which need not
// keep the bytes: they are good until it calls again, if they are lent, and may be
// kept if not. It must not be called concurrently with itself or Receive.
func (r *Resource) Borrow(ctx context.Context) (body []byte, lent bool, err error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, false, err
		}
		if body = r.in.another(); body != nil {
			return body, r.in.lent(), nil
		}
		body, wait, err := r.take(ctx)
		if body != nil || err != nil {
			return body, r.in.lent(), err
		}
		if err := waitFor(ctx, wait); err != nil {
			return nil, false, err
		}
	}
}

// take takes the next notification, or returns what to wait for.
func (r *Resource) take(ctx context.Context) ([]byte, <-chan struct{}, error) {
	if !r.handle.Notifiable() {
		return nil, nil, api.ErrNotNotifiable
	}
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	body, grant, wait, err := r.in.take()
	if grant > 0 {
		r.grant(grant)
	}
	return body, wait, err
}

func waitFor(ctx context.Context, change <-chan struct{}) error {
	select {
	case <-change:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Notifications iterates over what [Resource.Receive] returns; its error comes
// last.
func (r *Resource) Notifications(ctx context.Context) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for {
			body, err := r.Receive(ctx)
			if !yield(body, err) || err != nil {
				return
			}
		}
	}
}

// Close closes the resource, after everything that was sent before, and waits
// up to 5 seconds for the provider to confirm. It does not wait for posts to
// end: see [Resource.Flush]. Closing what is over is no error.
func (r *Resource) Close() error {
	r.link.mu.Lock()
	if r.err != nil {
		r.link.mu.Unlock()
		return nil
	}
	r.endLocked(nil, api.ErrClosed)
	c := r.link.closeLocked(wire.ClientEntry{Kind: wire.CloseResource, Session: r.session.id, Handle: r.handle})
	r.link.mu.Unlock()
	return c.confirm()
}

// grant lets the provider send that many more bytes.
func (r *Resource) grant(bytes int) {
	r.link.mu.Lock()
	defer r.link.mu.Unlock()
	if r.err == nil {
		r.link.out.append(wire.ClientEntry{Kind: wire.GrantCredit, Handle: r.handle, Bytes: uint32(bytes)})
	}
}

// creditLocked takes back bytes of the send window.
func (r *Resource) creditLocked(bytes uint32) {
	r.window += int(bytes)
	r.credit.open()
}

// postedLocked takes in how posts ended.
func (r *Resource) postedLocked(e *wire.ProviderEntry) {
	r.creditLocked(e.Bytes)
	ended := min(uint64(e.Ended), r.posted-r.ended) // more would be a lie
	r.ended += ended
	r.report.Ended += int(ended)
	r.report.Refused += int(e.Refused)
	if r.report.Err == nil {
		r.report.Err = e.Failure.Err()
	}
	r.settled.open()
}

// endLocked ends the resource because of err, after the notification last if
// that is not nil.
func (r *Resource) endLocked(last []byte, err error) {
	if r.err != nil {
		return
	}
	r.err = err
	delete(r.link.resources, r.handle)
	delete(r.session.resources, r.handle)
	r.in.end(last, err)
	r.credit.open()
	r.settled.open()
}
