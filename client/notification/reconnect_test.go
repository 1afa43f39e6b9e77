package notification

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"crier.local/api"
	"crier.local/client"
	service "crier.local/provider/notification"
)

// waitLost returns when x's link is lost.
func (h *house) waitLost(x *Connection) {
	h.t.Helper()
	x.mu.Lock()
	r := x.last.resource
	x.mu.Unlock()
	for r.Err() == nil {
		if h.ctx.Err() != nil {
			h.t.Fatal("the link holds")
		}
		r.Invoke(h.ctx, 1<<20, nil) // there is no such method
	}
}

func TestReconnected(t *testing.T) {
	everywhere(t, func(t *testing.T, h *house) {
		c := h.dial()
		x := h.connectBy(c, api.Connect{Name: "x", Presence: true})
		nameless := h.connectBy(c, api.Connect{})
		h.expect(x, api.KindMembers)
		if err := x.Rename(h.ctx, "y"); err != nil {
			t.Fatal(err)
		}
		sender := h.connectBy(c, api.Connect{SendOnly: true})
		last := h.send(sender, "before")
		before := x.Handle()

		h.street.cut()
		h.waitLost(x)
		short, cancel := context.WithTimeout(h.ctx, 20*time.Millisecond)
		defer cancel()
		_, err := x.Send(short, []byte("never sent"))
		h.want(err, context.DeadlineExceeded)
		sent := make(chan error)
		go func() {
			_, err := x.Send(h.ctx, []byte("after"))
			sent <- err
		}()
		h.street.open()
		if err := <-sent; err != nil {
			t.Fatal(err)
		}

		h.hears(x, "before")
		e := h.expect(x, api.KindReconnected)
		if e.First != last.Seq+1 || e.Last < last.Seq {
			t.Errorf("reconnected %+v; the last seen was %d", e, last.Seq)
		}
		if e := h.expect(x, api.KindMembers); len(e.Members) != 1 || e.Members[0].Name != "y" {
			t.Errorf("members %+v", e.Members)
		}
		if x.Name() != "y" || x.Handle() == before {
			t.Errorf("%q with handle %d, before %d", x.Name(), x.Handle(), before)
		}
		h.hears(nameless, "before")
		h.expect(nameless, api.KindReconnected)
		h.send(sender, "again")
		for _, r := range []*Connection{x, nameless} {
			for e := h.receive(r); string(e.Payload) != "again"; e = h.receive(r) {
				if e.Kind != api.KindMessage || string(e.Payload) != "after" {
					t.Errorf("event %+v", e)
				}
			}
		}
	})
}

func TestEverythingWaitsForTheLink(t *testing.T) {
	everywhere(t, func(t *testing.T, h *house) {
		c := h.dial()
		x := h.connectBy(c, api.Connect{Name: "x", Echo: true})
		h.street.cut()
		h.waitLost(x)
		calls := map[string]func() error{
			"connect": func() error { return second(c.Connect(h.ctx, api.Connect{Room: "other"})) },
			"who":     func() error { return second(c.Who(h.ctx, "")) },
			"members": func() error { return second(x.Members(h.ctx)) },
			"rename":  func() error { return x.Rename(h.ctx, "y") },
			"send":    func() error { return second(x.Send(h.ctx, nil)) },
			"post":    func() error { return x.Post(h.ctx, nil) },
		}
		results := make(chan error)
		for name, call := range calls {
			go func() {
				err := call()
				if err != nil {
					err = fmt.Errorf("%s: %w", name, err)
				}
				results <- err
			}()
		}
		h.street.open()
		for range calls {
			if err := <-results; err != nil {
				t.Error(err)
			}
		}
		if x.Name() != "y" {
			t.Errorf("name %q", x.Name())
		}
		h.expect(x, api.KindReconnected)
		h.hears(x, "")
		h.hears(x, "")
	})
}

func TestCloseWhileLost(t *testing.T) {
	everywhere(t, func(t *testing.T, h *house) {
		x := h.connect(api.Connect{})
		h.street.cut()
		h.waitLost(x)
		received := make(chan error)
		go func() { received <- second(x.Receive(h.ctx)) }()
		sent := make(chan error)
		go func() { sent <- x.Post(h.ctx, nil) }()
		if err := x.client.Close(); err != nil {
			t.Error(err)
		}
		h.want(<-received, api.ErrClosed)
		h.want(<-sent, api.ErrClosed)
	})
}

func TestCloseEndsWhatWaits(t *testing.T) {
	everywhere(t, func(t *testing.T, h *house) {
		attached, err := client.Dial(h.ctx, h.street.options())
		if err != nil {
			t.Fatal(err)
		}
		defer attached.Close()
		h.street.cut()
		for attached.Ping(h.ctx) == nil && h.ctx.Err() == nil {
			continue
		}
		c := New(attached)
		connected := make(chan error)
		go func() { connected <- second(c.Connect(h.ctx, api.Connect{})) }()
		asked := make(chan error)
		go func() { asked <- second(c.Rooms(h.ctx)) }()
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		h.want(<-connected, api.ErrClosed)
		h.want(<-asked, api.ErrClosed)
	})
}

func TestRestarted(t *testing.T) {
	everywhere(t, func(t *testing.T, h *house) {
		a := h.connect(api.Connect{Name: "a"})
		b := h.connect(api.Connect{Name: "b", Presence: true})
		h.expect(b, api.KindMembers)
		for range 3 {
			h.send(a, "before")
		}
		h.hears(b, "before")
		for range 2 {
			h.hears(b, "before")
			h.restart(api.NotificationSelector, service.Options{})
			epoch := h.provider.Epoch()
			if e := h.expect(a, api.KindRestarted); e.Epoch != epoch {
				t.Errorf("restarted %+v", e)
			}
			for e := h.receive(b); e.Kind != api.KindMembers; e = h.receive(b) {
				if e.Kind != api.KindMessage && (e.Kind != api.KindRestarted || e.Epoch != epoch) && e.Kind != api.KindLeft {
					t.Errorf("event %+v", e)
				}
			}
			h.send(a, "before")
			for e := h.receive(b); e.Kind != api.KindMessage; e = h.receive(b) {
				if e.Kind != api.KindJoined || e.From != "a" {
					t.Errorf("event %+v", e)
				}
			}
			h.send(a, "before")
		}
	})
}

func TestManyConnectionsReconnect(t *testing.T) {
	everywhere(t, func(t *testing.T, h *house) {
		c := h.dial()
		var all []*Connection
		for i := range 200 {
			all = append(all, h.connectBy(c, api.Connect{Name: fmt.Sprint("n", i), Room: fmt.Sprint("r", i%7)}))
		}
		all[0].Close()
		h.street.cut()
		h.waitLost(all[1])
		all[1].Close()
		h.street.open()
		for _, x := range all[2:] {
			h.expect(x, api.KindReconnected)
		}
		seats, err := c.Who(h.ctx, "")
		if err != nil || len(seats) != len(all)-2 {
			t.Errorf("%d seats, %v", len(seats), err)
		}
	})
}

func TestOutcomeOfPostsIsUnknown(t *testing.T) {
	everywhere(t, func(t *testing.T, h *house) {
		h.connect(api.Connect{Name: "stuck", Window: 1})
		c := h.dial()
		x := h.connectBy(c, api.Connect{Name: "x"})
		payload := make([]byte, 100000)
		for parked := false; !parked; {
			if err := x.Post(h.ctx, payload); err != nil {
				t.Fatal(err)
			}
			seats, err := c.Who(h.ctx, "")
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range seats {
				parked = parked || s.Parked > 0
			}
		}
		h.street.cut()
		h.waitLost(x)
		h.street.open()
		h.expect(x, api.KindReconnected)
		flushed, err := x.Flush(h.ctx)
		h.want(err, api.ErrOutcomeUnknown)
		h.want(err, api.ErrDisconnected)
		if flushed.Refused != 0 {
			t.Errorf("flushed %+v", flushed)
		}
		if flushed, err := x.Flush(h.ctx); err != nil || flushed != (client.Flushed{}) {
			t.Errorf("told twice: %+v, %v", flushed, err)
		}
	})
}

func TestNameTakenForAWhile(t *testing.T) {
	everywhere(t, func(t *testing.T, h *house) {
		x := h.connect(api.Connect{Name: "x"})
		other := h.connect(api.Connect{Name: "other"})
		h.street.cut()
		h.waitLost(x)
		h.waitLost(other)
		thief := h.steal("x")
		h.street.open()
		h.expect(other, api.KindReconnected)
		h.send(other, "is x there?")
		h.hears(thief, "is x there?")
		thief.client.Close()
		h.expect(x, api.KindReconnected)
		h.send(other, "now?")
		h.hears(x, "now?")
	})
}

// steal takes the name of a connection whose link is cut, as soon as the
// provider knows of that. It does not come by the street.
func (h *house) steal(name string) *Connection {
	h.t.Helper()
	c, err := Dial(h.ctx, client.Options{Transport: h.provider.Local()})
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { c.Close() })
	for {
		x, err := c.Connect(h.ctx, api.Connect{Name: name})
		if err == nil {
			return x
		}
		if !errors.Is(err, api.ErrNameTaken) {
			h.t.Fatal(err)
		}
	}
}

func TestNameTakenForGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newLocalHouse(t)
		x := h.connect(api.Connect{Name: "x"})
		h.street.cut()
		h.waitLost(x)
		h.steal("x")
		h.street.open()
		lost := time.Now()
		sent := make(chan error)
		go func() {
			_, err := x.Send(h.ctx, nil)
			sent <- err
		}()
		_, err := x.Receive(h.ctx)
		h.want(err, api.ErrNameTaken)
		h.want(<-sent, api.ErrNameTaken)
		if waited := time.Since(lost); waited < retryFor || waited > 2*retryFor {
			t.Errorf("gave up after %v", waited)
		}
		if err := x.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestEvictionIsFinal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newLocalHouse(t)
		slow := h.connect(api.Connect{Name: "slow"})
		x := h.connect(api.Connect{Name: "x"})
		sent := 0
		for payload := make([]byte, 500000); ; sent++ {
			if receipt, err := x.Send(h.ctx, payload); err != nil || receipt.Receivers == 0 {
				break
			}
		}
		for range sent {
			if e, err := slow.Receive(h.ctx); err != nil {
				h.want(err, api.ErrEvicted)
				break
			} else if e.Kind != api.KindMessage {
				t.Errorf("event %+v", e)
			}
		}
		for range 2 {
			_, err := slow.Receive(h.ctx)
			h.want(err, api.ErrEvicted)
		}
		_, err := slow.Send(h.ctx, nil)
		h.want(err, api.ErrEvicted)
		h.street.cut()
		h.street.open()
		h.expect(x, api.KindReconnected)
		if seats, err := x.client.Who(h.ctx, ""); err != nil || len(seats) != 1 {
			t.Errorf("who: %+v, %v", seats, err)
		}
	})
}

func TestGoneForGood(t *testing.T) {
	h := newLocalHouse(t)
	x := h.connect(api.Connect{Name: "x", Echo: true})
	h.send(x, "last")
	h.provider.Close() // whose clients inside this process cannot attach again
	_, err := x.client.client.Attached(h.ctx, 1)
	h.want(err, api.ErrGone)
	h.hears(x, "last")
	for range 2 {
		_, err := x.Receive(h.ctx)
		h.want(err, api.ErrGone)
	}
	_, err = x.Send(h.ctx, nil)
	h.want(err, api.ErrGone)
	h.want(x.Post(h.ctx, nil), api.ErrGone)
	_, err = x.client.Connect(h.ctx, api.Connect{})
	h.want(err, api.ErrGone)
	if err := x.client.Close(); err != nil {
		t.Error(err)
	}
}
