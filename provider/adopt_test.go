package provider

import (
	"crypto/tls"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"crier.local/api"
	"crier.local/api/tlstest"
	"crier.local/client"
)

// opener is whoever opens a socket and passes it on, as a service manager does: it
// keeps the socket open.
type opener struct {
	t    *testing.T
	held *net.UnixListener
	path string
	file fs.FileInfo
}

// openFor opens a socket in a directory of its own, with a mode that no provider
// would choose.
func openFor(t *testing.T, dir string) *opener {
	t.Helper()
	path := filepath.Join(dir, "crier.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	t.Cleanup(func() { l.Close() })
	if err := os.Chmod(path, 0o662); err != nil {
		t.Fatal(err)
	}
	o := &opener{t: t, held: l, path: path}
	if o.file, err = os.Lstat(path); err != nil {
		t.Fatal(err)
	}
	return o
}

// pass returns the socket as another program gets it.
func (o *opener) pass() net.Listener {
	o.t.Helper()
	file, err := o.held.File()
	if err != nil {
		o.t.Fatal(err)
	}
	defer file.Close()
	l, err := net.FileListener(file)
	if err != nil {
		o.t.Fatal(err)
	}
	o.t.Cleanup(func() { l.Close() })
	return l
}

// checkUntouched fails the test unless the file is as it was when it was made.
func (o *opener) checkUntouched() {
	o.t.Helper()
	there, err := os.Lstat(o.path)
	if err != nil || !os.SameFile(there, o.file) || there.Mode() != o.file.Mode() {
		o.t.Errorf("the file of the socket was %v and is %v, error %v", o.file, there, err)
	}
}

// adoptPremises are premises at the socket of somebody else.
func adoptPremises(t *testing.T, o *opener) *premises {
	t.Helper()
	log := newChronicle()
	p, w := New(Options{Logger: log.logger()}), newWitness()
	if err := p.Provide(witnessSelector, w, ServiceOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	e, err := p.Adopt(o.pass())
	if err != nil {
		t.Fatal(err)
	}
	if e != api.UnixEndpoint(o.path) {
		t.Errorf("adopted %s, want %s", e, o.path)
	}
	c := dial(t, e)
	receive(t, "the session", w.opened)
	session, err := c.Open(within(t), witnessSelector)
	if err != nil {
		t.Fatal(err)
	}
	receive(t, "the session", w.opened)
	return &premises{t, log, p, w, e, filepath.Dir(o.path), c, session}
}

// TestAdopt: a provider at another's socket is found as any other, and leaves the
// socket as it was: also with what came after its end, which is for the next one.
func TestAdopt(t *testing.T) {
	t.Setenv(api.EnvAddress, "")
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	dir := t.TempDir()
	o := openFor(t, dir)
	// What a provider left that was killed: it looks alive, for the socket is.
	stale := New(Options{Name: "stale"})
	if _, err := writeAnnouncement(o.path+api.AnnouncementSuffix, stale.announcement()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		h := adoptPremises(t, o)
		h.check()
		if a := readAnnouncement(t, o.path+api.AnnouncementSuffix); a.Epoch != h.p.Epoch().String() || !slices.Equal(a.Addresses, []string{"unix://crier.sock"}) {
			t.Errorf("announced %+v", a)
		}
		if err := os.Remove(o.path + api.AnnouncementSuffix); err != nil {
			t.Fatal(err)
		}
		h.log.expect(t, "it is announced again")
		h.check()
		if err := New(Options{}).tryListen(h.e); err == nil || !strings.Contains(err.Error(), "another program listens there") {
			t.Errorf("a second provider: error %v", err)
		}
		h.client.Close()
		h.p.Close()
		o.checkUntouched()
		if got := slices.DeleteFunc(names(t, dir), func(name string) bool { return name == "crier.sock.lock" }); !slices.Equal(got, []string{"crier.sock"}) {
			t.Errorf("left behind: %v", got)
		}
		early := make(chan error, 1)
		go func() { // is let in by the next one
			c, err := client.Dial(within(t), client.Options{Address: h.e})
			if err == nil {
				c.Close()
			}
			early <- err
		}()
		next := adoptPremises(t, o)
		if err := receive(t, "who came in between", early); err != nil {
			t.Errorf("who came in between: %v", err)
		}
		next.client.Close()
		next.p.Close()
	}
}

func (p *Provider) tryListen(e api.Endpoint) error {
	defer p.Close()
	_, err := p.Listen(e)
	return err
}

// TestAdoptedSocketGone takes the file away. The provider cannot make it anew; it
// says so, once, and goes on when the file is back.
func TestAdoptedSocketGone(t *testing.T) {
	t.Setenv(api.EnvAddress, "")
	harms := map[string]func(from, to string) error{
		"the socket file is gone": os.Rename,
		"something else is in the place of the socket": func(from, to string) error {
			return errors.Join(os.Rename(from, to), os.WriteFile(from, nil, 0o600))
		},
	}
	for words, harm := range harms {
		t.Run(words, func(t *testing.T) {
			o := openFor(t, t.TempDir())
			h := adoptPremises(t, o)
			aside := filepath.Join(h.dir, "aside")
			for range 2 {
				if err := harm(o.path, aside); err != nil {
					t.Fatal(err)
				}
				line := h.log.expect(t, words)
				for _, want := range []string{"[ERROR]", o.path, "serves those attached", "systemctl restart"} {
					if !strings.Contains(line, want) {
						t.Errorf("logged %s\nwithout %q", line, want)
					}
				}
				h.checkAttached()
				if there, err := os.Lstat(o.path); err == nil && there.Mode().Type() == fs.ModeSocket {
					t.Error("the provider has made a socket in the place of another's")
				}
				// Each look that this provokes finds the same trouble.
				if err := os.Remove(o.path + api.AnnouncementSuffix); err != nil {
					t.Fatal(err)
				}
				if err := os.Rename(aside, o.path); err != nil {
					t.Fatal(err)
				}
				h.log.expect(t, "it is announced again")
				h.check()
				h.log.checkOnce(t, words)
			}
			h.p.Close()
			o.checkUntouched()
		})
	}
}

// checkOnce fails the test unless the words are in one line of what was read since
// the last call.
func (c *chronicle) checkOnce(t *testing.T, words string) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, line := range c.past {
		n += strings.Count(line, words)
	}
	if n != 1 {
		t.Errorf("%q is logged %d times, want once: %q", words, n, c.past)
	}
	c.past = nil
}

// TestUnannounced: a provider that may not write beside the socket serves, says once
// what keeps it from announcing itself, and does so as soon as it can.
func TestUnannounced(t *testing.T) {
	t.Setenv(api.EnvAddress, "")
	o := openFor(t, t.TempDir())
	paper := o.path + api.AnnouncementSuffix
	if err := os.MkdirAll(filepath.Join(paper, "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	h := adoptPremises(t, o)
	h.checkAttached()
	for range 4 { // each try touches the directory
		before, err := os.Stat(h.dir)
		if err != nil {
			t.Fatal(err)
		}
		poll(t, "another try", func() bool {
			now, err := os.Stat(h.dir)
			return err == nil && !now.ModTime().Equal(before.ModTime())
		})
	}
	if err := os.RemoveAll(paper); err != nil {
		t.Fatal(err)
	}
	h.log.expect(t, "it is announced again")
	h.check()
	h.log.checkOnce(t, "cannot announce the provider")
}

// odd is a listener that nobody knows.
type odd struct{ net.Listener }

// TestAdoptRefuses is of listeners on which a provider does not serve. They stay
// their owner's.
func TestAdoptRefuses(t *testing.T) {
	unixAt := func(network, name string) func(*testing.T) net.Listener {
		return func(t *testing.T) net.Listener {
			l, err := net.ListenUnix(network, &net.UnixAddr{Name: strings.Replace(name, "DIR", t.TempDir(), 1), Net: network})
			if err != nil {
				t.Fatal(err)
			}
			return l
		}
	}
	tcp := func(address string) func(*testing.T) net.Listener {
		return func(t *testing.T) net.Listener {
			l, err := net.Listen("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			return l
		}
	}
	without := func(open func(*testing.T) net.Listener, instead func(path string) error) func(*testing.T) net.Listener {
		return func(t *testing.T) net.Listener {
			l := open(t)
			if err := errors.Join(os.Remove(l.Addr().String()), instead(l.Addr().String())); err != nil {
				t.Fatal(err)
			}
			return l
		}
	}
	tests := []struct {
		name string
		open func(*testing.T) net.Listener
		o    Options
		want string
	}{
		{"abstract", unixAt("unix", "@crier-adopt-test"), Options{}, "has no file"},
		{"sequenced packets", unixAt("unixpacket", "DIR/s"), Options{}, "want a unix stream socket"},
		{"relative path", func(t *testing.T) net.Listener {
			t.Chdir(t.TempDir())
			return unixAt("unix", "s")(t)
		}, Options{}, "must be absolute"},
		{"file gone", without(unixAt("unix", "DIR/s"), func(string) error { return nil }), Options{}, "restart its .socket unit"},
		{"another file", without(unixAt("unix", "DIR/s"), func(path string) error { return os.WriteFile(path, nil, 0o600) }), Options{}, "not a socket any more"},
		{"port without TLS", tcp("127.0.0.1:0"), Options{}, "needs a certificate"},
		{"port for all without TLS", tcp(":0"), Options{Insecure: true}, "loopback address alone"},
		{"unknown kind", func(t *testing.T) net.Listener { return odd{tcp("127.0.0.1:0")(t)} }, Options{Insecure: true}, "provider.odd"},
		{"TLS already", func(t *testing.T) net.Listener { return tls.NewListener(tcp("127.0.0.1:0")(t), &tls.Config{}) }, Options{Insecure: true}, "*tls.listener"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			l := test.open(t)
			defer l.Close()
			p := New(test.o)
			defer p.Close()
			e, err := p.Adopt(l)
			if err == nil || !strings.Contains(err.Error(), test.want) || e != (api.Endpoint{}) {
				t.Errorf("adopted %v, error %v, want %q", e, err, test.want)
			}
			p.Close()
			if err := l.Close(); err != nil {
				t.Errorf("the listener was not its owner's any more: %v", err)
			}
		})
	}
	t.Run("nothing", func(t *testing.T) {
		p := New(Options{})
		defer p.Close()
		if _, err := p.Adopt(nil); err == nil {
			t.Error("adopted nothing")
		}
	})
	t.Run("closed provider", func(t *testing.T) {
		o := openFor(t, t.TempDir())
		p := New(Options{})
		p.Close()
		if _, err := p.Adopt(o.pass()); !errors.Is(err, api.ErrClosed) {
			t.Errorf("error %v, want %v", err, api.ErrClosed)
		}
		o.checkUntouched()
	})
}

// TestAdoptPort: on a port of another's the same certificates count as on an own one.
func TestAdoptPort(t *testing.T) {
	open := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	t.Run("TLS", func(t *testing.T) {
		authority := newAuthority(t)
		p := New(Options{TLS: issue(t, authority, "server", tlstest.Pair{})})
		defer p.Close()
		e, err := p.Adopt(open())
		if err != nil {
			t.Fatal(err)
		}
		c, err := client.Dial(within(t), client.Options{Address: e, TLS: issue(t, authority, "alice", tlstest.Pair{})})
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		foreign := issue(t, newAuthority(t), "mallory", tlstest.Pair{})
		foreign.CA = authority.CA()
		if c, err = client.Dial(within(t), client.Options{Address: e, TLS: foreign}); !errors.Is(err, api.ErrDenied) {
			t.Errorf("attached %v, error %v, want %v", c, err, api.ErrDenied)
		}
	})
	t.Run("insecure", func(t *testing.T) {
		p := New(Options{Insecure: true})
		defer p.Close()
		l := open()
		e, err := p.Adopt(l)
		if err != nil || e.Address != l.Addr().String() {
			t.Fatalf("adopted %s, error %v", e, err)
		}
		c, err := client.Dial(within(t), client.Options{Address: e})
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		p.Close()
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("the port is open after Close: %v", err)
		}
	})
}

// TestAdoptedFileStays, also that of a listener which would have removed it at its end.
func TestAdoptedFileStays(t *testing.T) {
	path := filepath.Join(t.TempDir(), "crier.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	p := New(Options{})
	if _, err := p.Adopt(l); err != nil {
		t.Fatal(err)
	}
	p.Close()
	if got := names(t, filepath.Dir(path)); !slices.Equal(got, []string{"crier.sock"}) {
		t.Errorf("left: %v, want the socket alone", got)
	}
}

// TestAdoptedLimits: who comes in by another's socket is held to the same limits as by
// an own one.
func TestAdoptedLimits(t *testing.T) {
	p := New(Options{Limits: Limits{Processes: 1}})
	defer p.Close()
	e, err := p.Adopt(openFor(t, t.TempDir()).pass())
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.Dial(within(t), client.Options{Address: e})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := client.Dial(within(t), client.Options{Address: e}); !errors.Is(err, api.ErrTooMany) {
		t.Errorf("the second of one: error %v, want %v", err, api.ErrTooMany)
	}
}
