package notification

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"crier.local/api"
)

func TestRoom(t *testing.T) {
	everywhere(t, func(t *testing.T, h *house) {
		a := h.connect(api.Connect{Name: "alice"})
		b := h.connect(api.Connect{Name: "bob"})
		elsewhere := h.connect(api.Connect{Room: "kitchen"})
		receipt := h.send(a, "hello")
		if receipt.Room != api.DefaultRoom || receipt.Receivers != 1 {
			t.Errorf("receipt %+v", receipt)
		}
		e := h.hears(b, "hello")
		if e.From != "alice" || e.Seq != receipt.Seq || e.Time.IsZero() || e.To != "" {
			t.Errorf("event %+v", e)
		}
		if receipt := h.send(b, ""); receipt.Seq <= e.Seq {
			t.Errorf("seq %d after %d", receipt.Seq, e.Seq)
		}
		h.hears(a, "")
		if receipt := h.send(elsewhere, "anybody?"); receipt.Receivers != 0 || receipt.Room != "kitchen" {
			t.Errorf("receipt %+v", receipt)
		}
		if a.Room() != "lobby" || a.Name() != "alice" || !a.Handle().Notifiable() || !strings.HasPrefix(elsewhere.Name(), api.ReservedPrefix) {
			t.Errorf("%q in %q with %d; %q", a.Name(), a.Room(), a.Handle(), elsewhere.Name())
		}
	})
}

func TestBadNames(t *testing.T) {
	h := newLocalHouse(t)
	c := h.dial()
	for _, o := range []api.Connect{{Room: " x"}, {Name: "client-1-2"}, {Name: "a\x1bb"}, {Room: strings.Repeat("r", 129)}} {
		_, err := c.Connect(h.ctx, o)
		h.want(err, api.ErrBadName)
	}
	x := h.connectBy(c, api.Connect{Name: "x"})
	h.want(x.Rename(h.ctx, ""), api.ErrBadName)
	_, err := c.Who(h.ctx, "\x00")
	h.want(err, api.ErrBadName)
	_, err = c.Connect(h.ctx, api.Connect{Name: "X"})
	h.want(err, api.ErrNameTaken)
	large := make([]byte, c.Provider().MaxMessage+1)
	h.want(second(x.Send(h.ctx, large)), api.ErrTooLarge)
	h.want(second(x.SendTo(h.ctx, "x", large)), api.ErrTooLarge)
	h.want(x.Post(h.ctx, large), api.ErrTooLarge)
}

func TestOrderAndEcho(t *testing.T) {
	everywhere(t, func(t *testing.T, h *house) {
		const senders, each = 16, 100
		shared := h.dial()
		var all []*Connection
		for i := range senders {
			c := shared
			if i%2 == 0 {
				c = h.dial()
			}
			all = append(all, h.connectBy(c, api.Connect{Name: fmt.Sprint("s", i), Echo: true}))
		}
		var sending, receiving sync.WaitGroup
		heard := make([][]string, senders)
		for i, x := range all {
			sending.Go(func() {
				for n := range each {
					text := []byte(fmt.Sprint(i, " ", n))
					var err error
					if n%10 == 9 {
						_, err = x.Send(h.ctx, text)
					} else {
						err = x.Post(h.ctx, text)
					}
					if err != nil {
						t.Errorf("send: %v", err)
					}
				}
				flushed, err := x.Flush(h.ctx)
				if flushed.Ended != each*9/10 || flushed.Refused != 0 || flushed.Err != nil || err != nil {
					t.Errorf("flushed %+v, %v", flushed, err)
				}
			})
			receiving.Go(func() {
				last := api.Seq(0)
				for range senders * each {
					e, err := x.Receive(h.ctx)
					if err != nil || e.Seq <= last || e.Kind != api.KindMessage {
						t.Errorf("after %d: %+v, %v", last, e, err)
						return
					}
					last = e.Seq
					heard[i] = append(heard[i], string(e.Payload))
				}
			})
		}
		sending.Wait()
		receiving.Wait()
		next := map[int]int{}
		for _, text := range heard[0] {
			var i, n int
			fmt.Sscan(text, &i, &n)
			if next[i] != n {
				t.Fatalf("sender %d: %d in the place of %d", i, n, next[i])
			}
			next[i]++
		}
		for i := range heard {
			if !slices.Equal(heard[i], heard[0]) {
				t.Errorf("connection %d heard another order", i)
			}
		}
	})
}

func TestSendTo(t *testing.T) {
	everywhere(t, func(t *testing.T, h *house) {
		a, b, c := h.connect(api.Connect{Name: "alice"}), h.connect(api.Connect{Name: "bob"}), h.connect(api.Connect{Name: "carol"})
		receipt, err := a.SendTo(h.ctx, "BOB", []byte("psst"))
		if err != nil || receipt.Receivers != 1 {
			t.Errorf("receipt %+v, %v", receipt, err)
		}
		h.send(a, "all")
		if e := h.hears(b, "psst"); e.To != "bob" || e.From != "alice" {
			t.Errorf("event %+v", e)
		}
		h.hears(b, "all")
		h.hears(c, "all")
		receipt, err = a.SendTo(h.ctx, "nobody", nil)
		if err != nil || receipt.Receivers != 0 {
			t.Errorf("receipt %+v, %v", receipt, err)
		}
	})
}

func TestRename(t *testing.T) {
	everywhere(t, func(t *testing.T, h *house) {
		a, b := h.connect(api.Connect{Name: "alice"}), h.connect(api.Connect{Name: "bob", Presence: true})
		h.expect(b, api.KindMembers)
		h.want(a.Rename(h.ctx, "Bob"), api.ErrNameTaken)
		if err := a.Rename(h.ctx, "anna"); err != nil {
			t.Fatal(err)
		}
		if e := h.expect(b, api.KindRenamed); e.From != "alice" || e.To != "anna" || a.Name() != "anna" {
			t.Errorf("event %+v, name %q", e, a.Name())
		}
	})
}

func TestPresence(t *testing.T) {
	everywhere(t, func(t *testing.T, h *house) {
		watcher := h.connect(api.Connect{Name: "w", Presence: true})
		if e := h.expect(watcher, api.KindMembers); len(e.Members) != 1 || e.Members[0].Name != "w" {
			t.Errorf("members %+v", e.Members)
		}
		long := strings.Repeat("x", 50)
		group := h.dial()
		const many = 1500 // more than a chunk of a list takes
		for i := range many {
			h.connectBy(group, api.Connect{Name: fmt.Sprint(long, i)})
		}
		for i := range many {
			if e := h.expect(watcher, api.KindJoined); e.From != fmt.Sprint(long, i) {
				t.Fatalf("%q joined in the place of %d", e.From, i)
			}
		}
		late := h.connect(api.Connect{Name: "late", Presence: true})
		if e := h.expect(late, api.KindMembers); len(e.Members) != many+2 {
			t.Errorf("%d members", len(e.Members))
		}
		members, err := late.Members(h.ctx)
		if err != nil || len(members) != many+2 {
			t.Errorf("%d members, %v", len(members), err)
		}
		h.expect(watcher, api.KindJoined)
		if err := late.CloseWith(api.ReasonUnreachable, "gone fishing"); err != nil {
			t.Error(err)
		}
		if e := h.expect(watcher, api.KindLeft); e.From != "late" || e.Reason != api.ReasonUnreachable || e.Note != "gone fishing" || e.By == "" {
			t.Errorf("event %+v", e)
		}
		_, err = late.Receive(h.ctx)
		h.want(err, api.ErrClosed)

		session := group.session
		session.Close() // all in one record
		gone := map[string]bool{}
		first := h.expect(watcher, api.KindLeft)
		for e := first; ; e = h.expect(watcher, api.KindLeft) {
			gone[e.From] = true
			if e.Seq != first.Seq || e.Reason != api.ReasonClosed {
				t.Fatalf("event %+v after %+v", e, first)
			}
			if len(gone) == many {
				break
			}
		}
	})
}

func TestOperatorsView(t *testing.T) {
	everywhere(t, func(t *testing.T, h *house) {
		x := h.connect(api.Connect{Name: "x", Room: "attic"})
		c := h.dial()
		h.connectBy(c, api.Connect{SendOnly: true})
		seats, err := c.Who(h.ctx, "attic")
		if err != nil || len(seats) != 1 || seats[0].Handle != x.Handle() || seats[0].Name != "x" {
			t.Errorf("who: %+v, %v", seats, err)
		}
		if seats, err = c.Who(h.ctx, ""); err != nil || len(seats) != 2 {
			t.Errorf("who: %+v, %v", seats, err)
		}
		rooms, err := c.Rooms(h.ctx)
		if err != nil || len(rooms) != 2 {
			t.Errorf("rooms: %+v, %v", rooms, err)
		}
		if err := c.Ping(h.ctx); err != nil || c.Provider().Name != "crier" {
			t.Errorf("ping: %v of %+v", err, c.Provider())
		}
	})
}

func TestSendOnly(t *testing.T) {
	everywhere(t, func(t *testing.T, h *house) {
		x := h.connect(api.Connect{SendOnly: true})
		_, err := x.Receive(h.ctx)
		h.want(err, api.ErrNotNotifiable)
		h.send(x, "to nobody")
	})
}

func TestCloseAfterPostLosesNothing(t *testing.T) {
	everywhere(t, func(t *testing.T, h *house) {
		const many = 5000
		receiver := h.connect(api.Connect{})
		heard := make(chan error, 1)
		go func() {
			for n := range many {
				e, err := receiver.Receive(h.ctx)
				if err != nil || string(e.Payload) != fmt.Sprint(n) {
					heard <- fmt.Errorf("%q in the place of %d, %v", e.Payload, n, err)
					return
				}
			}
			heard <- nil
		}()
		c, err := Dial(h.ctx, h.street.options())
		if err != nil {
			t.Fatal(err)
		}
		x := h.connectBy(c, api.Connect{SendOnly: true})
		for n := range many {
			if err := x.Post(h.ctx, []byte(fmt.Sprint(n))); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		if err := <-heard; err != nil {
			t.Error(err)
		}
		h.want(x.Post(h.ctx, nil), api.ErrClosed)
		_, err = c.Connect(h.ctx, api.Connect{})
		h.want(err, api.ErrClosed)
	})
}

// TestTalkingInReceiveLoops has two clients that answer every message from
// their receive loops, one message with several.
func TestTalkingInReceiveLoops(t *testing.T) {
	everywhere(t, func(t *testing.T, h *house) {
		a, b := h.connect(api.Connect{Name: "a"}), h.connect(api.Connect{Name: "b"})
		var loops sync.WaitGroup
		for _, x := range []*Connection{a, b} {
			loops.Go(func() {
				payload := make([]byte, 10000)
				for range 500 {
					if _, err := x.Send(h.ctx, payload); err != nil {
						t.Errorf("%s: send: %v", x.Name(), err)
						return
					}
					if _, err := x.Receive(h.ctx); err != nil {
						t.Errorf("%s: receive: %v", x.Name(), err)
						return
					}
				}
			})
		}
		loops.Wait()
	})
}

func TestClose(t *testing.T) {
	everywhere(t, func(t *testing.T, h *house) {
		watcher := h.connect(api.Connect{Name: "w", Presence: true})
		h.expect(watcher, api.KindMembers)
		x := h.connect(api.Connect{Name: "x"})
		h.expect(watcher, api.KindJoined)
		h.send(watcher, "1")
		h.hears(x, "1")
		received := make(chan error)
		go func() {
			_, err := x.Receive(h.ctx)
			received <- err
		}()
		for range 2 {
			if err := x.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		}
		h.want(<-received, api.ErrClosed)
		if e := h.expect(watcher, api.KindLeft); e.Reason != api.ReasonClosed || e.From != "x" {
			t.Errorf("event %+v", e)
		}
		_, err := x.Send(h.ctx, nil)
		h.want(err, api.ErrClosed)
		h.want(x.Rename(h.ctx, "y"), api.ErrClosed)
		for _, err := range x.Events(h.ctx) {
			h.want(err, api.ErrClosed)
		}
	})
}

func second[T any](_ T, err error) error { return err }

func TestReceiveMayBeCalledConcurrently(t *testing.T) {
	everywhere(t, func(t *testing.T, h *house) {
		a, b := h.connect(api.Connect{}), h.connect(api.Connect{})
		ctx, cancel := context.WithCancel(h.ctx)
		heard := make(chan string)
		var receivers sync.WaitGroup
		for range 4 {
			receivers.Go(func() {
				for e, err := range b.Events(ctx) {
					if err != nil {
						h.want(err, context.Canceled)
						return
					}
					heard <- string(e.Payload)
				}
			})
		}
		all := map[string]bool{}
		for n := range 500 {
			h.send(a, fmt.Sprint(n))
			all[<-heard] = true
		}
		if len(all) != 500 {
			t.Errorf("%d different messages", len(all))
		}
		cancel()
		receivers.Wait()
	})
}
