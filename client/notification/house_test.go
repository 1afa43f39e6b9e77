package notification

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"crier.local/api"
	"crier.local/api/tlstest"
	"crier.local/api/wire"
	"crier.local/client"
	"crier.local/provider"
	service "crier.local/provider/notification"
)

// house is a provider, and a way to it that a test can cut.
type house struct {
	t        testing.TB
	ctx      context.Context // ends when the test has taken far too long
	options  provider.Options
	provider *provider.Provider
	street   street
	serve    func(*provider.Provider) // lets clients come to it
}

// street is how clients come to the provider.
type street interface {
	// options are those to dial with.
	options() client.Options
	// cut breaks all links, and keeps others from being made until open.
	cut()
	open()
}

// everywhere runs a test inside this process, over a unix socket, and over TCP
// with TLS.
func everywhere(t *testing.T, test func(t *testing.T, h *house)) {
	t.Run("local", func(t *testing.T) { test(t, newLocalHouse(t)) })
	t.Run("unix", func(t *testing.T) { test(t, newUnixHouse(t)) })
	t.Run("tls", func(t *testing.T) { test(t, newTLSHouse(t)) })
}

func newHouse(t testing.TB, s street, serve func(*provider.Provider)) *house {
	return newHouseWith(t, provider.Options{}, s, serve)
}

func newHouseWith(t testing.TB, o provider.Options, s street, serve func(*provider.Provider)) *house {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	h := &house{t: t, ctx: ctx, options: o, street: s, serve: serve}
	t.Cleanup(func() {
		cancel()
		h.provider.Close()
	})
	h.start(api.NotificationSelector, service.Options{})
	return h
}

// start starts a provider of the given version of the service.
func (h *house) start(s api.Selector, o service.Options) {
	h.t.Helper()
	h.provider = provider.New(h.options)
	if err := h.provider.Provide(s, service.New(o), provider.ServiceOptions{}); err != nil {
		h.t.Fatal(err)
	}
	h.serve(h.provider)
}

// restart puts another provider in the place of the first, as after a crash.
func (h *house) restart(s api.Selector, o service.Options) {
	h.t.Helper()
	h.street.cut()
	h.provider.Close()
	h.start(s, o)
	h.street.open()
}

// dial returns a client of its own.
func (h *house) dial() *Client {
	h.t.Helper()
	c, err := Dial(h.ctx, h.street.options())
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { c.Close() })
	return c
}

// connect returns a connection of a client of its own.
func (h *house) connect(o api.Connect) *Connection {
	h.t.Helper()
	return h.connectBy(h.dial(), o)
}

func (h *house) connectBy(c *Client, o api.Connect) *Connection {
	h.t.Helper()
	x, err := c.Connect(h.ctx, o)
	if err != nil {
		h.t.Fatal(err)
	}
	return x
}

// receive returns x's next event.
func (h *house) receive(x *Connection) api.Event {
	h.t.Helper()
	e, err := x.Receive(h.ctx)
	if err != nil {
		h.t.Fatalf("%s: receive: %v", x.Name(), err)
	}
	return e
}

// expect fails the test unless x's next event is of that kind.
func (h *house) expect(x *Connection, kind api.Kind) api.Event {
	h.t.Helper()
	e := h.receive(x)
	if e.Kind != kind {
		h.t.Fatalf("%s: got %v %+v, want %v", x.Name(), e.Kind, e, kind)
	}
	return e
}

// hears fails the test unless x's next event is that message.
func (h *house) hears(x *Connection, text string) api.Event {
	h.t.Helper()
	e := h.expect(x, api.KindMessage)
	if string(e.Payload) != text {
		h.t.Fatalf("%s: heard %q, want %q", x.Name(), e.Payload, text)
	}
	return e
}

func (h *house) send(x *Connection, text string) api.Receipt {
	h.t.Helper()
	receipt, err := x.Send(h.ctx, []byte(text))
	if err != nil {
		h.t.Fatalf("%s: send: %v", x.Name(), err)
	}
	return receipt
}

// want fails the test unless err is target.
func (h *house) want(err, target error) {
	h.t.Helper()
	if !errors.Is(err, target) {
		h.t.Errorf("got error %v, want %v", err, target)
	}
}

// links are those that a street has; cut ends them.
type links struct {
	mu     sync.Mutex
	closed bool
	live   map[io.Closer]bool
}

func (l *links) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for c := range l.live {
		c.Close()
	}
	clear(l.live)
}

func (l *links) open() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = false
}

// add reports whether c may be a link.
func (l *links) add(c ...io.Closer) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range c {
		l.live[c] = true
	}
	return !l.closed
}

// localStreet is a transport to a provider in this process.
type localStreet struct {
	links
	provider *provider.Provider
}

func newLocalHouse(t testing.TB) *house {
	checkFloor(t)
	s := &localStreet{links: links{live: map[io.Closer]bool{}}}
	return newHouse(t, s, func(p *provider.Provider) { s.provider = p })
}

func (s *localStreet) options() client.Options { return client.Options{Transport: s} }

type closer func()

func (c *closer) Close() error {
	(*c)()
	return nil
}

// Attach implements wire.Transport.
func (s *localStreet) Attach(ctx context.Context) (wire.Stream, error) {
	ctx, cancel := context.WithCancel(ctx)
	if !s.add((*closer)(&cancel)) {
		cancel()
		return nil, api.ErrNoProvider
	}
	return s.provider.Local().Attach(ctx)
}

// socketStreet passes bytes on between two sockets.
type socketStreet struct {
	links
	address, near api.Endpoint // the provider's, and what clients dial
	tls           api.TLSFiles // of the clients
	proxies       sync.WaitGroup
}

// checkFloor has the test fail if it leaves goroutines behind.
func checkFloor(t testing.TB) {
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
}

func newUnixHouse(t testing.TB) *house {
	checkFloor(t)
	dir := t.TempDir()
	s := newSocketStreet(t, api.UnixEndpoint(filepath.Join(dir, "near")))
	return newHouse(t, s, s.serve(t, api.UnixEndpoint(filepath.Join(dir, "far"))))
}

func newTLSHouse(t testing.TB) *house {
	checkFloor(t)
	authority, err := tlstest.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	files, err := authority.Issue("anybody", tlstest.Pair{})
	if err != nil {
		t.Fatal(err)
	}
	somewhere := api.Endpoint{Network: "tcp", Address: "127.0.0.1:0"}
	s := newSocketStreet(t, somewhere)
	s.tls = files
	return newHouseWith(t, provider.Options{TLS: files}, s, s.serve(t, somewhere))
}

// newSocketStreet returns a street that begins at near.
func newSocketStreet(t testing.TB, near api.Endpoint) *socketStreet {
	listener, err := net.Listen(near.Network, near.Address)
	if err != nil {
		t.Fatal(err)
	}
	near.Address = listener.Addr().String()
	s := &socketStreet{links: links{live: map[io.Closer]bool{}}, near: near}
	s.proxies.Go(func() { s.accept(listener) })
	t.Cleanup(func() {
		listener.Close()
		s.cut()
		s.proxies.Wait()
	})
	return s
}

// serve returns what makes the street lead to a provider.
func (s *socketStreet) serve(t testing.TB, far api.Endpoint) func(*provider.Provider) {
	return func(p *provider.Provider) {
		actual, err := p.Listen(far)
		if err != nil {
			t.Fatal(err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.address = actual
	}
}

func (s *socketStreet) far() api.Endpoint {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.address
}

func (s *socketStreet) options() client.Options {
	return client.Options{Address: s.near, TLS: s.tls}
}

func (s *socketStreet) accept(listener net.Listener) {
	for {
		near, err := listener.Accept()
		if err != nil {
			return
		}
		to := s.far()
		far, err := net.Dial(to.Network, to.Address)
		if err != nil {
			near.Close()
			continue
		}
		if !s.add(near, far) {
			near.Close()
			far.Close()
			continue
		}
		for _, way := range [][2]net.Conn{{near, far}, {far, near}} {
			s.proxies.Go(func() {
				io.Copy(way[0], way[1])
				near.Close()
				far.Close()
			})
		}
	}
}
