package client

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.uber.org/goleak"

	"crier.local/api"
	"crier.local/api/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// door is where a test, as the provider, lets clients in.
type door struct {
	t       testing.TB
	knocks  chan *peer
	epoch   api.Epoch
	largest int
}

func newDoor(t testing.TB) *door {
	return &door{t: t, knocks: make(chan *peer), epoch: api.Epoch{1}, largest: 1 << 20}
}

// Attach implements wire.Transport.
func (d *door) Attach(ctx context.Context) (wire.Stream, error) {
	client, provider, done := wire.Pipe(ctx)
	select {
	case d.knocks <- &peer{t: d.t, stream: provider, end: done}:
		return client, nil
	case <-ctx.Done():
		done()
		return nil, ctx.Err()
	}
}

// peer is the provider's end of a stream, played by the test entry by entry.
type peer struct {
	t      testing.TB
	stream wire.Stream
	end    func()
	unread wire.Reader
	hello  wire.ClientEntry
}

// next returns the client's next entry, or the error that ended the stream.
func (p *peer) next() (wire.ClientEntry, error) {
	for {
		var e wire.ClientEntry
		if more, err := p.unread.NextClient(&e); more || err != nil {
			return e, err
		}
		var b wire.Batch
		if err := p.stream.Recv(&b); err != nil {
			return e, err
		}
		p.unread = wire.NewReader(b.Data)
	}
}

// expect returns the client's next entry, which must be of the given kind.
func (p *peer) expect(kind wire.ClientKind) wire.ClientEntry {
	p.t.Helper()
	e, err := p.next()
	if err != nil {
		p.t.Fatalf("want an entry of kind %d, the stream ended: %v", kind, err)
	}
	if e.Kind != kind {
		p.t.Fatalf("want an entry of kind %d, got %+v", kind, e)
	}
	return e
}

// send sends entries as one batch.
func (p *peer) send(entries ...wire.ProviderEntry) {
	p.t.Helper()
	var data []byte
	for i := range entries {
		data = wire.AppendProvider(data, &entries[i])
	}
	p.raw(data)
}

func (p *peer) raw(data []byte) {
	p.t.Helper()
	if err := p.stream.Send(&wire.Batch{Data: data}); err != nil {
		p.t.Fatalf("send: %v", err)
	}
}

// accept lets the next client in and welcomes it.
func (d *door) accept() *peer {
	d.t.Helper()
	p := <-d.knocks
	p.hello = p.expect(wire.Hello)
	p.send(d.welcome())
	return p
}

func (d *door) welcome() wire.ProviderEntry {
	return wire.ProviderEntry{Kind: wire.Welcome, Welcome: wire.Terms{
		WireVersion: api.WireVersion, Epoch: d.epoch, Name: "fake", Version: api.Version{Major: 1, Minor: 2, Patch: 3},
		MaxMessage: d.largest,
	}}
}

// result is what a call in a goroutine of its own returned.
type result[T any] struct {
	value T
	err   error
}

// begin calls f in a goroutine of its own.
func begin[T any](f func() (T, error)) <-chan result[T] {
	done := make(chan result[T], 1)
	go func() {
		v, err := f()
		done <- result[T]{v, err}
	}()
	return done
}

// begin0 is begin for functions that return only an error.
func begin0(f func() error) <-chan result[struct{}] {
	return begin(func() (struct{}, error) { return struct{}{}, f() })
}

// must returns the result of a call that has to succeed.
func must[T any](t testing.TB, r result[T]) T {
	t.Helper()
	if r.err != nil {
		t.Fatal(r.err)
	}
	return r.value
}

// dial returns a client and the peer that welcomed it.
func (d *door) dial(o Options) (*Client, *peer) {
	d.t.Helper()
	o.Transport = d
	dialled := begin(func() (*Client, error) { return Dial(context.Background(), o) })
	p := d.accept()
	return must(d.t, <-dialled), p
}

// attached returns a client with a session, numbered 7.
func attached(t testing.TB) (*Client, *Session, *peer) {
	t.Helper()
	c, p := newDoor(t).dial(Options{})
	t.Cleanup(func() { p.close(c) })
	return c, openSession(t, c, p), p
}

func openSession(t testing.TB, c *Client, p *peer) *Session {
	t.Helper()
	opened := begin(func() (*Session, error) {
		return c.Open(context.Background(), api.Selector{UUID: "test", Major: 1})
	})
	e := p.expect(wire.Open)
	p.send(wire.ProviderEntry{Kind: wire.Opened, Call: e.Call, Session: 7, Provided: e.Selector})
	return must(t, <-opened)
}

// close ends the stream from the provider's side and closes the client.
func (p *peer) close(c *Client) {
	p.end()
	if err := c.Close(); err != nil {
		p.t.Errorf("close: %v", err)
	}
}

// windows are those of the resources that make returns, unless said otherwise.
const windows = 1 << 20

// make returns a resource of s with the given handle and windows.
func (p *peer) make(s *Session, h api.Handle, send, receive uint32) *Resource {
	p.t.Helper()
	made := begin(func() (*Resource, error) {
		r, _, err := s.InvokeResource(context.Background(), 0, nil)
		return r, err
	})
	e := p.expect(wire.Invoke)
	p.send(wire.ProviderEntry{Kind: wire.Reply, Call: e.Call, Handle: h, SendWindow: send, ReceiveWindow: receive})
	return must(p.t, <-made)
}

// notify sends bodies to handles in one batch, each in an entry of its own.
func (p *peer) notify(handles []api.Handle, bodies ...[]byte) {
	p.t.Helper()
	var data []byte
	for _, body := range bodies {
		data = wire.AppendProvider(data, notification(handles, body))
	}
	p.raw(data)
}

// notifyRow sends bodies to handles in one entry.
func (p *peer) notifyRow(handles []api.Handle, bodies ...[]byte) {
	p.t.Helper()
	p.raw(wire.AppendProvider(nil, notification(handles, bodies...)))
}

// notification is the entry of notifications in a row.
func notification(handles []api.Handle, bodies ...[]byte) *wire.ProviderEntry {
	e := &wire.ProviderEntry{Kind: wire.Notification, Handles: handles}
	for _, body := range bodies {
		e.Bodies = e.Bodies.Append(body)
	}
	return e
}

// within returns a context that ends after d.
func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// wantErr fails the test unless err is each of the targets.
func wantErr(t testing.TB, err error, targets ...error) {
	t.Helper()
	for _, target := range targets {
		if !errors.Is(err, target) {
			t.Errorf("got error %v, want %v", err, target)
		}
	}
}
