package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"crier.local/api"
	"crier.local/api/wire"
)

func TestNotificationRightBehindReply(t *testing.T) {
	_, s, p := attached(t)
	made := begin(func() (*Resource, error) {
		r, _, err := s.InvokeResource(context.Background(), 0, nil)
		return r, err
	})
	e := p.expect(wire.Invoke)
	p.send(
		*notification([]api.Handle{5}, []byte("before")),
		wire.ProviderEntry{Kind: wire.Reply, Call: e.Call, Handle: 5, ReceiveWindow: windows},
		*notification([]api.Handle{5}, []byte("after")),
		wire.ProviderEntry{Kind: wire.Closed, Handle: 5, Reason: api.ReasonClosed},
	)
	r := must(t, <-made)
	if got := drain(r); fmt.Sprint(got) != "[after closed]" {
		t.Errorf("received %v", got)
	}
}

// drain returns what r has to offer, and in the end the error.
func drain(r *Resource) (all []string) {
	for body, err := range r.Notifications(context.Background()) {
		if err != nil {
			return append(all, err.Error())
		}
		all = append(all, string(body))
	}
	return all
}

func TestClosed(t *testing.T) {
	_, s, p := attached(t)
	evicted := &api.EvictedError{Reason: api.ReasonSlow, Note: "asleep"}
	for name, test := range map[string]struct {
		closed wire.ProviderEntry
		want   error
		got    string
	}{
		"in order":       {wire.ProviderEntry{Reason: api.ReasonClosed}, api.ErrClosed, "[a b closed]"},
		"last body":      {wire.ProviderEntry{Reason: api.ReasonClosed, Body: []byte("bye")}, api.ErrClosed, "[a b bye closed]"},
		"empty body":     {wire.ProviderEntry{Reason: api.ReasonClosed, Body: []byte{}}, api.ErrClosed, "[a b  closed]"},
		"evicted":        {wire.ProviderEntry{Reason: api.ReasonSlow, Note: "asleep"}, evicted, "[a b evicted: slow: asleep]"},
		"going away":     {wire.ProviderEntry{Reason: api.ReasonGoingAway}, api.ErrGone, "[a b provider gone]"},
		"going in words": {wire.ProviderEntry{Reason: api.ReasonGoingAway, Note: "upgrade"}, api.ErrGone, "[a b provider gone: upgrade]"},
	} {
		t.Run(name, func(t *testing.T) {
			r := p.make(s, 3, windows, windows)
			test.closed.Kind, test.closed.Handle = wire.Closed, 3
			p.notify([]api.Handle{3}, []byte("a"), []byte("b"))
			p.send(test.closed)
			if got := fmt.Sprint(drain(r)); got != test.got {
				t.Errorf("received %s, want %s", got, test.got)
			}
			_, err := r.Receive(context.Background())
			want := test.want
			if errors.Is(want, api.ErrEvicted) {
				want = api.ErrEvicted
			}
			wantErr(t, err, want)
			wantErr(t, r.Err(), want)
			wantErr(t, r.Post(context.Background(), 0, nil), want)
			if err := r.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		})
	}
}

func TestNotNotifiable(t *testing.T) {
	_, s, p := attached(t)
	_, err := p.make(s, 4, windows, 0).Receive(context.Background())
	wantErr(t, err, api.ErrNotNotifiable)
}

func TestReceiveEndsWithContext(t *testing.T) {
	_, s, p := attached(t)
	r := p.make(s, 3, windows, windows)
	ctx, cancel := context.WithCancel(context.Background())
	received := begin(func() ([]byte, error) { return r.Receive(ctx) })
	cancel()
	wantErr(t, (<-received).err, context.Canceled)
}

func TestSharedNotification(t *testing.T) {
	_, s, p := attached(t)
	all := []api.Handle{3, 5, 7}
	var resources []*Resource
	for _, h := range all {
		resources = append(resources, p.make(s, h, windows, windows))
	}
	p.notify(all, []byte("a"), []byte("b"))
	p.notify([]api.Handle{5, 99}, []byte("c"))
	p.notify(all[:1], []byte("d"))
	for _, h := range all {
		p.send(wire.ProviderEntry{Kind: wire.Closed, Handle: h, Reason: api.ReasonClosed})
	}
	var bodies [3][]byte
	for i, want := range []string{"[b d closed]", "[b c closed]", "[b closed]"} {
		bodies[i], _ = resources[i].Receive(context.Background())
		if got := fmt.Sprint(drain(resources[i])); got != want {
			t.Errorf("resource %d received %s, want %s", i, got, want)
		}
	}
	if &bodies[0][0] != &bodies[1][0] {
		t.Error("the body is not shared")
	}
}

func TestCloseResource(t *testing.T) {
	_, s, p := attached(t)
	r := p.make(s, 3, windows, windows)
	p.notify([]api.Handle{3}, []byte("a"))
	if body, err := r.Receive(context.Background()); string(body) != "a" || err != nil {
		t.Fatalf("received %q, %v", body, err)
	}
	closed := begin0(r.Close)
	e := p.expect(wire.CloseResource)
	if e.Handle != 3 || e.Session != 7 {
		t.Errorf("sent %+v", e)
	}
	p.notify([]api.Handle{3}, []byte("too late"))
	p.send(wire.ProviderEntry{Kind: wire.Reply, Call: e.Call})
	must(t, <-closed)
	if got := fmt.Sprint(drain(r)); got != "[closed]" {
		t.Errorf("received %s", got)
	}
}

// receive takes n notifications.
func receive(t testing.TB, r *Resource, n int) {
	t.Helper()
	for range n {
		if _, err := r.Receive(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
}

// expectGrant fails the test unless the next entry grants that credit.
func (p *peer) expectGrant(bytes int) {
	p.t.Helper()
	if e := p.expect(wire.GrantCredit); e.Bytes != uint32(bytes) || e.Handle != 3 {
		p.t.Errorf("granted %d to %d, want %d", e.Bytes, e.Handle, bytes)
	}
}

func TestCredit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := newDoor(t).dial(Options{})
		s := openSession(t, c, p)
		r := p.make(s, 3, windows, 256<<10)
		charge := 1 << 10
		body := make([]byte, charge-api.EntryCharge)
		many := make([][]byte, 1000)
		for i := range many {
			many[i] = body
		}

		// Half a window.
		p.notify([]api.Handle{3}, many...)
		synctest.Wait()
		receive(t, r, 128)
		p.expectGrant(128 << 10)

		// A slow receiver shows that it moves: the clock is looked at every 16 KiB.
		receive(t, r, 15)
		<-time.After(creditPause)
		receive(t, r, 1)
		p.expectGrant(16 << 10)
		receive(t, r, 30)
		<-time.After(creditPause)
		receive(t, r, 1)
		receive(t, r, 1)
		p.expectGrant(32 << 10)

		// Nothing is left, which is not worth the entry, and then is: 56 KiB, and 64.
		receive(t, r, 1000-128-16-32)
		for range 6 {
			p.expectGrant(128 << 10)
		}
		p.notify([]api.Handle{3}, many[:7]...)
		synctest.Wait()
		receive(t, r, 7)
		go c.Ping(context.Background())
		p.expect(wire.Ping)
		p.notifyRow([]api.Handle{3}, many[:2]...)
		synctest.Wait()
		receive(t, r, 1) // one is left
		go c.Ping(context.Background())
		p.expect(wire.Ping)
		receive(t, r, 1)
		p.expectGrant(65 << 10)
		p.close(c)
	})
}

func TestCreditOfSmallWindow(t *testing.T) {
	_, s, p := attached(t)
	r := p.make(s, 3, windows, 100)
	p.notify([]api.Handle{3}, make([]byte, 5000))
	receive(t, r, 1)
	p.expectGrant(api.Charge(5000))
}

func TestSendWindow(t *testing.T) {
	c, s, p := attached(t)
	r := p.make(s, 3, 1000, windows)
	post := func() error { return r.Post(context.Background(), 1, make([]byte, 500)) }
	for range 2 { // 436 left, then overdrawn: any credit lets one go
		if err := post(); err != nil {
			t.Fatal(err)
		}
		if e := p.expect(wire.Invoke); e.Call != 0 || e.Handle != 3 || e.Method != 1 {
			t.Errorf("sent %+v", e)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	waiting := begin0(func() error { return r.Post(ctx, 1, nil) })
	cancel()
	wantErr(t, (<-waiting).err, context.Canceled)

	for _, returned := range []wire.ProviderEntry{
		{Kind: wire.Posted, Handle: 3, Ended: 1, Bytes: 129},
		{Kind: wire.ReturnCredit, Handle: 3, Bytes: 565},
	} {
		again := begin0(post)
		invoked := begin(func() ([]byte, error) { return s.Invoke(context.Background(), 2, nil) })
		p.send(wire.ProviderEntry{Kind: wire.Reply, Call: p.expect(wire.Invoke).Call}) // is not charged
		must(t, <-invoked)
		p.send(returned)
		p.expect(wire.Invoke)
		must(t, <-again)
	}

	invoked := begin(func() ([]byte, error) { return r.Invoke(context.Background(), 2, nil) })
	p.send(wire.ProviderEntry{Kind: wire.Posted, Handle: 3, Bytes: 1000})
	p.send(wire.ProviderEntry{Kind: wire.Reply, Call: p.expect(wire.Invoke).Call})
	must(t, <-invoked)
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	if want := 1000 - 4*564 - 64 + 129 + 565 + 1000; r.window != want {
		t.Errorf("window is %d, want %d", r.window, want)
	}
}

func TestWaitingPostsEndWithTheResource(t *testing.T) {
	_, s, p := attached(t)
	r := p.make(s, 3, 1, windows)
	post := func() error { return r.Post(context.Background(), 1, nil) }
	if err := post(); err != nil {
		t.Fatal(err)
	}
	p.expect(wire.Invoke)
	waiting := begin0(post)
	p.send(wire.ProviderEntry{Kind: wire.Closed, Handle: 3, Reason: api.ReasonSlow})
	wantErr(t, (<-waiting).err, api.ErrEvicted)
}

func TestInvokeThatCrossesTheEnd(t *testing.T) {
	_, s, p := attached(t)
	r := p.make(s, 3, windows, windows)
	invoked := begin(func() ([]byte, error) { return r.Invoke(context.Background(), 1, nil) })
	e := p.expect(wire.Invoke)
	p.send(
		wire.ProviderEntry{Kind: wire.Closed, Handle: 3, Reason: api.ReasonSlow},
		wire.ProviderEntry{Kind: wire.Reply, Call: e.Call, Failure: api.FailureOf(api.ErrUnknownHandle)},
	)
	wantErr(t, (<-invoked).err, api.ErrEvicted)
}

func TestFlush(t *testing.T) {
	_, s, p := attached(t)
	r := p.make(s, 3, windows, windows)
	flush := func() (Flushed, error) { return r.Flush(context.Background()) }
	if got, err := flush(); got != (Flushed{}) || err != nil {
		t.Errorf("flush of nothing: %+v, %v", got, err)
	}
	for range 5 {
		r.Post(context.Background(), 1, nil)
		p.expect(wire.Invoke)
	}
	p.send(wire.ProviderEntry{Kind: wire.Posted, Handle: 3, Ended: 2, Refused: 1, Failure: api.FailureOf(api.ErrFull)})

	flushed := begin(flush)
	p.expect(wire.Flush)
	r.Post(context.Background(), 1, nil) // later: not waited for
	p.expect(wire.Invoke)

	ctx, cancel := context.WithCancel(context.Background())
	canceled := begin(func() (Flushed, error) { return r.Flush(ctx) })
	p.expect(wire.Flush)
	cancel()
	wantErr(t, (<-canceled).err, context.Canceled)

	p.send(wire.ProviderEntry{Kind: wire.Posted, Handle: 3, Ended: 2, Refused: 1, Failure: api.FailureOf(api.ErrDenied)})
	p.send(wire.ProviderEntry{Kind: wire.Posted, Handle: 3, Ended: 1})
	want := Flushed{Ended: 5, Refused: 2, Err: api.ErrFull}
	if got := must(t, <-flushed); got != want {
		t.Errorf("flushed %+v, want %+v", got, want)
	}

	flushed = begin(flush) // asked for already, by the one that was canceled
	p.send(wire.ProviderEntry{Kind: wire.Posted, Handle: 3, Ended: 1 << 30})
	if got := must(t, <-flushed); got != (Flushed{Ended: 1}) {
		t.Errorf("flushed %+v", got)
	}
}

func TestFlushWhenTheOutcomeIsUnknown(t *testing.T) {
	_, s, p := attached(t)
	r := p.make(s, 3, windows, windows)
	for range 3 {
		r.Post(context.Background(), 1, nil)
	}
	flushed := begin(func() (Flushed, error) { return r.Flush(context.Background()) })
	for range 3 {
		p.expect(wire.Invoke)
	}
	p.expect(wire.Flush)
	p.send(wire.ProviderEntry{Kind: wire.Posted, Handle: 3, Ended: 1})
	p.end()
	got := <-flushed
	wantErr(t, got.err, api.ErrOutcomeUnknown, api.ErrDisconnected)
	if got.value != (Flushed{Ended: 1}) {
		t.Errorf("flushed %+v", got.value)
	}
	if again, err := r.Flush(context.Background()); again != (Flushed{}) || err != nil {
		t.Errorf("told twice: %+v, %v", again, err)
	}
}

func TestLargePostsArriveWhole(t *testing.T) {
	_, s, p := attached(t)
	r := p.make(s, 3, 1<<30, windows)
	go func() {
		for n := 1; n <= 1<<20; n *= 2 {
			r.Post(context.Background(), 1, bytes.Repeat([]byte{byte(n % 251)}, n))
		}
	}()
	for n := 1; n <= 1<<20; n *= 2 {
		if e := p.expect(wire.Invoke); !bytes.Equal(e.Args, bytes.Repeat([]byte{byte(n % 251)}, n)) {
			t.Errorf("%d bytes arrived as %d", n, len(e.Args))
		}
	}
}
