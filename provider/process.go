package provider

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"crier.local/api"
	"crier.local/api/wire"
)

// process is one attached client process, for as long as its stream lasts.
//
// Two goroutines serve it. The reader, which runs attach, does what the client's
// entries say and never waits for anything but the next of them; when its stream
// ends, it holds the funeral. The writer sends what the outbox has. Whoever else
// wants the process gone calls expel.
type process struct {
	p        *Provider
	peer     peer
	stream   wire.Stream
	out      *outbox
	instance api.InstanceID
	gone     chan struct{} // closed when it is buried
	inline   Call          // the reader's: the call it has at hand
	row      row           // the reader's: the posts it has at hand
	batch    wire.Batch    // the reader's: what it reads
	deadline *time.Timer   // of the hello

	parked atomic.Int64 // bytes of parked calls

	greeted bool // the hello has come; guarded by the provider's lock

	mu        sync.Mutex
	sessions  map[api.SessionID]*Session
	calls     map[*Call]struct{} // that can be canceled
	workers   workers
	resources int
	buried    bool
}

// peer is what the transport knows of an attached process, and does for it.
type peer struct {
	identity api.Identity
	// final is true where nobody can attach again once the provider has stopped.
	final bool
	// greeted is called when the hello has come.
	greeted func()
	// reason tells why a stream ended, of which Recv returned err.
	reason func(err error) api.Reason
	// end cuts the stream, so that Send and Recv return. Repeatable.
	end func()
}

// linger is how long a client has to take a farewell before its stream is cut.
const linger = time.Second

// attach serves one process until its stream ends. When it returns the process
// is buried, and nothing of it is left.
func (p *Provider) attach(stream wire.Stream, peer peer) error {
	proc := &process{
		p: p, peer: peer, stream: stream,
		gone:     make(chan struct{}),
		sessions: map[api.SessionID]*Session{},
		calls:    map[*Call]struct{}{},
	}
	proc.row.limit = p.options.Limits.Message + api.ArgsSlack + 1
	proc.out = newOutbox(p.options.Limits.ProcessQueue, &p.budget, proc.overrun)
	refused := p.enter(proc)
	proc.deadline = time.AfterFunc(greetingTime, proc.late)
	defer proc.deadline.Stop()
	writer := make(chan struct{})
	go func() {
		defer close(writer)
		proc.write()
	}()
	var err error
	if refused == nil {
		err, refused = proc.read()
	}
	if refused != nil {
		proc.refuse(refused)
		err = proc.drainInput()
	}
	proc.bury(proc.causeOfDeath(err))
	proc.out.finish(nil)
	peer.end()
	<-writer
	proc.out.bury()
	p.depart(proc)
	return err
}

// refuse sends a process away for what it did, or because the provider is going.
func (proc *process) refuse(why error) {
	if errors.Is(why, errGoingAway) {
		proc.expel(api.ReasonGoingAway, why)
		return
	}
	proc.expel(api.ReasonLimit, why)
	proc.p.log.Warn("ended a process", "process", proc.peer.identity.String(), "error", why)
}

// overrun sends away a process that does not read what it asks for.
func (proc *process) overrun() {
	proc.expel(api.ReasonLimit, fmt.Errorf("%w: too many answers are unread", api.ErrTooMany))
}

// late sends away a process that has not said hello in time.
func (proc *process) late() {
	if !proc.p.hasGreeted(proc) {
		proc.expel(api.ReasonLimit, fmt.Errorf("no hello within %s", greetingTime))
	}
}

// causeOfDeath tells why a stream is over whose Recv returned err. An orderly
// client closes its sessions first.
func (proc *process) causeOfDeath(err error) api.Reason {
	proc.mu.Lock()
	orderly := len(proc.sessions) == 0
	proc.mu.Unlock()
	switch {
	case orderly:
		return api.ReasonClosed
	case errors.Is(err, io.EOF):
		return api.ReasonDied
	default:
		return proc.peer.reason(err)
	}
}

// read does what the client says until the stream ends with err, or until the
// client does what cannot be allowed.
func (proc *process) read() (err, refused error) {
	greeted := false
	batch := &proc.batch
	batch.Borrow = true
	var entry wire.ClientEntry
	for {
		if err := proc.stream.Recv(batch); errors.Is(err, api.ErrTooLarge) {
			return nil, err
		} else if err != nil {
			return err, nil
		}
		reader := wire.NewReader(batch.Data)
		for {
			more, err := reader.NextClient(&entry)
			if err != nil {
				return nil, cmp.Or(proc.endRow(), err)
			}
			if !more {
				break
			}
			if greeted {
				err = proc.do(&entry)
			} else {
				err = proc.greet(&entry)
				greeted = true
			}
			if err != nil {
				return nil, err
			}
		}
		if err := proc.endRow(); err != nil {
			return nil, err
		}
		batch.Loan.Repay()
		// Whoever says nothing more keeps none of what it said in memory.
		batch.Data, batch.Loan, entry, proc.inline = nil, nil, wire.ClientEntry{}, Call{}
		proc.row.rest()
	}
}

// greet answers the hello, after the client's former stream, if it has one, is buried.
func (proc *process) greet(e *wire.ClientEntry) error {
	p := proc.p
	switch {
	case e.Kind != wire.Hello:
		return fmt.Errorf("the first entry is not a hello")
	case e.Version != api.WireVersion:
		return fmt.Errorf("%w: the client speaks wire version %d, this provider %d", api.ErrVersion, e.Version, api.WireVersion)
	}
	proc.instance = e.Instance
	p.greet(proc)
	proc.deadline.Stop()
	proc.peer.greeted()
	proc.put(&wire.ProviderEntry{Kind: wire.Welcome, Welcome: p.terms()})
	return nil
}

// do carries out one entry of the client. An error ends the stream.
func (proc *process) do(e *wire.ClientEntry) error {
	if proc.row.add(e) {
		return nil
	}
	if err := proc.endRow(); err != nil {
		return err
	}
	if proc.row.add(e) {
		return nil
	}
	switch e.Kind {
	case wire.Invoke:
		return proc.invoke(e)
	case wire.GrantCredit:
		if r := proc.resource(e.Handle); r != nil {
			if err := r.grant(e.Bytes); err != nil {
				return err
			}
		}
	case wire.Open:
		proc.open(e)
	case wire.Cancel:
		proc.cancelCall(e.Call)
	case wire.CloseResource:
		if r := proc.resource(e.Handle); r != nil && r.session.id == e.Session {
			r.end(api.ReasonClosed, nil)
		}
		proc.put(&wire.ProviderEntry{Kind: wire.Reply, Call: e.Call})
	case wire.CloseSession:
		if s := proc.session(e.Session); s != nil {
			proc.endSessions([]*Session{s}, api.ReasonClosed)
		}
		proc.put(&wire.ProviderEntry{Kind: wire.Reply, Call: e.Call})
	case wire.Flush:
		if r := proc.resource(e.Handle); r != nil {
			r.flush()
		}
	case wire.Ping:
		proc.put(&wire.ProviderEntry{Kind: wire.Reply, Call: e.Call})
	default:
		return fmt.Errorf("entry of kind %d after the hello", e.Kind)
	}
	return nil
}

// invoke starts a call, inline if the service takes it there.
func (proc *process) invoke(e *wire.ClientEntry) error {
	s, r := proc.target(e.Session, e.Handle)
	if limit := proc.p.options.Limits.HardTop; len(e.Args) > limit {
		return wire.CheckMessage(len(e.Args), limit)
	}
	if e.Call == 0 && e.Handle == 0 {
		return fmt.Errorf("a call with neither a number nor a handle")
	}
	c := &proc.inline
	*c = Call{
		Session: s, Method: e.Method, Handle: e.Handle, Args: e.Args,
		id: e.Call, resource: r, cost: charge(len(e.Args)), timeout: e.Timeout,
	}
	if r != nil {
		if err := c.admit(); err != nil {
			return err
		}
	}
	err := proc.barred()
	switch {
	case s == nil:
		err = fmt.Errorf("session %d: %w", e.Session, api.ErrClosed)
	case e.Handle != 0 && r == nil:
		err = api.ErrUnknownHandle
	case err == nil:
		err = wire.CheckMessage(len(e.Args), proc.p.options.Limits.Message+api.ArgsSlack)
	}
	switch {
	case err != nil && r != nil:
		c.answer(Result{}, err)
	case err != nil:
		proc.decline(e, err)
	default:
		proc.offer(c)
	}
	return nil
}

// offer has the service carry out a call, inline if it takes it there.
func (proc *process) offer(c *Call) {
	if !c.Session.service.handleInline(c) {
		proc.dispatch(*c)
	}
}

// barred returns why no call can be taken now, or nil.
func (proc *process) barred() error {
	switch {
	case proc.p.refusing.Load():
		return errGoingAway
	case proc.parked.Load() > proc.p.options.Limits.ProcessQueue:
		return fmt.Errorf("%w: calls of the process that wait hold too much", api.ErrFull)
	}
	return nil
}

// decline answers a call that concerns no resource there is.
func (proc *process) decline(e *wire.ClientEntry, err error) {
	if e.Call != 0 {
		proc.put(&wire.ProviderEntry{Kind: wire.Reply, Call: e.Call, Failure: api.FailureOf(err)})
		return
	}
	proc.put(&wire.ProviderEntry{Kind: wire.Posted, Handle: e.Handle, Bytes: uint32(api.Charge(len(e.Args))),
		Ended: 1, Refused: 1, Failure: api.FailureOf(err)})
}

// open opens a session of the service that the client asks for.
func (proc *process) open(e *wire.ClientEntry) {
	svc, err := proc.p.service(e.Selector)
	if n := proc.sessionCount(); err == nil && n >= maxSessions {
		err = fmt.Errorf("%w: the process has %d sessions open", api.ErrTooMany, n)
	}
	if err == nil && !proc.p.sessionBegins() {
		err = errGoingAway
	}
	if err != nil {
		proc.put(&wire.ProviderEntry{Kind: wire.Reply, Call: e.Call, Failure: api.FailureOf(err)})
		return
	}
	s := &Session{
		process: proc, service: svc, id: proc.p.sessions.take(), asked: e.Selector,
		since: time.Now(), resources: map[api.Handle]*Resource{},
	}
	if opener, ok := svc.handler.(SessionOpener); ok {
		_ = proc.p.guard("SessionOpened", func() { opener.SessionOpened(s) })
	}
	proc.mu.Lock()
	proc.sessions[s.id] = s
	over := proc.buried
	proc.mu.Unlock()
	proc.put(&wire.ProviderEntry{Kind: wire.Opened, Call: e.Call, Session: s.id, Provided: svc.selector})
	if over {
		proc.endSessions([]*Session{s}, api.ReasonGoingAway)
	}
}

// maxSessions is how many sessions a process may have open.
const maxSessions = 1024

func (proc *process) sessionCount() int {
	proc.mu.Lock()
	defer proc.mu.Unlock()
	return len(proc.sessions)
}

func (proc *process) put(e *wire.ProviderEntry) { proc.out.put(e) }

func (proc *process) session(id api.SessionID) *Session {
	proc.mu.Lock()
	defer proc.mu.Unlock()
	return proc.sessions[id]
}

// target returns the session, and the resource in it, that a call names; nil for
// what there is not.
func (proc *process) target(id api.SessionID, h api.Handle) (*Session, *Resource) {
	proc.mu.Lock()
	defer proc.mu.Unlock()
	s := proc.sessions[id]
	if s == nil || h == 0 {
		return s, nil
	}
	return s, s.resources[h]
}

// resource returns the resource with handle h of any of the process's sessions.
func (proc *process) resource(h api.Handle) *Resource {
	proc.mu.Lock()
	defer proc.mu.Unlock()
	for _, s := range proc.sessions {
		if r, ok := s.resources[h]; ok {
			return r
		}
	}
	return nil
}

// forget takes r out of its session, and reports whether it was there.
func (proc *process) forget(r *Resource) bool {
	proc.mu.Lock()
	defer proc.mu.Unlock()
	if r.closed {
		return false
	}
	r.closed = true
	r.session.closings.Add(1)
	delete(r.session.resources, r.handle)
	proc.resources--
	return true
}

func (proc *process) cancelCall(id uint32) {
	if id == 0 {
		return
	}
	proc.mu.Lock()
	var found *Call
	for c := range proc.calls {
		if c.id == id {
			found = c
			break
		}
	}
	proc.mu.Unlock()
	if found != nil {
		found.abort(context.Canceled)
	}
}

// write sends what the outbox has until there is no more.
func (proc *process) write() {
	var spare []item
	var watchers []*Resource
	var handles []api.Handle
	var b wire.Batch
	limit := proc.p.front.buffers.batch
	for {
		items := proc.out.next(spare)
		if len(items) == 0 {
			return
		}
		for rest := items; len(rest) > 0; {
			n, size := batch(rest, limit)
			b = wire.Batch{Data: bufferFor(size, limit)}
			for i := range rest[:n] {
				b.Data, b.Tail, handles = rest[i].encode(b.Data, handles)
			}
			if last := &rest[n-1].what; b.Tail != nil && last.series != nil {
				last.hold()
				b.Sent = last.series.release
			}
			if err := proc.stream.Send(&b); err != nil {
				proc.out.finish(nil)
				proc.peer.end()
			}
			watchers = proc.out.sent(rest[:n], watchers[:0])
			for _, r := range watchers {
				r.moved()
			}
			rest = rest[n:]
		}
		clear(items)
		spare = items[:0]
		proc.resume()
	}
}

// littleRoom is what is not worth a buffer of a whole batch's size.
const littleRoom = 256

// bufferFor returns an empty buffer with room for size bytes of a batch, which may
// have limit.
func bufferFor(size, limit int) []byte {
	if size <= littleRoom || limit < wire.BatchSize {
		return make([]byte, 0, size)
	}
	return wire.GetBuffer()
}
