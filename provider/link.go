package provider

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/mem"
	grpcpeer "google.golang.org/grpc/peer"

	"crier.local/api"
)

// link is a connection that has been accepted, and who is at the other end. It
// is what gRPC reads and writes, and what gRPC knows as the peer's credentials.
type link struct {
	net.Conn // as it was accepted
	gate     *gate
	hall     *hall // where it counts until it has greeted
	identity api.Identity
	refused  error // what all calls are answered with, or nil
	deadline *time.Timer
	end      sync.Once
	reader   reader      // of a unix socket
	pieces   pieces      // that come in
	hello    atomic.Bool // has come
	remote   *remote     // of a TCP connection; else nil

	// The gate's lock guards what follows.
	visitor  visitorID
	greeted  bool
	placed   bool
	attached bool
	closed   bool
}

// newLink takes over a connection, unless it returns an error.
func newLink(c *net.UnixConn, g *gate, authorize func(api.Identity) error) (*link, error) {
	identity, err := peerIdentity(c)
	if err != nil {
		return nil, err
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	l := &link{Conn: c, gate: g, hall: &g.local, identity: identity, visitor: userID(identity.UID)}
	l.reader.init(raw)
	if err := authorize(identity); err != nil {
		l.refused = refusal(err)
	}
	l.deadline = time.AfterFunc(g.patience, func() { l.Close() })
	if err := g.arrive(l); err != nil {
		l.deadline.Stop()
		return nil, err
	}
	return l, nil
}

// Close ends the connection, and everything on it. It may be called repeatedly.
func (l *link) Close() error {
	err := net.ErrClosed
	l.end.Do(func() {
		err = l.Conn.Close()
		l.gate.depart(l)
	})
	return err
}

// watch sees to it that the connection ends with the process at its other end;
// stop ends the watch. Of a process on another host there is nothing to be seen.
func (l *link) watch() (stop func(), err error) {
	c, ok := l.Conn.(*net.UnixConn)
	if !ok {
		return func() {}, nil
	}
	// What a dead process had sent before still counts, though another one holds
	// its socket open.
	return watchPeer(&l.gate.vigil, c, func() { _ = c.CloseRead() })
}

// introduce returns who it is that attaches, with the container. Nothing is decided
// by that, and a connection that only knocks is not worth the look.
func (l *link) introduce() api.Identity {
	id := l.identity
	if c, ok := l.Conn.(*net.UnixConn); ok && id.PID > 0 {
		id.Container = l.gate.census.containerOf(c)
	}
	return id
}

// limitBuffer bounds what the kernel keeps for the other side, if n is not 0. It
// is thrift alone, so that it may fail.
func (l *link) limitBuffer(n int) {
	if c, ok := l.Conn.(interface{ SetWriteBuffer(int) error }); ok && n > 0 {
		_ = c.SetWriteBuffer(n)
	}
}

// fate tells why the connection is over, if nothing on this side ended it.
func (l *link) fate() api.Reason {
	if l.remote == nil {
		return api.ReasonDied
	}
	return l.remote.fate()
}

// AuthType makes l a [credentials.AuthInfo].
func (l *link) AuthType() string { return "peer" }

// ReadOnReady is what gRPC looks for in order to keep no read buffer for a
// connection that is idle. Only bare connections of package net have it for free.
func (l *link) ReadOnReady(size int, pool mem.BufferPool) (*[]byte, int, error) {
	buf, n, err := l.reader.read(size, pool)
	if err != nil {
		return nil, 0, err
	}
	if err := l.pieces.see((*buf)[:n]); err != nil {
		pool.Put(buf)
		return nil, 0, err
	}
	return buf, n, nil
}

// Read is for the first bytes, which gRPC reads without a buffer of its own.
func (l *link) Read(b []byte) (int, error) { return inspected{l.Conn, &l.pieces}.Read(b) }

// inspect begins to look at what comes in, and has it logged when the connection is
// ended for it.
func (l *link) inspect(log hclog.Logger) {
	l.pieces.greeted = &l.hello
	l.pieces.complain = func(err error) {
		log.Warn("ended a connection", "peer", l.identity.String(), "error", err)
	}
}

// reader reads from a socket into a buffer that it takes when there is something
// to be read.
type reader struct {
	raw    syscall.RawConn
	onFile func(fd uintptr) bool

	size int
	pool mem.BufferPool
	buf  *[]byte
	n    int
	err  error
}

func (r *reader) init(raw syscall.RawConn) {
	r.raw, r.onFile = raw, r.readFile // kept, since making it anew for each read allocates
}

func (r *reader) read(size int, pool mem.BufferPool) (*[]byte, int, error) {
	r.size, r.pool, r.buf, r.n, r.err = size, pool, nil, 0, nil
	err := r.raw.Read(r.onFile)
	if err == nil {
		err = r.err
	}
	buf, n := r.buf, r.n
	r.buf = nil
	switch {
	case err == nil && n > 0:
		return buf, n, nil
	case err == nil:
		err = io.EOF
	}
	if buf != nil {
		pool.Put(buf)
	}
	return nil, 0, err
}

// readFile reads once, and reports false if there was nothing. It uses package
// syscall as package net does: the race detector takes a mix for a race.
func (r *reader) readFile(fd uintptr) bool {
	r.buf = r.pool.Get(r.size)
	for {
		r.n, r.err = syscall.Read(int(fd), *r.buf)
		if r.err != syscall.EINTR {
			break
		}
	}
	if r.err == nil {
		return true
	}
	r.pool.Put(r.buf)
	r.buf = nil
	return r.err != syscall.EAGAIN
}

// linkOf returns the connection that a call came over.
func linkOf(ctx context.Context) (*link, error) {
	if p, ok := grpcpeer.FromContext(ctx); ok {
		if l, ok := p.AuthInfo.(*link); ok {
			return l, nil
		}
	}
	return nil, fmt.Errorf("%w: the connection has no credentials", api.ErrDenied)
}

// peerCredentials makes links of the connections that a gRPC server accepts.
type peerCredentials struct{ front *front }

// ServerHandshake never refuses anybody, since that would look like a crash to
// the other side: the calls are refused, with words.
func (c peerCredentials) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	l, ok := conn.(*link)
	if !ok {
		unix, ok := conn.(*net.UnixConn)
		if !ok {
			return nil, nil, fmt.Errorf("connection of type %T, want a unix socket", conn)
		}
		var err error
		if l, err = newLink(unix, &c.front.gate, c.front.p.authorize); err != nil {
			return nil, nil, err
		}
	}
	l.limitBuffer(c.front.buffers.socket)
	l.inspect(c.front.p.log)
	return l, l, nil
}

// ClientHandshake is not for a server.
func (peerCredentials) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, fmt.Errorf("peer credentials are for servers")
}

// Info describes the credentials.
func (peerCredentials) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "peercred"}
}

// Clone returns c, which has no state of its own.
func (c peerCredentials) Clone() credentials.TransportCredentials { return c }

// OverrideServerName has no meaning here.
func (peerCredentials) OverrideServerName(string) error { return nil }
