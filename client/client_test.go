package client

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"crier.local/api"
	"crier.local/api/wire"
)

func TestDial(t *testing.T) {
	d := newDoor(t)
	c, p := d.dial(Options{})
	defer p.close(c)
	if p.hello.Version != api.WireVersion || p.hello.Instance == (api.InstanceID{}) {
		t.Errorf("hello: %+v", p.hello)
	}
	got := c.Provider()
	if got.String() != "fake@1.2.3" || got.Epoch != d.epoch || got.MaxMessage != d.largest {
		t.Errorf("provider: %+v", got)
	}
	a, err := c.Attached(context.Background(), 0)
	if want := (Attachment{Number: 1, Epoch: d.epoch}); a != want || err != nil {
		t.Errorf("attachment %+v, %v", a, err)
	}
}

func TestDialRefused(t *testing.T) {
	d := newDoor(t)
	wrongVersion, noEpoch := d.welcome(), d.welcome()
	wrongVersion.Welcome.WireVersion++
	noEpoch.Welcome.Epoch = api.Epoch{}
	denied := api.FailureOf(api.ErrDenied)
	for name, test := range map[string]struct {
		answer wire.ProviderEntry
		want   error
	}{
		"denied":       {wire.ProviderEntry{Kind: wire.Farewell, Failure: denied}, api.ErrDenied},
		"going away":   {wire.ProviderEntry{Kind: wire.Farewell, Reason: api.ReasonGoingAway, Final: true}, api.ErrGone},
		"wire version": {wrongVersion, api.ErrVersion},
		"no epoch":     {noEpoch, nil},
		"no welcome":   {wire.ProviderEntry{Kind: wire.Reply, Call: 1}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			dialled := begin(func() (*Client, error) { return Dial(context.Background(), Options{Transport: d}) })
			p := <-d.knocks
			p.expect(wire.Hello)
			p.send(test.answer)
			r := <-dialled
			if r.err == nil {
				t.Fatal("dial succeeded")
			}
			if test.want != nil {
				wantErr(t, r.err, test.want)
			}
			if _, err := p.next(); err == nil {
				t.Error("the stream goes on")
			}
		})
	}
}

func TestDialEndsWithContext(t *testing.T) {
	d := newDoor(t)
	ctx, cancel := context.WithCancel(context.Background())
	dialled := begin(func() (*Client, error) { return Dial(ctx, Options{Transport: d}) })
	p := <-d.knocks
	p.expect(wire.Hello)
	cancel()
	wantErr(t, (<-dialled).err, context.Canceled)
}

func TestDialOfSilentProvider(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDoor(t)
		dialled := begin(func() (*Client, error) { return Dial(context.Background(), Options{Transport: d}) })
		<-d.knocks
		start := time.Now()
		wantErr(t, (<-dialled).err, api.ErrNoProvider)
		if waited := time.Since(start); waited != patience {
			t.Errorf("waited %v", waited)
		}
	})
}

func TestPing(t *testing.T) {
	c, _, p := attached(t)
	done := begin0(func() error { return c.Ping(context.Background()) })
	p.send(wire.ProviderEntry{Kind: wire.Reply, Call: p.expect(wire.Ping).Call})
	must(t, <-done)
}

func TestOpenRefused(t *testing.T) {
	c, _, p := attached(t)
	asked := api.Selector{UUID: "test", Major: 2}
	opened := begin(func() (*Session, error) { return c.Open(context.Background(), asked) })
	refusal := &api.VersionError{Provider: "fake", Asked: asked, Provided: api.Selector{UUID: "test", Major: 1}}
	p.send(wire.ProviderEntry{Kind: wire.Reply, Call: p.expect(wire.Open).Call, Failure: api.FailureOf(refusal)})
	err := (<-opened).err
	if got, ok := errors.AsType[*api.VersionError](err); !ok || *got != *refusal {
		t.Errorf("got %v", err)
	}
}

func TestDesertedOpenIsClosed(t *testing.T) {
	c, _, p := attached(t)
	ctx, cancel := context.WithCancel(context.Background())
	opened := begin(func() (*Session, error) { return c.Open(ctx, api.Selector{UUID: "test"}) })
	e := p.expect(wire.Open)
	cancel()
	wantErr(t, (<-opened).err, context.Canceled)
	p.send(wire.ProviderEntry{Kind: wire.Opened, Call: e.Call, Session: 9})
	if e := p.expect(wire.CloseSession); e.Session != 9 {
		t.Errorf("closed %+v", e)
	}
}

func TestRedial(t *testing.T) {
	d := newDoor(t)
	c, p := d.dial(Options{})
	s := openSession(t, c, p)
	r := p.make(s, 3, windows, windows)
	p.notify([]api.Handle{3}, []byte("last"))
	p.end()

	if body, err := r.Receive(context.Background()); string(body) != "last" || err != nil {
		t.Errorf("received %q, %v", body, err)
	}
	_, err := r.Receive(context.Background())
	wantErr(t, err, api.ErrDisconnected)
	wantErr(t, s.Err(), api.ErrDisconnected)
	_, err = s.Invoke(context.Background(), 0, nil)
	wantErr(t, err, api.ErrDisconnected)
	if errors.Is(err, api.ErrOutcomeUnknown) {
		t.Errorf("nothing was sent, but %v", err)
	}
	_, err = c.Open(context.Background(), api.Selector{UUID: "test"})
	wantErr(t, err, api.ErrDisconnected)

	d.epoch = api.Epoch{2}
	again := d.accept()
	defer again.close(c)
	if again.hello.Instance != p.hello.Instance {
		t.Error("another instance id")
	}
	a, err := c.Attached(context.Background(), 1)
	if want := (Attachment{Number: 2, Epoch: d.epoch}); a != want || err != nil {
		t.Errorf("attachment %+v, %v", a, err)
	}
	if openSession(t, c, again).Attachment() != a {
		t.Error("session of another attachment")
	}
}

func TestRedialPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDoor(t)
		c, p := d.dial(Options{})
		var longest time.Duration
		for range 60 {
			p.end()
			lost := time.Now()
			p = d.accept()
			longest = max(longest, time.Since(lost))
		}
		if longest < time.Second || longest > maxDelay {
			t.Errorf("the longest pause of a provider that comes and goes was %v", longest)
		}
		p.close(c)
	})
}

func TestGiveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDoor(t)
		c, p := d.dial(Options{GiveUpAfter: time.Minute})
		p.end()
		lost := time.Now()
		_, err := c.Attached(context.Background(), 1)
		wantErr(t, err, api.ErrGone)
		if waited := time.Since(lost); waited != time.Minute {
			t.Errorf("gave up after %v", waited)
		}
		_, err = c.Open(context.Background(), api.Selector{UUID: "test"})
		wantErr(t, err, api.ErrGone)
		c.Close()
	})
}

func TestFinalFarewell(t *testing.T) {
	c, s, p := attached(t)
	r := p.make(s, 3, windows, windows)
	p.notify([]api.Handle{3}, []byte("last"))
	p.send(wire.ProviderEntry{Kind: wire.Farewell, Reason: api.ReasonGoingAway, Final: true})
	_, err := c.Attached(context.Background(), 1)
	wantErr(t, err, api.ErrGone)
	body, err := r.Receive(context.Background())
	if string(body) != "last" || err != nil {
		t.Errorf("received %q, %v", body, err)
	}
	for range 2 {
		_, err = r.Receive(context.Background())
		wantErr(t, err, api.ErrGone)
	}
	wantErr(t, r.Post(context.Background(), 0, nil), api.ErrGone)
}

func TestFarewellThatIsNotFinal(t *testing.T) {
	d := newDoor(t)
	c, p := d.dial(Options{})
	s := openSession(t, c, p)
	p.send(wire.ProviderEntry{Kind: wire.Farewell, Reason: api.ReasonLimit, Failure: api.Failure{Code: api.CodeCall, Text: "too greedy"}})
	d.accept().close(c)
	wantErr(t, s.Err(), api.ErrDisconnected)
	if !strings.Contains(s.Err().Error(), "too greedy") {
		t.Errorf("the reason is not in %q", s.Err())
	}
}

// malformed are batches that end an attachment.
func malformed() map[string][]byte {
	encode := func(e wire.ProviderEntry) []byte { return wire.AppendProvider(nil, &e) }
	return map[string][]byte{
		"not protobuf":       {0xff, 0xff, 0xff},
		"entry cut short":    {1<<3 | 2, 200, 1},
		"not an entry":       {1<<3 | 2, 3, 0xff, 0xff, 0xff},
		"session unasked":    encode(wire.ProviderEntry{Kind: wire.Opened, Call: 77, Session: 1}),
		"resource for ping":  encode(wire.ProviderEntry{Kind: wire.Reply, Call: 77, Handle: 5}),
		"welcome cut short":  {1<<3 | 2, 4, 1<<3 | 2, 2, 2<<3 | 2, 9},
		"farewell malformed": {1<<3 | 2, 4, 8<<3 | 2, 2, 1<<3 | 2, 9},
	}
}

func TestMalformedBatch(t *testing.T) {
	for name, data := range malformed() {
		t.Run(name, func(t *testing.T) {
			d := newDoor(t)
			c, p := d.dial(Options{})
			s := openSession(t, c, p)
			c.link.mu.Lock()
			c.link.lastCall = 76
			c.link.mu.Unlock()
			pinged := begin0(func() error { return c.Ping(context.Background()) })
			p.expect(wire.Ping)
			p.raw(data)
			wantErr(t, (<-pinged).err, api.ErrDisconnected)
			d.accept().close(c)
			if err := s.Err(); !strings.Contains(err.Error(), "malformed") {
				t.Errorf("the session ended with %v", err)
			}
		})
	}
}

func TestUnknownEntriesAreIgnored(t *testing.T) {
	c, _, p := attached(t)
	pinged := begin0(func() error { return c.Ping(context.Background()) })
	e := p.expect(wire.Ping)
	data := []byte{1<<3 | 2, 4, 15<<3 | 2, 2, 1, 2, 2 << 3, 1} // an entry of kind 15, and a field beside the entries
	p.raw(wire.AppendProvider(data, &wire.ProviderEntry{Kind: wire.Notification, Handles: []api.Handle{99}}))
	p.send(
		wire.ProviderEntry{Kind: wire.Reply, Call: 12345},
		wire.ProviderEntry{Kind: wire.Posted, Handle: 99, Ended: 3},
		wire.ProviderEntry{Kind: wire.Closed, Handle: 99, Reason: api.ReasonClosed},
		wire.ProviderEntry{Kind: wire.ReturnCredit, Handle: 99, Bytes: 5},
		wire.ProviderEntry{Kind: wire.Reply, Call: e.Call},
	)
	must(t, <-pinged)
}

func TestCloseIsOrderly(t *testing.T) {
	c, p := newDoor(t).dial(Options{})
	s := openSession(t, c, p)
	r := p.make(s, 3, windows, windows)
	if err := r.Post(context.Background(), 1, []byte("hi")); err != nil {
		t.Fatal(err)
	}
	closed := begin0(c.Close)
	p.expect(wire.Invoke)
	e := p.expect(wire.CloseSession)
	if e.Session != 7 {
		t.Errorf("closed session %d", e.Session)
	}
	p.send(wire.ProviderEntry{Kind: wire.Reply, Call: e.Call})
	must(t, <-closed)
	if _, err := p.next(); err == nil {
		t.Error("the stream goes on")
	}
	for _, err := range []error{
		s.Err(), r.Err(), r.Post(context.Background(), 1, nil), c.Ping(context.Background()), c.Close(), s.Close(), r.Close(),
	} {
		if err != nil && err != api.ErrClosed {
			t.Errorf("got %v after close", err)
		}
	}
	_, err := r.Receive(context.Background())
	wantErr(t, err, api.ErrClosed)
	_, err = c.Attached(context.Background(), 0)
	wantErr(t, err, api.ErrClosed)
}

func TestCloseDoesNotWaitForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := newDoor(t).dial(Options{})
		s := openSession(t, c, p)
		invoked := begin(func() ([]byte, error) { return s.Invoke(context.Background(), 0, nil) })
		p.expect(wire.Invoke)
		start := time.Now()
		c.Close()
		if waited := time.Since(start); waited != closeWait {
			t.Errorf("close took %v", waited)
		}
		wantErr(t, (<-invoked).err, api.ErrOutcomeUnknown, api.ErrClosed)
		if _, err := c.Open(context.Background(), api.Selector{UUID: "test"}); err != api.ErrClosed {
			t.Errorf("open after close: %v", err)
		}
	})
}

func TestCloseWhileRedialling(t *testing.T) {
	d := newDoor(t)
	c, p := d.dial(Options{})
	p.end()
	<-d.knocks // the hello of a client that nobody welcomes
	waiting := begin(func() (Attachment, error) { return c.Attached(context.Background(), 1) })
	c.Close()
	wantErr(t, (<-waiting).err, api.ErrClosed)
}
