package provider

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"crier.local/api"
	"crier.local/api/wire"
)

func TestHello(t *testing.T) {
	for name, tc := range map[string]struct {
		first wire.ClientEntry
		want  string
	}{
		"no hello":      {wire.ClientEntry{Kind: wire.Ping, Call: 1}, "not a hello"},
		"wire version":  {wire.ClientEntry{Kind: wire.Hello, Version: 99}, "wire version 99"},
		"hello a twice": {wire.ClientEntry{Kind: wire.Hello, Version: api.WireVersion}, "kind 1 after the hello"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, Options{}, func(t *testing.T, p *Provider, _ *echo) {
				peer := attachRaw(t, p)
				peer.send(tc.first, tc.first)
				if farewell := peer.expectEnd(); !strings.Contains(farewell.Failure.Text, tc.want) {
					t.Errorf("farewell %q, want %q in it", farewell.Failure.Text, tc.want)
				}
			})
		})
	}
}

func TestMalformedBatchEndsOnlyItsStream(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, p *Provider, _ *echo) {
		good, bad := greetRaw(t, p, 1), greetRaw(t, p, 2)
		session := good.open(echoSelector)
		if err := bad.stream.Send(&wire.Batch{Data: []byte{0x0a, 0xff}}); err != nil {
			t.Fatal(err)
		}
		if farewell := bad.expectEnd(); farewell.Reason != api.ReasonLimit || farewell.Failure.Text == "" {
			t.Errorf("farewell %+v, want a reason and words", farewell)
		}
		reply := good.ask(wire.ClientEntry{Kind: wire.Invoke, Session: session, Method: methodEcho, Args: []byte("x")})
		if string(reply.Body) != "x" {
			t.Errorf("reply %q, want x", reply.Body)
		}
	})
}

func TestOpenVersions(t *testing.T) {
	bubble(t, Options{Name: "log", Version: api.Version{Major: 1, Minor: 2, Patch: 5}}, func(t *testing.T, p *Provider, _ *echo) {
		peer := greetRaw(t, p, 1)
		uuid := echoSelector.UUID
		for _, tc := range []struct {
			asked api.Selector
			want  string // "" for accepted
		}{
			{api.Selector{UUID: uuid, Major: 1, Minor: 2}, ""},
			{api.Selector{UUID: uuid, Major: 1, Minor: 1}, ""},
			{api.Selector{UUID: uuid, Major: 1, Minor: 3}, "service:log@1.2.5 does not provide service:test/echo@1.3.x, but @1.2"},
			{api.Selector{UUID: uuid, Major: 0, Minor: 2}, "service:log@1.2.5 does not provide service:test/echo@0.x, but @1.2"},
			{api.Selector{UUID: uuid, Major: 2, Minor: 2}, "service:log@1.2.5 does not provide service:test/echo@2.x, but @1.2"},
			{api.Selector{UUID: "wrong", Major: 1, Minor: 2}, "service:log@1.2.5 does not provide service:wrong"},
			{api.Selector{}, "service:log@1.2.5 does not provide service:"},
		} {
			reply := peer.ask(wire.ClientEntry{Kind: wire.Open, Selector: tc.asked})
			err := reply.Failure.Err()
			switch {
			case tc.want == "" && (err != nil || reply.Session == 0 || reply.Provided != echoSelector):
				t.Errorf("open %s: %+v, %v", tc.asked, reply, err)
			case tc.want != "" && (!errors.Is(err, api.ErrVersion) && err.Error() != tc.want):
				t.Errorf("open %s: %v, want %s", tc.asked, err, tc.want)
			case tc.want != "" && err.Error() != tc.want:
				t.Errorf("open %s: %q, want %q", tc.asked, err, tc.want)
			}
		}
	})
}

func TestNotificationNeverOvertakesItsReply(t *testing.T) {
	for _, method := range []api.Method{methodMake, methodMakeNow} {
		bubble(t, Options{}, func(t *testing.T, p *Provider, _ *echo) {
			peer := greetRaw(t, p, 1)
			session := peer.open(echoSelector)
			peer.call(wire.ClientEntry{Kind: wire.Invoke, Session: session, Method: method})
			reply, err := peer.next()
			if err != nil || reply.Kind != wire.Reply || !reply.Handle.Notifiable() || reply.ReceiveWindow != 1<<20 {
				t.Fatalf("first came %+v, %v", reply, err)
			}
			n, err := peer.next()
			if err != nil || n.Kind != wire.Notification || !slices.Equal(n.Handles, []api.Handle{reply.Handle}) || string(n.Body) != "born" {
				t.Fatalf("then came %+v, %v", n, err)
			}
		})
	}
}

func TestHandlesAreTheSessionsOwn(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, p *Provider, s *echo) {
		peer, stranger := greetRaw(t, p, 1), greetRaw(t, p, 2)
		session, other := peer.open(echoSelector), stranger.open(echoSelector)
		handle := peer.ask(wire.ClientEntry{Kind: wire.Invoke, Session: session, Method: methodPlain}).Handle
		if handle == 0 || handle.Notifiable() {
			t.Fatalf("handle %d", handle)
		}
		try := func(who *rawPeer, id api.SessionID, h api.Handle) error {
			return who.ask(wire.ClientEntry{Kind: wire.Invoke, Session: id, Handle: h, Method: methodInline}).Failure.Err()
		}
		if err := try(peer, session, handle); err != nil {
			t.Errorf("own handle: %v", err)
		}
		for name, err := range map[string]error{
			"another's":       try(stranger, other, handle),
			"guessed":         try(peer, session, handle+2),
			"of another kind": try(peer, session, handle|1),
			"highest":         try(peer, session, api.MaxHandle),
		} {
			if err != api.ErrUnknownHandle {
				t.Errorf("%s: %v, want the bare %v", name, err, api.ErrUnknownHandle)
			}
		}
		stranger.ask(wire.ClientEntry{Kind: wire.CloseResource, Session: other, Handle: handle})
		stranger.ask(wire.ClientEntry{Kind: wire.CloseResource, Session: session, Handle: handle})
		if len(s.closed) > 0 {
			t.Error("a stranger closed the resource")
		}
		for range 2 { // the second does nothing
			peer.ask(wire.ClientEntry{Kind: wire.CloseResource, Session: session, Handle: handle})
		}
		if err := try(peer, session, handle); err != api.ErrUnknownHandle {
			t.Errorf("closed: %v, want %v", err, api.ErrUnknownHandle)
		}
		if !slices.Equal(s.closed, []api.Reason{api.ReasonClosed}) {
			t.Errorf("closed %v, want once", s.closed)
		}
	})
}

func TestNotNotifiable(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, p *Provider, _ *echo) {
		peer := greetRaw(t, p, 1)
		peer.ask(wire.ClientEntry{Kind: wire.Invoke, Session: peer.open(echoSelector), Method: methodPlain})
		for r := range p.Resources() {
			if err := r.Notify(&Notification{}); err != api.ErrNotNotifiable {
				t.Errorf("notify: %v", err)
			}
			if err := r.NotifyAndClose(&Notification{}); err != api.ErrNotNotifiable {
				t.Errorf("notify and close: %v", err)
			}
		}
	})
}

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
	step  chan struct{}
	order []byte
}

func (o *overlap) Handle(_ context.Context, c *Call) (Result, error) {
	o.order = append(o.order, c.Args[0])
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

func TestCreditIsEnforced(t *testing.T) {
	for name, abuse := range map[string]func(peer *rawPeer, session api.SessionID, handle api.Handle){
		"calls without credit": func(peer *rawPeer, session api.SessionID, handle api.Handle) {
			for range 20 {
				peer.send(wire.ClientEntry{Kind: wire.Invoke, Call: 77, Session: session, Handle: handle, Method: methodPark})
			}
		},
		"credit that was not used": func(peer *rawPeer, session api.SessionID, handle api.Handle) {
			peer.send(wire.ClientEntry{Kind: wire.GrantCredit, Handle: handle, Bytes: 1 << 30})
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, Options{}, func(t *testing.T, p *Provider, s *echo) {
				s.window = 1000
				peer := greetRaw(t, p, 1)
				session := peer.open(echoSelector)
				handle := peer.ask(wire.ClientEntry{Kind: wire.Invoke, Session: session, Method: methodMakeNow}).Handle
				abuse(peer, session, handle)
				if farewell := peer.expectEnd(); !strings.Contains(farewell.Failure.Text, "credit") {
					t.Errorf("farewell %+v", farewell)
				}
			})
		})
	}
}

func TestNotifyWaitsForCreditAndFills(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, p *Provider, s *echo) {
		s.window, s.queue = 1000, 500+defaultReserve
		peer := greetRaw(t, p, 1)
		session := peer.open(echoSelector)
		handle := peer.ask(wire.ClientEntry{Kind: wire.Invoke, Session: session, Method: methodMakeNow}).Handle
		peer.expect(wire.Notification)
		synctest.Wait() // until the writer has accounted for it
		r := slices.Collect(p.Resources())[0]
		large := &Notification{Body: make([]byte, 1000)} // overdraws the window
		if err := r.Notify(large); err != nil {
			t.Fatal(err)
		}
		peer.expect(wire.Notification)
		synctest.Wait()
		small := &Notification{Body: make([]byte, 436)}
		if err := r.Notify(small); err != nil {
			t.Fatal(err)
		}
		if err := r.Notify(small); err != api.ErrFull {
			t.Errorf("a full queue: %v", err)
		}
		urgent := &Notification{Urgent: true}
		if err := r.Notify(urgent); err != nil {
			t.Errorf("urgent: %v", err)
		}
		if n, bytes := r.Queued(); n != 2 || bytes != 564 {
			t.Errorf("queued %d, %d bytes", n, bytes)
		}
		peer.send(wire.ClientEntry{Kind: wire.GrantCredit, Handle: handle, Bytes: 1000})
		if e := peer.expect(wire.Notification); len(e.Body) != 436 {
			t.Errorf("got %d bytes, want 436", len(e.Body))
		}
		peer.expect(wire.Notification)
	})
}

func TestNotifyAndClose(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, p *Provider, s *echo) {
		peer := greetRaw(t, p, 1)
		handle := peer.ask(wire.ClientEntry{Kind: wire.Invoke, Session: peer.open(echoSelector), Method: methodMakeNow}).Handle
		r := slices.Collect(p.Resources())[0]
		if err := r.NotifyAndClose(&Notification{Body: []byte("last")}); err != nil {
			t.Fatal(err)
		}
		if len(s.closed) != 1 {
			t.Error("OnClosed has not run")
		}
		if e := peer.expect(wire.Closed); e.Handle != handle || string(e.Body) != "last" || e.Reason != api.ReasonClosed {
			t.Errorf("closed: %+v", e)
		}
		if err := r.NotifyAndClose(&Notification{}); err != api.ErrClosed {
			t.Errorf("again: %v", err)
		}
		if err := r.Notify(&Notification{}); err != api.ErrClosed {
			t.Errorf("notify: %v", err)
		}
	})
}

func TestDeathClosesEverythingOnce(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, p *Provider, s *echo) {
		peer := greetRaw(t, p, 1)
		first, second := peer.open(echoSelector), peer.open(echoSelector)
		for _, session := range []api.SessionID{first, second, second} {
			peer.ask(wire.ClientEntry{Kind: wire.Invoke, Session: session, Method: methodMakeNow})
		}
		peer.call(wire.ClientEntry{Kind: wire.Invoke, Session: first, Method: methodPark})
		peer.call(wire.ClientEntry{Kind: wire.Invoke, Session: first, Method: methodBlock})
		synctest.Wait()
		peer.die()
		synctest.Wait()
		died := api.ReasonDied
		if want := []api.Reason{died, died, died}; !slices.Equal(s.closed, want) {
			t.Errorf("closed %v, want %v", s.closed, want)
		}
		if len(s.ended) != 1 || len(s.ended[0]) != 2 {
			t.Errorf("sessions ended %v, want both at once", s.ended)
		}
		if err := p.Wait(t.Context()); err != nil {
			t.Errorf("wait: %v", err)
		}
	})
}

func TestNothingIsBornIntoADeadSession(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, p *Provider, s *echo) {
		peer := greetRaw(t, p, 1)
		id := peer.open(echoSelector)
		var session *Session
		for proc := range p.processes {
			session = proc.session(id)
		}
		peer.die()
		synctest.Wait()
		if _, err := session.NewResource(nil, ResourceOptions{}); !errors.Is(err, api.ErrClosed) {
			t.Errorf("new resource: %v", err)
		}
	})
}

func TestReattachBuriesTheGhostFirst(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, p *Provider, s *echo) {
		old := greetRaw(t, p, 1)
		old.ask(wire.ClientEntry{Kind: wire.Invoke, Session: old.open(echoSelector), Method: methodMakeNow})
		greetRaw(t, p, 1)
		if !slices.Equal(s.closed, []api.Reason{api.ReasonReplaced}) {
			t.Errorf("closed %v, want replaced", s.closed)
		}
		if farewell := old.expectEnd(); farewell.Reason != api.ReasonReplaced {
			t.Errorf("farewell %+v", farewell)
		}
	})
}

func TestCloseDrains(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, p *Provider, s *echo) {
		s.window = 1000
		peer := greetRaw(t, p, 1)
		session := peer.open(echoSelector)
		handle := peer.ask(wire.ClientEntry{Kind: wire.Invoke, Session: session, Method: methodMakeNow}).Handle
		parked := peer.call(wire.ClientEntry{Kind: wire.Invoke, Session: session, Method: methodPark})
		synctest.Wait()
		r := slices.Collect(p.Resources())[0]
		for range 3 {
			if err := r.Notify(&Notification{Body: make([]byte, 1000)}); err != nil {
				t.Fatal(err)
			}
		}
		closed := make(chan struct{})
		go func() {
			defer close(closed)
			p.Close()
		}()
		if err := peer.reply(parked).Failure.Err(); !errors.Is(err, api.ErrClosed) {
			t.Errorf("parked call: %v", err)
		}
		for range 4 {
			taken := api.Charge(len(peer.expect(wire.Notification).Body))
			peer.send(wire.ClientEntry{Kind: wire.GrantCredit, Handle: handle, Bytes: uint32(taken)})
		}
		if farewell := peer.expectEnd(); farewell.Reason != api.ReasonGoingAway || !farewell.Final {
			t.Errorf("farewell %+v", farewell)
		}
		<-closed
	})
}

func TestCloseIsBounded(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, p *Provider, s *echo) {
		s.window = 100
		peer := greetRaw(t, p, 1)
		peer.ask(wire.ClientEntry{Kind: wire.Invoke, Session: peer.open(echoSelector), Method: methodMakeNow})
		r := slices.Collect(p.Resources())[0]
		for range 3 {
			if err := r.Notify(&Notification{Body: make([]byte, 1000)}); err != nil {
				t.Fatal(err)
			}
		}
		start := time.Now()
		p.Close() // the peer never takes anything, nor leaves
		if took := time.Since(start); took > 6*time.Second {
			t.Errorf("took %s", took)
		}
	})
}

func TestUnreadAnswersAreBounded(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, p *Provider, _ *echo) {
		peer := greetRaw(t, p, 1)
		session := peer.open(echoSelector)
		args := make([]byte, 1<<20)
		for range 64 {
			e := wire.ClientEntry{Kind: wire.Invoke, Call: 5, Session: session, Method: methodEcho, Args: args}
			if peer.stream.Send(&wire.Batch{Data: wire.AppendClient(nil, &e)}) != nil {
				break // sent away
			}
			synctest.Wait()
		}
		<-time.After(2 * linger)
		synctest.Wait()
		if left := len(p.snapshot()); left > 0 {
			t.Error("it was not sent away")
		}
	})
}

func TestTooManyResources(t *testing.T) {
	bubble(t, Options{Limits: Limits{Resources: 2}}, func(t *testing.T, p *Provider, s *echo) {
		peer := greetRaw(t, p, 1)
		session := peer.open(echoSelector)
		make := wire.ClientEntry{Kind: wire.Invoke, Session: session, Method: methodMakeNow}
		peer.ask(make)
		handle := peer.ask(make).Handle
		if err := peer.ask(make).Failure.Err(); !errors.Is(err, api.ErrTooMany) {
			t.Errorf("a third: %v", err)
		}
		peer.ask(wire.ClientEntry{Kind: wire.CloseResource, Session: session, Handle: handle})
		if err := peer.ask(make).Failure.Err(); err != nil {
			t.Errorf("after one was closed: %v", err)
		}
	})
}
