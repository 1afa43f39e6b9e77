package provider

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"google.golang.org/grpc/credentials"

	"crier.local/api"
)

const (
	// remoteSilence is how long nothing may come over TCP before the other side is
	// asked whether it is there, and remoteAnswer how long it has to answer.
	remoteSilence = 10 * time.Second
	remoteAnswer  = 3 * time.Second
)

// remote is a TCP connection. It keeps in mind how it ends: that the other side
// is gone is something else than that it cannot be reached.
type remote struct {
	*net.TCPConn
	link   *link
	config *tls.Config // nil without TLS
	since  time.Time

	heard       atomic.Int64 // when something came last, as time after since
	ended       atomic.Bool  // by the kernel's word
	unreachable atomic.Bool  // by the kernel's word, which a read hears or a write
	writing     sync.Mutex
}

// newRemote takes over a connection, unless it returns an error.
func newRemote(c *net.TCPConn, g *gate, config *tls.Config) (*remote, error) {
	if err := watchSilence(c); err != nil {
		return nil, err
	}
	r := &remote{TCPConn: c, config: config, since: time.Now()}
	l := &link{Conn: c, gate: g, hall: &g.remote, remote: r, visitor: addressID(c.RemoteAddr())}
	r.link = l
	l.deadline = time.AfterFunc(g.patience, func() { l.Close() })
	if err := g.knock(l); err != nil {
		l.deadline.Stop()
		return nil, err
	}
	return r, nil
}

// watchSilence has the kernel end a connection on which nothing is confirmed any
// more, or for which the other side has no room. gRPC asks too, whether the
// process answers, but goes by a clock that can be set.
func watchSilence(c *net.TCPConn) error {
	err := c.SetKeepAliveConfig(net.KeepAliveConfig{
		Enable: true, Idle: remoteSilence + time.Second, Interval: time.Second, Count: 2,
	})
	return errors.Join(err, setUserTimeout(c, remoteSilence+remoteAnswer))
}

// addressID returns how the gate knows those who have not shown who they are. A
// whole network of IPv6 is at one host's disposal.
func addressID(a net.Addr) visitorID {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return "address " + visitorID(a.String())
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	bits := ip.BitLen()
	if ip.Is6() {
		bits = 64
	}
	return "address " + visitorID(netip.PrefixFrom(ip, bits).Masked().String())
}

// Read notes when something came, and how it ended.
func (r *remote) Read(b []byte) (int, error) {
	n, err := r.TCPConn.Read(b)
	if n > 0 {
		r.heard.Store(int64(time.Since(r.since)))
	}
	if err != nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, os.ErrDeadlineExceeded) {
		r.note(err)
		r.ended.Store(true)
	}
	return n, err
}

func (r *remote) Write(b []byte) (int, error) {
	r.writing.Lock()
	defer r.writing.Unlock()
	n, err := r.TCPConn.Write(b)
	if err != nil {
		r.note(err)
	}
	return n, err
}

func (r *remote) note(err error) {
	for _, errno := range []syscall.Errno{
		syscall.ETIMEDOUT, syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.EHOSTDOWN, syscall.ENETDOWN,
	} {
		if errors.Is(err, errno) {
			r.unreachable.Store(true)
		}
	}
}

// Close ends the connection, and everything on it. It may be called repeatedly.
func (r *remote) Close() error { return r.link.Close() }

// fate tells why the connection is over. The kernel tells a reader or a writer
// why, but only one of them.
func (r *remote) fate() api.Reason {
	if r.link.gate.hasDeparted(r.link) { // no write lasts any more; it may be about to note something
		r.writing.Lock()
		defer r.writing.Unlock()
	}
	silent := time.Since(r.since)-time.Duration(r.heard.Load()) >= remoteSilence
	if r.unreachable.Load() || silent && !r.ended.Load() {
		return api.ReasonUnreachable
	}
	return api.ReasonDied
}

// secured is what gRPC reads and writes where there is TLS.
type secured struct {
	*tls.Conn
	remote *remote
}

// Close does not say goodbye, for which a peer that does not read would have to
// be waited for.
func (s secured) Close() error { return s.remote.Close() }

// remoteCredentials find out who is at the other end of a TCP connection.
type remoteCredentials struct{ front *front }

// ServerHandshake refuses in TLS's words whom its rules refuse. Whom the
// provider's rules refuse is told so in answer to the calls.
func (c remoteCredentials) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	r, ok := conn.(*remote)
	if !ok {
		return nil, nil, fmt.Errorf("connection of type %T, want TCP", conn)
	}
	r.link.limitBuffer(c.front.buffers.socket)
	under, id, err := r.identify()
	if err != nil {
		c.front.logHandshake(r, err)
		return nil, nil, err
	}
	refused := c.front.p.authorizeRemote(id, r)
	if refused != nil {
		c.front.p.log.Warn("refused a client", "address", r.RemoteAddr().String(), "subject", id.Subject, "error", refused)
		refused = refusal(refused)
	}
	r.link.inspect(c.front.p.log)
	return inspected{under, &r.link.pieces}, r.link, r.link.gate.recognize(r.link, id, refused)
}

// identify returns what gRPC is to read and write, and who is at the other end.
func (r *remote) identify() (net.Conn, api.Identity, error) {
	id := api.Identity{UID: unknownID, GID: unknownID, Subject: anonymous}
	if r.config == nil {
		return r, id, nil
	}
	conn := tls.Server(r, r.config)
	if err := conn.Handshake(); err != nil {
		r.sendOff()
		return nil, id, err
	}
	id.Subject = subject(conn.ConnectionState().PeerCertificates[0])
	return secured{conn, r}, id, nil
}

// sendOff leaves the other side the time to read why it is refused. A connection
// closed while there is something to be read would be reset.
func (r *remote) sendOff() {
	r.link.deadline.Reset(refusalTime)
	if r.CloseWrite() == nil {
		_, _ = io.Copy(io.Discard, io.LimitReader(r.TCPConn, 64<<10))
	}
}

// ClientHandshake is not for a server.
func (remoteCredentials) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, fmt.Errorf("these credentials are for servers")
}

// Info describes the credentials.
func (remoteCredentials) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

// Clone returns c, which has no state of its own.
func (c remoteCredentials) Clone() credentials.TransportCredentials { return c }

// OverrideServerName has no meaning here.
func (remoteCredentials) OverrideServerName(string) error { return nil }
