package provider

import (
	"errors"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"crier.local/api"
)

// remotePair returns a TCP connection, as the provider has it, and its other end.
func remotePair(t *testing.T) (*remote, *net.TCPConn) {
	t.Helper()
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	other, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := l.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	var g gate
	g.init(1)
	r, err := newRemote(conn, &g, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.Close()
		other.Close()
	})
	return r, other.(*net.TCPConn)
}

// TestFate tells how connections end.
func TestFate(t *testing.T) {
	timeout := &net.OpError{Op: "write", Err: os.NewSyscallError("write", syscall.ETIMEDOUT)}
	tests := []struct {
		name string
		end  func(r *remote, other *net.TCPConn)
		want api.Reason
	}{
		{"closed there", func(r *remote, other *net.TCPConn) { other.Close() }, api.ReasonDied},
		{"closed there after a silence", func(r *remote, other *net.TCPConn) {
			r.since = r.since.Add(-remoteSilence)
			other.Close()
		}, api.ReasonDied},
		{"reset", func(r *remote, other *net.TCPConn) {
			other.SetLinger(0)
			other.Close()
		}, api.ReasonDied},
		{"closed here", func(r *remote, other *net.TCPConn) { r.Close() }, api.ReasonDied},
		{"closed here after a silence", func(r *remote, other *net.TCPConn) {
			r.since = r.since.Add(-remoteSilence)
			r.Close()
		}, api.ReasonUnreachable},
		{"out of time", func(r *remote, other *net.TCPConn) {
			r.note(timeout) // as a writer hears it, while the reader hears of an end
			other.Close()
		}, api.ReasonUnreachable},
		{"no way", func(r *remote, other *net.TCPConn) {
			r.note(os.NewSyscallError("read", syscall.EHOSTUNREACH))
			other.Close()
		}, api.ReasonUnreachable},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r, other := remotePair(t)
			test.end(r, other)
			r.SetReadDeadline(time.Now().Add(deadline))
			if _, err := r.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("the connection has not ended: %v", err)
			}
			if got := r.fate(); got != test.want {
				t.Errorf("%v, want %v", got, test.want)
			}
		})
	}
}

// TestAddressID: of a network that one host can have to itself there is one.
func TestAddressID(t *testing.T) {
	for address, want := range map[string]visitorID{
		"192.0.2.7":        "address 192.0.2.7/32",
		"::ffff:192.0.2.7": "address 192.0.2.7/32",
		"2001:db8:1:2::7":  "address 2001:db8:1:2::/64",
		"fe80::7":          "address fe80::/64",
	} {
		if got := addressID(&net.TCPAddr{IP: net.ParseIP(address), Port: 1, Zone: ""}); got != want {
			t.Errorf("%s: %q, want %q", address, got, want)
		}
	}
}

// TestGateOfRemotes: who comes over TCP is counted by address until a certificate
// says who it is.
func TestGateOfRemotes(t *testing.T) {
	var g gate
	g.init(4)
	knock := func(address visitorID) (*link, error) {
		l := &link{Conn: &net.TCPConn{}, visitor: address, gate: &g, hall: &g.remote, deadline: time.NewTimer(time.Hour)}
		return l, g.knock(l)
	}
	show := func(subject string) (*link, error) {
		l, err := knock(visitorID("address of " + subject))
		if err != nil {
			t.Fatal(err)
		}
		return l, g.recognize(l, api.Identity{UID: unknownID, Subject: subject}, nil)
	}
	for range 2 * maxConnects {
		l, err := knock("address")
		if err != nil {
			t.Fatal(err)
		}
		g.depart(l)
	}
	if _, err := knock("address"); !errors.Is(err, errFlood) {
		t.Errorf("too many of an address: %v", err)
	}
	for range maxConnects {
		l, err := show("alice")
		if err != nil || l.refused != nil {
			t.Fatal(err, l.refused)
		}
		g.depart(l)
	}
	l, err := show("alice")
	if err != nil || l.refused == nil || !l.greeted {
		t.Errorf("too many of a subject: %v, refused: %v", err, l.refused)
	}
	for i, want := range []error{nil, nil, api.ErrTooMany} {
		l, err := show("bob")
		if err != nil {
			t.Fatal(err)
		}
		if err := g.enter(l); !errors.Is(err, want) {
			t.Errorf("place %d of a subject: %v, want %v", i, err, want)
		}
	}
	if g.local.silent != 0 {
		t.Error("they count where unix sockets do")
	}
}

// TestAuthorizeRemote is of who is admitted over TCP.
func TestAuthorizeRemote(t *testing.T) {
	plain, _ := remotePair(t)
	if err := New(Options{Insecure: true}).authorizeRemote(api.Identity{Subject: anonymous}, plain); err != nil {
		t.Error(err)
	}
	if err := New(Options{}).authorizeRemote(api.Identity{Subject: anonymous}, plain); !errors.Is(err, api.ErrDenied) {
		t.Errorf("anonymous, though the provider is not insecure: %v", err)
	}
	for _, id := range []api.Identity{{UID: 0, Subject: anonymous}, {UID: uint32(os.Geteuid()), Subject: anonymous}} {
		if err := New(Options{}).authorizeRemote(id, plain); !errors.Is(err, api.ErrDenied) {
			t.Errorf("a uid counts over TCP: %v", err)
		}
	}
}
