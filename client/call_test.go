package client

import (
	"context"
	"encoding/binary"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"crier.local/api"
	"crier.local/api/wire"
)

func TestInvoke(t *testing.T) {
	_, s, p := attached(t)
	invoked := begin(func() ([]byte, error) { return s.Invoke(context.Background(), 5, []byte("args")) })
	e := p.expect(wire.Invoke)
	if e.Call == 0 || e.Session != 7 || e.Method != 5 || e.Handle != 0 || string(e.Args) != "args" || e.Timeout != 0 {
		t.Errorf("sent %+v", e)
	}
	p.send(wire.ProviderEntry{Kind: wire.Reply, Call: e.Call, Body: []byte("result")})
	if body := must(t, <-invoked); string(body) != "result" {
		t.Errorf("got %q", body)
	}
}

func TestInvokeRefused(t *testing.T) {
	_, s, p := attached(t)
	for _, want := range []error{&api.CallError{Text: "no", AppCode: 4}, api.ErrNameTaken, &api.EvictedError{Reason: api.ReasonSlow}} {
		invoked := begin(func() ([]byte, error) { return s.Invoke(context.Background(), 5, nil) })
		e := p.expect(wire.Invoke)
		p.send(wire.ProviderEntry{Kind: wire.Reply, Call: e.Call, Failure: api.FailureOf(want)})
		if err := (<-invoked).err; err.Error() != want.Error() || api.CodeOf(err) != api.CodeOf(want) {
			t.Errorf("got %v, want %v", err, want)
		}
	}
}

func TestTooLargeIsNotSent(t *testing.T) {
	c, s, p := attached(t)
	r := p.make(s, 3, windows, windows)
	large := make([]byte, 1<<20+api.ArgsSlack+1)
	_, err := s.Invoke(context.Background(), 5, large)
	wantErr(t, err, api.ErrTooLarge)
	wantErr(t, r.Post(context.Background(), 5, large), api.ErrTooLarge)
	go c.Ping(context.Background())
	p.expect(wire.Ping)
}

func TestInvokeCanceled(t *testing.T) {
	_, s, p := attached(t)
	ctx, cancel := context.WithCancel(context.Background())
	invoked := begin(func() ([]byte, error) { return s.Invoke(ctx, 5, nil) })
	e := p.expect(wire.Invoke)
	cancel()
	wantErr(t, (<-invoked).err, context.Canceled, api.ErrOutcomeUnknown)
	if c := p.expect(wire.Cancel); c.Call != e.Call {
		t.Errorf("canceled %d, not %d", c.Call, e.Call)
	}
	_, err := s.Invoke(ctx, 5, nil)
	if err != context.Canceled {
		t.Errorf("a context that is over gave %v", err)
	}
}

func TestInvokeDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := newDoor(t).dial(Options{})
		s := openSession(t, c, p)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		invoked := begin(func() ([]byte, error) { return s.Invoke(ctx, 5, nil) })
		if e := p.expect(wire.Invoke); e.Timeout != time.Second {
			t.Errorf("timeout %v", e.Timeout)
		}
		wantErr(t, (<-invoked).err, context.DeadlineExceeded, api.ErrOutcomeUnknown)
		p.expect(wire.Cancel)
		p.close(c)
	})
}

func TestOutcomeUnknownAtLinkLoss(t *testing.T) {
	_, s, p := attached(t)
	r := p.make(s, 3, windows, windows)
	invoked := begin(func() ([]byte, error) { return r.Invoke(context.Background(), 5, nil) })
	p.expect(wire.Invoke)
	p.end()
	wantErr(t, (<-invoked).err, api.ErrOutcomeUnknown, api.ErrDisconnected)
}

func TestUnwantedResourceIsClosed(t *testing.T) {
	_, s, p := attached(t)
	ctx, cancel := context.WithCancel(context.Background())
	canceled := begin(func() ([]byte, error) { _, b, err := s.InvokeResource(ctx, 5, nil); return b, err })
	e := p.expect(wire.Invoke)
	cancel()
	wantErr(t, (<-canceled).err, context.Canceled)
	p.expect(wire.Cancel)
	p.send(wire.ProviderEntry{Kind: wire.Reply, Call: e.Call, Handle: 11})
	if e := p.expect(wire.CloseResource); e.Handle != 11 || e.Session != 7 {
		t.Errorf("closed %+v", e)
	}

	invoked := begin(func() ([]byte, error) { return s.Invoke(context.Background(), 5, nil) })
	e = p.expect(wire.Invoke)
	p.send(wire.ProviderEntry{Kind: wire.Reply, Call: e.Call, Handle: 13})
	must(t, <-invoked)
	if e := p.expect(wire.CloseResource); e.Handle != 13 {
		t.Errorf("closed %+v", e)
	}
}

func TestCallNumbersAreUnique(t *testing.T) {
	c, s, p := attached(t)
	first := begin(func() ([]byte, error) { return s.Invoke(context.Background(), 5, nil) })
	taken := p.expect(wire.Invoke).Call
	c.link.mu.Lock()
	c.link.lastCall = taken - 1
	c.link.mu.Unlock()
	second := begin(func() ([]byte, error) { return s.Invoke(context.Background(), 5, nil) })
	next := p.expect(wire.Invoke).Call
	c.link.mu.Lock()
	c.link.lastCall = ^uint32(0)
	c.link.mu.Unlock()
	third := begin(func() ([]byte, error) { return s.Invoke(context.Background(), 5, nil) })
	wrapped := p.expect(wire.Invoke).Call
	if next == taken || wrapped == 0 || wrapped == taken || wrapped == next {
		t.Errorf("numbers %d, %d, %d", taken, next, wrapped)
	}
	for _, call := range []uint32{wrapped, next, taken} {
		p.send(wire.ProviderEntry{Kind: wire.Reply, Call: call})
	}
	must(t, <-first)
	must(t, <-second)
	must(t, <-third)
}

func TestSessionClose(t *testing.T) {
	_, s, p := attached(t)
	r := p.make(s, 3, windows, windows)
	received := begin(func() ([]byte, error) { return r.Receive(context.Background()) })
	closed := begin0(s.Close)
	e := p.expect(wire.CloseSession)
	p.notify([]api.Handle{3}, []byte("too late"))
	p.send(wire.ProviderEntry{Kind: wire.Reply, Call: e.Call})
	must(t, <-closed)
	wantErr(t, (<-received).err, api.ErrClosed)
	_, err := s.Invoke(context.Background(), 0, nil)
	wantErr(t, err, api.ErrClosed)
}

// echo answers as a provider would whose methods return their arguments, and
// which notifies handle 3 of everything posted to it.
func (p *peer) echo() {
	for {
		e, err := p.next()
		if err != nil {
			return
		}
		reply := wire.ProviderEntry{Kind: wire.Reply, Call: e.Call, Body: e.Args}
		switch {
		case e.Kind == wire.GrantCredit || e.Kind == wire.Flush || e.Kind == wire.Cancel:
		case e.Kind == wire.Invoke && e.Call == 0:
			p.send(
				*notification([]api.Handle{e.Handle}, e.Args),
				wire.ProviderEntry{Kind: wire.Posted, Handle: e.Handle, Ended: 1, Bytes: uint32(api.Charge(len(e.Args)))},
			)
		case e.Kind == wire.Invoke && e.Handle != 0:
			p.send(reply, wire.ProviderEntry{Kind: wire.Posted, Handle: e.Handle, Bytes: uint32(api.Charge(len(e.Args)))})
		default:
			p.send(reply)
		}
	}
}

func TestConcurrency(t *testing.T) {
	c, p := newDoor(t).dial(Options{})
	s := openSession(t, c, p)
	r := p.make(s, 3, 1000, 1000)
	go p.echo()
	const workers, each = 16, 200
	var posts, receipts sync.WaitGroup
	seen := make(chan uint32, workers*each)
	for w := range workers {
		posts.Go(func() {
			for i := range each {
				args := binary.BigEndian.AppendUint32(nil, uint32(w*each+i))
				if err := r.Post(context.Background(), 1, args); err != nil {
					t.Errorf("post: %v", err)
				}
				if i%10 == 0 {
					body, err := r.Invoke(context.Background(), 2, args)
					if string(body) != string(args) || err != nil {
						t.Errorf("got %x, %v; want %x", body, err, args)
					}
				}
			}
			if _, err := r.Flush(context.Background()); err != nil {
				t.Errorf("flush: %v", err)
			}
		})
	}
	for range 4 {
		receipts.Go(func() {
			for body, err := range r.Notifications(context.Background()) {
				if err != nil {
					wantErr(t, err, api.ErrClosed)
					return
				}
				seen <- binary.BigEndian.Uint32(body)
			}
		})
	}
	posts.Wait()
	all := map[uint32]bool{}
	for range workers * each {
		all[<-seen] = true
	}
	if len(all) != workers*each {
		t.Errorf("%d different notifications", len(all))
	}
	c.Close()
	receipts.Wait()
}

func TestOrderOfOneGoroutine(t *testing.T) {
	_, s, p := attached(t)
	r := p.make(s, 3, windows, windows)
	go func() {
		for i := range 100 {
			if i%7 == 0 {
				ctx, cancel := context.WithCancel(context.Background())
				cancel()
				r.Invoke(ctx, 9, nil) // not sent
			}
			r.Post(context.Background(), api.Method(i), nil)
		}
		r.Invoke(context.Background(), 100, nil)
	}()
	for i := range 101 {
		if e := p.expect(wire.Invoke); e.Method != api.Method(i) {
			t.Fatalf("got method %d in place %d", e.Method, i)
		}
	}
}

func TestOutboxIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := newDoor(t).dial(Options{})
		r := p.make(openSession(t, c, p), 2, 1<<30, 0)
		const size = 60000
		ctx, cancel := context.WithCancel(context.Background())
		var sent atomic.Int64
		flood := begin0(func() error {
			for {
				if err := r.Post(ctx, 1, make([]byte, size)); err != nil {
					return err
				}
				sent.Add(1)
			}
		})
		synctest.Wait()                                                   // until nothing goes on
		const held = 2*outboxLimit + 17*(wire.BatchSize+wire.BatchSize/4) // in the outbox, the writer's hands and the stream
		if n := sent.Load() * size; n > held || n < outboxLimit {
			t.Errorf("%d bytes of posts went in, %d at most should", n, held)
		}
		cancel()
		wantErr(t, (<-flood).err, context.Canceled)
		for range sent.Load() {
			p.expect(wire.Invoke)
		}
		if err := r.Post(context.Background(), 1, nil); err != nil {
			t.Error(err)
		}
		p.close(c)
	})
}

// TestReaderNeverWaits has a provider that reads nothing while the client's
// outbox is full of posts, and yet is heard.
func TestReaderNeverWaits(t *testing.T) {
	_, s, p := attached(t)
	r := p.make(s, 3, 1<<30, 64<<10)
	ctx, cancel := context.WithCancel(context.Background())
	flood := begin0(func() error {
		for {
			if err := r.Post(ctx, 1, make([]byte, 30000)); err != nil {
				return err
			}
		}
	})
	body := make([]byte, 1000)
	for range 2000 { // many windows, as a provider may that has none
		p.notify([]api.Handle{3}, body)
		if _, err := r.Receive(within(t, time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	wantErr(t, (<-flood).err, context.Canceled)
	granted := 0
	for granted < 2000*api.Charge(1000)-32<<10 {
		e, err := p.next()
		if err != nil {
			t.Fatal(err)
		}
		granted += int(e.Bytes)
	}
}
