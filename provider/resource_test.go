package provider

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"crier.local/api"
	"crier.local/api/wire"
)

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

// TestNotifyAll: those of one process get one entry together; one that is full gets
// nothing, and keeps nobody else from it.
func TestNotifyAll(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, p *Provider, s *echo) {
		s.window, s.queue = 1000, 500+defaultReserve
		peer := greetRaw(t, p, 1)
		session := peer.open(echoSelector)
		for range 2 {
			peer.ask(wire.ClientEntry{Kind: wire.Invoke, Session: session, Method: methodMakeNow})
			peer.expect(wire.Notification)
		}
		synctest.Wait() // until the writer has accounted for them
		all := slices.Collect(p.Resources())
		if n := NotifyAll(all, &Notification{Body: []byte("both")}); n != 2 {
			t.Errorf("queued for %d, want 2", n)
		}
		if e := peer.expect(wire.Notification); len(e.Handles) != 2 || string(e.Body) != "both" {
			t.Errorf("%q for handles %v, want both together", e.Body, e.Handles)
		}
		full, other := all[0], all[1]
		for _, size := range []int{1000, 436} { // the one uses up the window, the other the queue
			synctest.Wait()
			if err := full.Notify(&Notification{Body: make([]byte, size)}); err != nil {
				t.Fatal(err)
			}
		}
		peer.expect(wire.Notification)
		if n := NotifyAll(all, &Notification{Body: []byte("one")}); n != 1 {
			t.Errorf("queued for %d, want 1", n)
		}
		if e := peer.expect(wire.Notification); !slices.Equal(e.Handles, []api.Handle{other.Handle()}) || string(e.Body) != "one" {
			t.Errorf("%q for handles %v, want it for %d", e.Body, e.Handles, other.Handle())
		}
		if n, _ := full.Queued(); n != 1 {
			t.Errorf("%d are queued for the one that is full, want 1", n)
		}
	})
}

func TestResourceClosedBeforeItsReply(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, p *Provider, s *echo) {
		peer := greetRaw(t, p, 1)
		session := peer.open(echoSelector)
		peer.call(wire.ClientEntry{Kind: wire.Invoke, Session: session, Method: methodStillborn})
		reply, err := peer.next()
		if err != nil || reply.Kind != wire.Reply || reply.Handle == 0 {
			t.Fatalf("first came %+v, %v", reply, err)
		}
		if last := peer.expect(wire.Closed); last.Handle != reply.Handle || last.Reason != api.ReasonSlow {
			t.Errorf("then came %+v", last)
		}
	})
}

func TestNotifyAndCloseWithNothing(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, p *Provider, s *echo) {
		peer := greetRaw(t, p, 1)
		peer.ask(wire.ClientEntry{Kind: wire.Invoke, Session: peer.open(echoSelector), Method: methodMakeNow})
		if err := slices.Collect(p.Resources())[0].NotifyAndClose(&Notification{}); err != nil {
			t.Fatal(err)
		}
		if last := peer.expect(wire.Closed); last.Body == nil {
			t.Error("the last notification, which is empty, did not come")
		}
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
