package provider

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"

	"crier.local/api"
	"crier.local/api/wire"
)

// rawPeer is a client that speaks the protocol word by word.
type rawPeer struct {
	t      *testing.T
	stream wire.Stream
	die    context.CancelFunc
	reader wire.Reader
	calls  uint32
	row    wire.ProviderEntry   // notifications, of which there may be more
	seen   []wire.ProviderEntry // read, but not asked for yet
}

// attachRaw attaches without a hello.
func attachRaw(t *testing.T, p *Provider) *rawPeer {
	t.Helper()
	return attachRawBy(t, p.Local())
}

func attachRawBy(t *testing.T, way wire.Transport) *rawPeer {
	t.Helper()
	ctx, die := context.WithCancel(context.Background())
	t.Cleanup(die)
	stream, err := way.Attach(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return &rawPeer{t: t, stream: stream, die: die}
}

// greetRaw attaches and says hello as the client with the given instance number.
func greetRaw(t *testing.T, p *Provider, instance byte) *rawPeer {
	t.Helper()
	peer := attachRaw(t, p)
	peer.greet(p, instance)
	return peer
}

func (r *rawPeer) greet(p *Provider, instance byte) {
	r.t.Helper()
	r.send(wire.ClientEntry{Kind: wire.Hello, Version: api.WireVersion, Instance: api.InstanceID{instance}})
	if terms := r.expect(wire.Welcome).Welcome; terms.Epoch != p.Epoch() {
		r.t.Fatalf("epoch %s, want %s", terms.Epoch, p.Epoch())
	}
}

// send writes entries as one batch.
func (r *rawPeer) send(entries ...wire.ClientEntry) {
	r.t.Helper()
	var b []byte
	for i := range entries {
		b = wire.AppendClient(b, &entries[i])
	}
	if err := r.stream.Send(&wire.Batch{Data: b}); err != nil {
		r.t.Fatal(err)
	}
}

// next returns the next entry, or the next notification of one, with its Body;
// io.EOF when the provider has ended the stream.
func (r *rawPeer) next() (wire.ProviderEntry, error) {
	for {
		if body, ok := r.row.Bodies.Next(); ok {
			e := r.row
			e.Bodies, e.Body = nil, body
			return e, nil
		}
		var e wire.ProviderEntry
		more, err := r.reader.NextProvider(&e)
		if more && e.Kind == wire.Notification {
			r.row = e
			continue
		}
		if err != nil || more {
			return e, err
		}
		var b wire.Batch
		if err := r.stream.Recv(&b); err != nil {
			return wire.ProviderEntry{}, err
		}
		r.reader = wire.NewReader(b.Data)
	}
}

// expect returns the next entry of a kind; others stay to be asked for.
func (r *rawPeer) expect(kind wire.ProviderKind) wire.ProviderEntry {
	r.t.Helper()
	return r.find(fmt.Sprintf("kind %d", kind), func(e *wire.ProviderEntry) bool { return e.Kind == kind })
}

func (r *rawPeer) find(what string, fits func(*wire.ProviderEntry) bool) wire.ProviderEntry {
	r.t.Helper()
	for i := range r.seen {
		if fits(&r.seen[i]) {
			e := r.seen[i]
			r.seen = slices.Delete(r.seen, i, i+1)
			return e
		}
	}
	for {
		e, err := r.next()
		if err != nil {
			r.t.Fatalf("waiting for %s: %v; seen %+v", what, err, r.seen)
		}
		if fits(&e) {
			return e
		}
		r.seen = append(r.seen, e)
	}
}

// reply waits for the reply to a call.
func (r *rawPeer) reply(call uint32) wire.ProviderEntry {
	r.t.Helper()
	return r.find(fmt.Sprintf("the reply to call %d", call), func(e *wire.ProviderEntry) bool {
		return (e.Kind == wire.Reply || e.Kind == wire.Opened) && e.Call == call
	})
}

// call gives the entry a number and sends it.
func (r *rawPeer) call(e wire.ClientEntry) uint32 {
	r.t.Helper()
	r.calls++
	e.Call = r.calls
	r.send(e)
	return e.Call
}

// ask sends the entry and waits for its answer.
func (r *rawPeer) ask(e wire.ClientEntry) wire.ProviderEntry {
	r.t.Helper()
	return r.reply(r.call(e))
}

func (r *rawPeer) open(s api.Selector) api.SessionID {
	r.t.Helper()
	e := r.ask(wire.ClientEntry{Kind: wire.Open, Selector: s})
	if err := e.Failure.Err(); err != nil {
		r.t.Fatal(err)
	}
	return e.Session
}

// expectEnd reads until the provider ends the stream, and returns its farewell.
func (r *rawPeer) expectEnd() wire.ProviderEntry {
	r.t.Helper()
	farewell := r.expect(wire.Farewell)
	r.die()
	for {
		if _, err := r.next(); err != nil {
			return farewell
		}
	}
}

// bubble runs a test in virtual time with a provider of the service echo, and
// checks the floor when it leaves.
func bubble(t *testing.T, o Options, test func(t *testing.T, p *Provider, s *echo)) {
	defer goleak.VerifyNone(t)
	synctest.Test(t, func(t *testing.T) {
		p, s := New(o), &echo{release: make(chan struct{})}
		if err := p.Provide(echoSelector, s, ServiceOptions{}); err != nil {
			t.Fatal(err)
		}
		test(t, p, s)
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if len(p.handles.live) > 0 || len(p.sessions.live) > 0 || len(p.processes) > 0 || p.budget.queued.Load() != 0 || p.budget.members.Load() != 0 {
			t.Errorf("left behind: %d handles, %d sessions, %d processes, %d bytes, %d queues", len(p.handles.live),
				len(p.sessions.live), len(p.processes), p.budget.queued.Load(), p.budget.members.Load())
		}
	})
}

var echoSelector = api.Selector{UUID: "test/echo", Major: 1, Minor: 2}

// The methods of the service echo.
const (
	methodEcho      api.Method = iota // returns its arguments
	methodBlock                       // waits for release, or for its context
	methodMake                        // makes a notifiable resource and notifies it before it returns
	methodPlain                       // makes one that is not notifiable
	methodPanic                       //
	methodInline                      // inline: on a handle, replies at once; refuses "no"
	methodPark                        // inline: stays parked until canceled
	methodMakeNow                     // inline: as methodMake
	methodRelease                     // inline: ends what is parked
	methodStillborn                   // makes a resource and closes it before it returns
	methodVerbose                     // makes a resource and returns much with it
)

// echo is a service for tests of the runtime.
type echo struct {
	release chan struct{}
	window  uint32 // of resources
	queue   int    // of resources

	mu     sync.Mutex
	closed []api.Reason
	ended  [][]api.SessionID
	causes []error // of parked calls
	parked []*Call
}

func (s *echo) Handle(ctx context.Context, c *Call) (Result, error) {
	switch c.Method {
	case methodEcho:
		return Result{Body: c.Args}, nil
	case methodBlock:
		select {
		case <-s.release:
			return Result{}, nil
		case <-ctx.Done():
			return Result{}, context.Cause(ctx)
		}
	case methodMake, methodPlain:
		return s.make(c)
	case methodStillborn:
		result, err := s.make(c)
		result.Resource.CloseWith(api.ReasonSlow, "never lived")
		return result, err
	case methodVerbose:
		result, err := s.make(c)
		result.Body = make([]byte, 100)
		return result, err
	case methodPanic:
		panic("test")
	}
	return Result{}, api.ErrNoMethod
}

func (s *echo) HandleInline(c *Call) bool {
	switch c.Method {
	case methodInline:
		if string(c.Args) == "no" {
			c.Reply(Result{}, &api.CallError{Text: "no means no", AppCode: 7})
		} else {
			c.Reply(Result{Body: c.Args}, nil)
		}
	case methodPark:
		s.mu.Lock()
		defer s.mu.Unlock()
		var kept *Call
		kept = c.Park(func(cause error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.causes = append(s.causes, cause)
			kept.Reply(Result{}, cause)
		})
		s.parked = append(s.parked, kept)
	case methodRelease:
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, kept := range s.parked {
			kept.Reply(Result{}, nil)
		}
		c.Reply(Result{}, nil)
	case methodMakeNow:
		c.Reply(s.make(c))
	default:
		return false
	}
	return true
}

func (s *echo) make(c *Call) (Result, error) {
	r, err := c.Session.NewResource(s, ResourceOptions{
		Notifiable:    c.Method != methodPlain,
		ReceiveWindow: s.window, SendWindow: s.window, Queue: s.queue,
		OnClosed: func(reason api.Reason) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.closed = append(s.closed, reason)
		},
	})
	if err == nil && c.Method != methodPlain {
		err = r.Notify(&Notification{Body: []byte("born")})
	}
	return Result{Resource: r}, err
}

func (s *echo) SessionsClosed(sessions []*Session, _ api.Reason) {
	var ids []api.SessionID
	for _, session := range sessions {
		ids = append(ids, session.ID())
	}
	slices.Sort(ids)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = append(s.ended, ids)
}

func isAny(err error, targets ...error) bool {
	return slices.ContainsFunc(targets, func(target error) bool { return errors.Is(err, target) })
}
