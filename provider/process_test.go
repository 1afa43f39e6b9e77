package provider

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
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
		"wire version":  {wire.ClientEntry{Kind: wire.Hello, Version: 99}, "speaks wire version 99"},
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
	flood := map[string]func(session api.SessionID, handle api.Handle) wire.ClientEntry{
		"pings": func(api.SessionID, api.Handle) wire.ClientEntry { return wire.ClientEntry{Kind: wire.Ping, Call: 5} },
		"flushes": func(_ api.SessionID, handle api.Handle) wire.ClientEntry {
			return wire.ClientEntry{Kind: wire.Flush, Handle: handle}
		},
	}
	for name, entry := range flood {
		t.Run(name, func(t *testing.T) {
			bubble(t, Options{}, func(t *testing.T, p *Provider, _ *echo) {
				peer := greetRaw(t, p, 1)
				session := peer.open(echoSelector)
				handle := peer.ask(wire.ClientEntry{Kind: wire.Invoke, Session: session, Method: methodMakeNow}).Handle
				e := entry(session, handle)
				var batch []byte
				for range 1000 {
					batch = wire.AppendClient(batch, &e)
				}
				for range 1000 {
					if peer.stream.Send(&wire.Batch{Data: batch}) != nil {
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
		})
	}
}

func TestLargeAnswersWaitToBeRead(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, p *Provider, _ *echo) {
		peer := greetRaw(t, p, 1)
		session := peer.open(echoSelector)
		var calls []uint32
		for range 60 {
			calls = append(calls, peer.call(wire.ClientEntry{Kind: wire.Invoke, Session: session, Method: methodEcho, Args: make([]byte, 1<<20)}))
		}
		synctest.Wait()
		for _, call := range calls {
			if reply := peer.reply(call); len(reply.Body) != 1<<20 {
				t.Fatalf("call %d: %d bytes, %v", call, len(reply.Body), reply.Failure.Err())
			}
		}
	})
}

func TestCloseEndsWhoNeverGreeted(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, p *Provider, _ *echo) {
		peer := attachRaw(t, p)
		synctest.Wait()
		start := time.Now()
		p.Close()
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("close took %s", took)
		}
		if farewell := peer.expectEnd(); farewell.Reason != api.ReasonGoingAway || !farewell.Final {
			t.Errorf("farewell %+v", farewell)
		}
	})
}

func TestHelloHasADeadline(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, p *Provider, _ *echo) {
		peer := attachRaw(t, p)
		if farewell := peer.expectEnd(); !strings.Contains(farewell.Failure.Text, "no hello") {
			t.Errorf("farewell %+v", farewell)
		}
	})
}

func TestAttachDuringClose(t *testing.T) {
	for range 100 {
		p := New(Options{})
		var attaching sync.WaitGroup
		for range 4 {
			attaching.Go(func() {
				ctx, die := context.WithCancel(t.Context())
				defer die()
				if _, err := p.Local().Attach(ctx); err != nil && !errors.Is(err, api.ErrClosed) {
					t.Error(err)
				}
			})
		}
		p.Close()
		attaching.Wait()
	}
}
