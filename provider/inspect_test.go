package provider

import (
	"net"
	"os"
	"path/filepath"
	"testing"
)

// TestPeerIdentityOfListener: who dials learns who listens.
func TestPeerIdentityOfListener(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	id, err := PeerIdentity(conn)
	if err != nil || int(id.PID) != os.Getpid() || int(id.UID) != os.Getuid() {
		t.Errorf("%+v, %v", id, err)
	}
}

// TestDefaultLimits: they are those of a provider that is given none.
func TestDefaultLimits(t *testing.T) {
	p := New(Options{})
	defer p.Close()
	if got, want := DefaultLimits(), p.Limits(); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if n := ProcessesFor(reserve+perProcess*7, 0); n != 7 {
		t.Errorf("%d processes, want 7", n)
	}
	if n := ProcessesFor(1<<20, 5*processMemory); n != 5 {
		t.Errorf("%d processes, want 5", n)
	}
}
