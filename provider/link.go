package provider

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/mem"
	grpcpeer "google.golang.org/grpc/peer"

	"crier.local/api"
)

// link is a connection that has been accepted, and who is at the other end. It
// is what gRPC reads and writes, and what gRPC knows as the peer's credentials.
type link struct {
	*net.UnixConn
	gate     *gate
	identity api.Identity
	refused  error // what all calls are answered with, or nil
	deadline *time.Timer
	end      sync.Once
	reader   reader

	// The gate's lock guards what follows.
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
	l := &link{UnixConn: c, gate: g, identity: identity}
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
		err = l.UnixConn.Close()
		l.gate.depart(l)
	})
	return err
}

// bereave ends the connection of a process that is dead, but whose socket
// another one holds open. What the process had sent before still counts.
func (l *link) bereave() { _ = l.UnixConn.CloseRead() }

// AuthType makes l a [credentials.AuthInfo].
func (l *link) AuthType() string { return "peercred" }

// ReadOnReady is what gRPC looks for in order to keep no read buffer for a
// connection that is idle. Only bare connections of package net have it for free.
func (l *link) ReadOnReady(size int, pool mem.BufferPool) (*[]byte, int, error) {
	return l.reader.read(size, pool)
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
	if l, ok := conn.(*link); ok {
		return l, l, nil
	}
	unix, ok := conn.(*net.UnixConn)
	if !ok {
		return nil, nil, fmt.Errorf("connection of type %T, want a unix socket", conn)
	}
	l, err := newLink(unix, &c.front.gate, c.front.p.authorize)
	return l, l, err
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
