package provider

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"crier.local/api"
	"crier.local/api/wire"
)

// Call is one call of a method by a client, or several posts in a row.
type Call struct {
	// Session is the session it came in.
	Session *Session
	// Method is the method called.
	Method api.Method
	// Handle is the resource that the call is about, 0 for none.
	Handle api.Handle
	// Args are the arguments. They may be used until the handler returns; in an
	// inline handler, until it returns or parks the call.
	Args []byte

	id       uint32     // 0: a post, without a reply of its own
	post     uint64     // of a post: which one of the resource's it is
	posts    [][]byte   // of several: the arguments of those that have not ended
	loan     *wire.Loan // of the batch that posts are in; nil if they are not
	resource *Resource  // that Handle names, or nil
	cost     int64      // as charged
	timeout  time.Duration
	ctx      context.Context // of a call with a goroutine of its own

	// The process's lock guards what follows.
	parked bool  // in the process's table of calls
	kept   int64 // what that counts in the budget
	ended  bool
	cancel func(cause error)
	timer  *time.Timer
}

// Resource returns the resource that the call is about, or [api.ErrUnknownHandle].
func (c *Call) Resource() (*Resource, error) {
	if c.resource == nil {
		return nil, api.ErrUnknownHandle
	}
	return c.resource, nil
}

// Posted reports whether the caller wants no result, only to know how it ended.
func (c *Call) Posted() bool { return c.id == 0 }

// Posts returns the arguments of posts in a row that have not ended; one, Args, if
// the call is not several.
func (c *Call) Posts() [][]byte {
	if c.posts == nil {
		return [][]byte{c.Args}
	}
	return c.posts
}

// Done ends the next n of several posts: they are carried out. The last is to be
// ended by Reply.
func (c *Call) Done(n int) {
	cost := int64(0)
	for _, args := range c.posts[:n] {
		cost += charge(len(args))
	}
	c.resource.settle(cost, c.post, n, nil)
	c.post += uint64(n)
	c.posts = c.posts[n:]
	c.Args = c.posts[0]
	c.cost -= cost
}

// Result is what a call returns.
type Result struct {
	// Body is the result as the service encodes it.
	Body []byte
	// Resource, if the call made one, becomes known to the client with the
	// result; its notifications follow. If the call failed, or was a post, it is
	// closed.
	Resource *Resource
}

// Reply ends a call that was handled inline, or all that is left of several
// posts. Only the first reply counts. It never blocks and may be called on any
// goroutine, under the service's own locks.
func (c *Call) Reply(r Result, err error) {
	if !c.parked { // then nobody but the reader knows it
		if !c.ended {
			c.ended = true
			c.answer(r, err)
		}
		return
	}
	if c.ctx != nil {
		return // what Handle returns is the reply
	}
	p := c.Session.process
	p.mu.Lock()
	first := !c.ended
	c.ended, c.cancel = true, nil
	delete(p.calls, c)
	if c.timer != nil {
		c.timer.Stop()
	}
	p.mu.Unlock()
	if first {
		p.hold(-c.kept)
		c.answer(r, err)
		c.loan.Repay()
	}
}

// parkedCost is about what a parked call costs besides what it is charged.
const parkedCost = 512

// hold counts memory for parked calls, here and in the provider's budget.
func (p *process) hold(n int64) {
	p.parked.Add(n)
	p.p.budget.add(n)
}

// answer tells the client how the call ended.
func (c *Call) answer(r Result, err error) {
	p := c.Session.process
	if c.resource != nil {
		c.resource.settle(c.cost, c.post, max(1, len(c.posts)), err)
	}
	if err == nil {
		err = wire.CheckMessage(len(r.Body), maxResult*p.p.options.Limits.Message)
	}
	if r.Resource != nil && (err != nil || c.id == 0) {
		go r.Resource.Close() // nobody will ever know it; not here, where locks may be held
	}
	if c.id == 0 {
		return
	}
	reply := wire.ProviderEntry{Kind: wire.Reply, Call: c.id}
	switch {
	case err != nil:
		reply.Failure = api.FailureOf(err)
	case r.Resource != nil:
		reply.Handle = r.Resource.handle
		reply.SendWindow = uint32(r.Resource.inbound.window)
		reply.ReceiveWindow = uint32(r.Resource.receiveWindow)
		fallthrough
	default:
		reply.Body = r.Body
	}
	p.put(&reply)
	if reply.Handle != 0 {
		r.Resource.born()
	}
}

// maxResult is how many times the limit for messages a result may have.
const maxResult = 4

// Park keeps a call beyond the inline handler: it returns the call to be kept,
// with arguments of its own, which is to be ended by Reply. When the client
// cancels it, its time is over ([context.DeadlineExceeded]) or its session ends
// ([api.ErrClosed]), cancel is called, once, without locks; it must see to it
// that the call is not carried out any more and reply with the cause. It may be
// called before Park returns: park under the lock that cancel takes. A call that
// was replied to is not canceled.
func (c *Call) Park(cancel func(cause error)) *Call {
	kept := *c
	kept.keepArgs(&c.Session.process.batch)
	kept.parked, kept.cancel = true, cancel
	kept.kept = c.cost + parkedCost
	c.ended = true // whoever kept it replies
	p := c.Session.process
	p.hold(kept.kept)
	p.mu.Lock()
	p.calls[&kept] = struct{}{}
	over := c.Session.ending
	if kept.timeout > 0 {
		kept.timer = time.AfterFunc(kept.timeout, func() { kept.abort(context.DeadlineExceeded) })
	}
	p.mu.Unlock()
	if over {
		go kept.abort(api.ErrClosed) // not here: the caller may hold the lock that cancel takes
	}
	return &kept
}

// keepArgs gives c arguments of its own: those that it has, with the batch that
// they came in, if they are most of it.
func (c *Call) keepArgs(batch *wire.Batch) {
	if c.posts == nil {
		c.Args = bytes.Clone(c.Args)
		return
	}
	posts := slices.Clone(c.posts)
	if size := c.cost - int64(len(posts))*api.EntryCharge; batch.Loan != nil && 2*size > int64(len(batch.Data)) {
		c.loan = batch.Loan
		c.loan.Share()
	} else {
		all := bytes.Join(posts, nil)
		for i, args := range posts {
			posts[i], all = all[:len(args):len(args)], all[len(args):]
		}
	}
	c.posts, c.Args = posts, posts[0]
}

// abort cancels c, unless it has ended. One that still waits for a goroutine
// makes room for others at once.
func (c *Call) abort(cause error) {
	p := c.Session.process
	p.mu.Lock()
	cancel := c.cancel
	c.cancel = nil
	i := slices.Index(p.workers.waiting, c)
	if i >= 0 {
		p.workers.waiting = slices.Delete(p.workers.waiting, i, i+1)
		delete(p.calls, c)
	}
	p.mu.Unlock()
	if cancel != nil {
		_ = p.p.guard("cancel", func() { cancel(cause) })
	}
	if i >= 0 {
		c.answer(Result{}, cause)
	}
}

// abortParked cancels the calls that wait in their service.
func (p *process) abortParked(cause error) {
	p.mu.Lock()
	var parked []*Call
	for c := range p.calls {
		if c.ctx == nil {
			parked = append(parked, c)
		}
	}
	p.mu.Unlock()
	for _, c := range parked {
		c.abort(cause)
	}
}

// workers are the calls of a process that have a goroutine each, or wait for one.
type workers struct {
	running int
	waiting []*Call
	begun   chan struct{} // closed when the last call that was given a goroutine begins
}

// dispatch starts c on a goroutine of its own, or lets it wait for one. The calls
// of a process start in the order in which they came; those of a sequential
// service also wait for each other.
func (p *process) dispatch(c Call) {
	c.Args = bytes.Clone(c.Args)
	if err := p.enqueue(&c); err != nil {
		c.answer(Result{}, err)
	}
}

func (p *process) enqueue(c *Call) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	limits := &p.p.options.Limits
	switch {
	case c.Session.ending:
		return fmt.Errorf("session %d: %w", c.Session.id, api.ErrClosed)
	case len(p.workers.waiting) >= limits.WaitingCalls:
		return fmt.Errorf("%w: %d calls run and %d wait", api.ErrTooMany, limits.Calls, limits.WaitingCalls)
	}
	ctx, stop := context.WithCancelCause(context.Background())
	c.ctx, c.parked, c.cancel = ctx, true, stop
	if c.timeout > 0 {
		timed, cancel := context.WithTimeout(ctx, c.timeout)
		expiry := context.AfterFunc(timed, func() { c.abort(context.Cause(timed)) }) // also while it waits
		c.ctx, c.cancel = timed, func(cause error) { stop(cause); expiry(); cancel() }
	}
	p.calls[c] = struct{}{}
	p.workers.waiting = append(p.workers.waiting, c)
	p.startLocked()
	return nil
}

// startLocked starts the waiting calls that may run.
func (p *process) startLocked() {
	w := &p.workers
	for i := 0; i < len(w.waiting) && w.running < p.p.options.Limits.Calls && !p.out.unreadAnswers(); {
		c := w.waiting[i]
		if c.Session.ending || (c.Session.service.sequential && c.Session.busy) {
			i++
			continue
		}
		w.waiting = append(w.waiting[:i], w.waiting[i+1:]...)
		w.running++
		c.Session.busy = true
		before, begun := w.begun, make(chan struct{})
		w.begun = begun
		p.p.tasks.Go(func() {
			if before != nil {
				<-before
			}
			close(begun)
			p.run(c)
		})
	}
}

// resume starts calls that waited for answers to be read.
func (p *process) resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.workers.waiting) > 0 {
		p.startLocked()
	}
}

// run is the goroutine of one call.
func (p *process) run(c *Call) {
	result, err := c.Session.service.handle(c)
	if err != nil && errors.Is(err, c.ctx.Err()) {
		err = context.Cause(c.ctx) // says more
	}
	p.mu.Lock()
	delete(p.calls, c)
	stop := c.cancel
	c.cancel, c.ended = nil, true
	c.Session.busy = false
	p.workers.running--
	p.startLocked()
	p.mu.Unlock()
	if stop != nil {
		stop(nil)
	}
	c.answer(result, err)
}

// handle calls the service's code, and turns its panic into an error.
func (s *service) handle(c *Call) (result Result, err error) {
	if crash := s.provider.guard("Handle", func() { result, err = s.handler.Handle(c.ctx, c) }); crash != nil {
		return Result{}, crash
	}
	return result, err
}

// handlePosts offers several posts to the service at once.
func (s *service) handlePosts(c *Call) (taken bool) {
	if crash := s.provider.guard("HandlePosts", func() { taken = s.poster.HandlePosts(c) }); crash != nil {
		c.Reply(Result{}, crash)
		return true
	}
	if taken && !c.ended {
		c.Reply(Result{}, errors.New("the service did not reply"))
	}
	return taken
}

// handleInline offers c to the service on the reader's goroutine.
func (s *service) handleInline(c *Call) (taken bool) {
	if s.inline == nil {
		return false
	}
	if crash := s.provider.guard("HandleInline", func() { taken = s.inline.HandleInline(c) }); crash != nil {
		c.Reply(Result{}, crash)
		return true
	}
	if taken && !c.ended {
		c.Reply(Result{}, errors.New("the service did not reply"))
	}
	return taken
}
