package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"crier.local/api"
	"crier.local/api/wire"
	"crier.local/provider"
)

// serve returns the address of a provider that offers nothing.
func serve(t testing.TB, path string) (*provider.Provider, api.Endpoint) {
	t.Helper()
	p := provider.New(provider.Options{})
	t.Cleanup(func() { p.Close() })
	e, err := p.Listen(api.UnixEndpoint(path))
	if err != nil {
		t.Fatal(err)
	}
	return p, e
}

func attach(ctx context.Context, e api.Endpoint) (wire.Stream, error) {
	return newTransport(e, api.TLSFiles{}, hclog.NewNullLogger()).Attach(ctx)
}

func TestAttachErrors(t *testing.T) {
	stale := func(t *testing.T, path string) {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		l.SetUnlinkOnClose(false)
		l.Close()
	}
	tests := []struct {
		name    string
		prepare func(t *testing.T, path string)
		err     error
		want    string
	}{
		{"nothing there", func(*testing.T, string) {}, api.ErrNoProvider, "is the provider running?"},
		{"stale socket", stale, api.ErrNoProvider, "is the provider running?"},
		{"closes at once", func(t *testing.T, path string) {
			listen(t, path, func(c net.Conn) { c.Close() })
		}, api.ErrNoProvider, "crier.sock"},
		{"speaks something else", func(t *testing.T, path string) {
			listen(t, path, func(c net.Conn) {
				io.WriteString(c, "220 mail.example.org ready\r\n")
				io.Copy(io.Discard, c)
			})
		}, api.ErrNoProvider, "crier.sock"},
		{"another gRPC server", func(t *testing.T, path string) {
			l, err := net.Listen("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			s := grpc.NewServer()
			go s.Serve(l)
			t.Cleanup(s.Stop)
		}, api.ErrNoProvider, "is no Crier provider"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "crier.sock")
			test.prepare(t, path)
			_, err := attach(within(t, 10*time.Second), api.UnixEndpoint(path))
			wantErr(t, err, test.err)
			if !strings.Contains(fmt.Sprint(err), test.want) {
				t.Errorf("error %q, want %q in it", err, test.want)
			}
		})
	}
	t.Run("tcp", func(t *testing.T) {
		if _, err := attach(within(t, time.Second), api.Endpoint{Network: "tcp", Address: "127.0.0.1:1"}); err == nil {
			t.Error("no error")
		}
	})
}

// listen serves connections at path, each on a goroutine of its own.
func listen(t testing.TB, path string, serve func(net.Conn)) {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				serve(c)
			}()
		}
	}()
}

// TestAttachToMute: a provider that does not answer, as one that is stopped, must
// not hold up a client beyond its context, nor leave anything behind in it.
func TestAttachToMute(t *testing.T) {
	path := filepath.Join(t.TempDir(), "crier.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	attached := begin(func() (wire.Stream, error) { return attach(ctx, api.UnixEndpoint(path)) })
	select {
	case r := <-attached:
		wantErr(t, r.err, context.DeadlineExceeded)
	case <-time.After(5 * time.Second):
		t.Fatal("the client does not give up")
	}
}

// TestNoSilentReconnect: a stream belongs to one run of a provider, and so does
// its connection.
func TestNoSilentReconnect(t *testing.T) {
	path := filepath.Join(t.TempDir(), "crier.sock")
	p, e := serve(t, path)
	stream, err := attach(within(t, 10*time.Second), e)
	if err != nil {
		t.Fatal(err)
	}
	hello := wire.AppendClient(wire.GetBuffer(), &wire.ClientEntry{Kind: wire.Hello, Version: api.WireVersion})
	if err := stream.Send(&wire.Batch{Data: hello}); err != nil {
		t.Fatal(err)
	}
	p.Close()
	serve(t, path)
	var batch wire.Batch
	for err == nil {
		err = stream.Recv(&batch)
	}
	c := stream.(*connection)
	if !closed(c.over) {
		t.Error("the connection outlives its stream")
	}
	if _, err := c.dial(context.Background(), ""); err == nil {
		t.Error("the connection is made again")
	}
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// TestGoPluginCannotKill: whatever go-plugin is told to do with a provider that
// is merely attached to, the provider does not notice.
func TestGoPluginCannotKill(t *testing.T) {
	_, e := serve(t, filepath.Join(t.TempDir(), "crier.sock"))
	c := &connection{ctx: within(t, 10*time.Second), endpoint: e, over: make(chan struct{})}
	client := plugin.NewClient(c.config())
	if _, err := client.Client(); err != nil {
		t.Fatal(err)
	}
	if client.ID() != "" || client.Exited() {
		t.Errorf("go-plugin takes the provider for process %q, ended: %t", client.ID(), client.Exited())
	}
	client.Kill()
	protocol, err := client.Client()
	if err != nil {
		t.Fatal(err)
	}
	if err := protocol.Ping(); err != nil {
		t.Errorf("ping: %v", err)
	}
	protocol.Close()
	c.close()
	stream, err := attach(within(t, 10*time.Second), e)
	if err != nil {
		t.Fatalf("the provider is gone: %v", err)
	}
	stream.(*connection).close()
}

// TestBusyListener: connect(2) to a socket whose backlog is full fails; that is
// waited out.
func TestBusyListener(t *testing.T) {
	path := filepath.Join(t.TempDir(), "busy.sock")
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	if err := errors.Join(syscall.Bind(fd, &syscall.SockaddrUnix{Name: path}), syscall.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	for {
		c, err := net.Dial("unix", path)
		if errors.Is(err, syscall.EAGAIN) {
			break
		}
		if err != nil {
			t.Skipf("here a full backlog does not refuse: %v", err)
		}
		defer c.Close()
	}
	dialed := begin(func() (net.Conn, error) { return connectUnix(within(t, 10*time.Second), path) })
	accepted, _, err := syscall.Accept(fd)
	if err != nil {
		t.Fatal(err)
	}
	syscall.Close(accepted)
	must(t, <-dialed).Close()
}

func TestUnreachableSocketIsDenied(t *testing.T) {
	err := nobody(api.UnixEndpoint("/x"), &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.EACCES)})
	wantErr(t, err, api.ErrDenied)
}
