package provider

import (
	"bytes"
	"context"
	"errors"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"crier.local/api"
	"crier.local/api/wire"
)

func TestCallsStartInOrderAndAreBounded(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, p *Provider, s *echo) {
		peer := greetRaw(t, p, 1)
		session := peer.open(echoSelector)
		block := wire.ClientEntry{Kind: wire.Invoke, Session: session, Method: methodBlock}
		var calls []uint32
		for range 16 + 64 {
			calls = append(calls, peer.call(block))
		}
		if err := peer.ask(block).Failure.Err(); !errors.Is(err, api.ErrTooMany) {
			t.Errorf("one more: %v, want %v", err, api.ErrTooMany)
		}
		close(s.release)
		for _, call := range calls {
			if err := peer.reply(call).Failure.Err(); err != nil {
				t.Errorf("call %d: %v", call, err)
			}
		}
	})
}

func TestSequentialServiceServesOneCallAtATime(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, p *Provider, _ *echo) {
		sequential := api.Selector{UUID: "test/sequential", Major: 1}
		s := &overlap{step: make(chan struct{})}
		if err := p.Provide(sequential, s, ServiceOptions{Sequential: true}); err != nil {
			t.Fatal(err)
		}
		peer := greetRaw(t, p, 1)
		session, other := peer.open(sequential), peer.open(sequential)
		var calls []uint32
		for i := range 10 {
			calls = append(calls, peer.call(wire.ClientEntry{Kind: wire.Invoke, Session: session, Args: []byte{byte(i)}}))
		}
		synctest.Wait()
		if got := len(s.order); got != 1 {
			t.Errorf("%d calls run, want 1", got)
		}
		apart := peer.call(wire.ClientEntry{Kind: wire.Invoke, Session: other, Args: []byte{99}})
		synctest.Wait()
		if got := len(s.order); got != 2 {
			t.Errorf("%d calls run, want another session's too", got)
		}
		close(s.step)
		for _, call := range append(calls, apart) {
			peer.reply(call)
		}
		if want := []byte{0, 99, 1, 2, 3, 4, 5, 6, 7, 8, 9}; !bytes.Equal(s.order, want) {
			t.Errorf("order %v, want %v", s.order, want)
		}
	})
}

// overlap is a service that notes the order in which its calls start.
type overlap struct {
	step chan struct{}

	mu    sync.Mutex
	order []byte
}

func (o *overlap) Handle(_ context.Context, c *Call) (Result, error) {
	o.mu.Lock()
	o.order = append(o.order, c.Args[0])
	o.mu.Unlock()
	<-o.step
	return Result{}, nil
}

func TestCallsEnd(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, p *Provider, s *echo) {
		peer := greetRaw(t, p, 1)
		session := peer.open(echoSelector)
		for _, method := range []api.Method{methodBlock, methodPark} {
			call := peer.call(wire.ClientEntry{Kind: wire.Invoke, Session: session, Method: method})
			synctest.Wait()
			peer.send(wire.ClientEntry{Kind: wire.Cancel, Call: call})
			if text := peer.reply(call).Failure.Text; text != context.Canceled.Error() {
				t.Errorf("method %d canceled: %q", method, text)
			}
			start := time.Now()
			reply := peer.ask(wire.ClientEntry{Kind: wire.Invoke, Session: session, Method: method, Timeout: 3 * time.Second})
			if took := time.Since(start); took != 3*time.Second || reply.Failure.Text != context.DeadlineExceeded.Error() {
				t.Errorf("method %d with a timeout: %q after %s", method, reply.Failure.Text, took)
			}
			call = peer.call(wire.ClientEntry{Kind: wire.Invoke, Session: session, Method: method})
			synctest.Wait()
			peer.ask(wire.ClientEntry{Kind: wire.CloseSession, Session: session})
			if err := peer.reply(call).Failure.Err(); !isAny(err, api.ErrClosed) {
				t.Errorf("method %d at the end of its session: %v", method, err)
			}
			session = peer.open(echoSelector)
		}
		reply := peer.ask(wire.ClientEntry{Kind: wire.Invoke, Session: session, Method: methodPanic})
		if failure := reply.Failure; failure.Code != api.CodeCall || !strings.Contains(failure.Text, "test") {
			t.Errorf("panic: %+v", failure)
		}
		reply = peer.ask(wire.ClientEntry{Kind: wire.Invoke, Session: session, Method: 4711})
		if err := reply.Failure.Err(); err != api.ErrNoMethod {
			t.Errorf("no such method: %v", err)
		}
		if len(s.causes) != 3 {
			t.Errorf("parked calls ended with %v, want 3 causes", s.causes)
		}
	})
}

func TestMessageLimits(t *testing.T) {
	limits := Limits{Message: 1000, HardTop: 4000}
	bubble(t, Options{Limits: limits}, func(t *testing.T, p *Provider, _ *echo) {
		peer := greetRaw(t, p, 1)
		session := peer.open(echoSelector)
		for size, want := range map[int]error{0: nil, 1000 + api.ArgsSlack: nil, 1001 + api.ArgsSlack: api.ErrTooLarge, 4000: api.ErrTooLarge} {
			reply := peer.ask(wire.ClientEntry{Kind: wire.Invoke, Session: session, Method: methodEcho, Args: make([]byte, size)})
			if err := reply.Failure.Err(); !errors.Is(err, want) {
				t.Errorf("%d bytes: %v, want %v", size, err, want)
			}
		}
		peer.send(wire.ClientEntry{Kind: wire.Invoke, Call: 99, Session: session, Method: methodEcho, Args: make([]byte, 4001)})
		if farewell := peer.expectEnd(); !errors.Is(farewell.Failure.Err(), api.ErrTooLarge) {
			t.Errorf("over the hard top: %+v", farewell)
		}
	})
}

func TestPostsAreReported(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, p *Provider, s *echo) {
		s.window = 1000
		peer := greetRaw(t, p, 1)
		session := peer.open(echoSelector)
		handle := peer.ask(wire.ClientEntry{Kind: wire.Invoke, Session: session, Method: methodMakeNow}).Handle
		post := wire.ClientEntry{Kind: wire.Invoke, Session: session, Handle: handle, Method: methodInline}
		no := post
		no.Args = []byte("no")

		peer.send(post, post, wire.ClientEntry{Kind: wire.Flush, Handle: handle})
		if e := peer.expect(wire.Posted); e.Ended != 2 || e.Refused != 0 || e.Bytes != 2*64 {
			t.Errorf("flushed: %+v", e)
		}
		peer.send(post, no)
		if e := peer.expect(wire.Posted); e.Ended != 2 || e.Refused != 1 || e.Failure.AppCode != 7 {
			t.Errorf("refused: %+v", e)
		}
		for range 8 { // half the window
			peer.send(post)
		}
		if e := peer.expect(wire.Posted); e.Ended != 8 || e.Bytes != 8*64 {
			t.Errorf("half a window: %+v", e)
		}
		gone := post
		gone.Handle = handle + 2
		peer.send(gone)
		if e := peer.expect(wire.Posted); e.Handle != gone.Handle || e.Refused != 1 || e.Failure.Err() != api.ErrUnknownHandle {
			t.Errorf("unknown handle: %+v", e)
		}
	})
}

func TestCallsBeginInOrder(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // else two that begin one after the other may overtake each other then
	bubble(t, Options{}, func(t *testing.T, p *Provider, _ *echo) {
		selector := api.Selector{UUID: "test/order", Major: 1}
		s := &overlap{step: make(chan struct{})}
		if err := p.Provide(selector, s, ServiceOptions{}); err != nil {
			t.Fatal(err)
		}
		peer := greetRaw(t, p, 1)
		session := peer.open(selector)
		var calls []wire.ClientEntry
		for i := range 8 {
			calls = append(calls, wire.ClientEntry{Kind: wire.Invoke, Call: uint32(100 + i), Session: session, Args: []byte{byte(i)}})
		}
		peer.send(calls...)
		synctest.Wait()
		close(s.step)
		for _, e := range calls {
			peer.reply(e.Call)
		}
		if want := []byte{0, 1, 2, 3, 4, 5, 6, 7}; !bytes.Equal(s.order, want) {
			t.Errorf("began %v", s.order)
		}
	})
}

func TestFlushWaitsForEarlierPostsAndNoOthers(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, p *Provider, s *echo) {
		peer := greetRaw(t, p, 1)
		session := peer.open(echoSelector)
		handle := peer.ask(wire.ClientEntry{Kind: wire.Invoke, Session: session, Method: methodMakeNow}).Handle
		post := func(m api.Method) wire.ClientEntry {
			return wire.ClientEntry{Kind: wire.Invoke, Session: session, Handle: handle, Method: m}
		}
		flush := wire.ClientEntry{Kind: wire.Flush, Handle: handle}
		// The first is parked; the second ends at once; a call with a reply comes between.
		peer.send(post(methodPark), flush, post(methodInline))
		peer.ask(post(methodInline))
		peer.send(flush)
		synctest.Wait()
		peer.ask(wire.ClientEntry{Kind: wire.Ping})
		for _, e := range peer.seen {
			if e.Kind == wire.Posted && e.Ended > 0 {
				t.Fatalf("told %+v while the first post waits", e)
			}
		}
		peer.ask(post(methodRelease))
		ended := uint32(0)
		for ended < 2 {
			ended += peer.expect(wire.Posted).Ended
		}
		if ended != 2 {
			t.Errorf("%d posts ended, want 2", ended)
		}
	})
}

func TestResourceOfAFailedCallIsClosed(t *testing.T) {
	bubble(t, Options{Limits: Limits{Message: 10}}, func(t *testing.T, p *Provider, s *echo) {
		peer := greetRaw(t, p, 1)
		session := peer.open(echoSelector)
		reply := peer.ask(wire.ClientEntry{Kind: wire.Invoke, Session: session, Method: methodVerbose})
		if err := reply.Failure.Err(); !errors.Is(err, api.ErrTooLarge) || reply.Handle != 0 {
			t.Errorf("a result that is too large: %+v", reply)
		}
		synctest.Wait()
		if n := len(slices.Collect(p.Resources())); n != 0 {
			t.Errorf("%d resources that nobody knows", n)
		}
	})
}

func TestPostedResourceIsClosed(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, p *Provider, s *echo) {
		peer := greetRaw(t, p, 1)
		session := peer.open(echoSelector)
		handle := peer.ask(wire.ClientEntry{Kind: wire.Invoke, Session: session, Method: methodMakeNow}).Handle
		peer.send(wire.ClientEntry{Kind: wire.Invoke, Session: session, Handle: handle, Method: methodMakeNow})
		synctest.Wait()
		if n := len(slices.Collect(p.Resources())); n != 1 {
			t.Errorf("%d resources, want that which is known alone", n)
		}
	})
}
