package provider

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"google.golang.org/grpc/status"

	"crier.local/api"
	"crier.local/api/tlsfiles"
)

// port is a TCP port that a provider listens on.
type port struct {
	*net.TCPListener
	front    *front
	endpoint api.Endpoint // with the host that was asked for, and the real port
	config   *tls.Config  // nil without TLS
	door     doorman
	over     chan struct{}
	closing  sync.Once
	closeErr error
}

// openPort listens on a TCP address; without a config for this host alone.
func openPort(f *front, e api.Endpoint, config *tls.Config) (*port, error) {
	host, _, err := net.SplitHostPort(e.Address)
	if err != nil {
		return nil, err
	}
	address, err := net.ResolveTCPAddr("tcp", e.Address)
	if err != nil {
		return nil, err
	}
	if err := checkOpenness(address, config); err != nil {
		return nil, err
	}
	listener, err := net.ListenTCP("tcp", address)
	if err != nil {
		return nil, err
	}
	_, number, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		listener.Close()
		return nil, err
	}
	return newPort(f, listener, api.Endpoint{Network: "tcp", Address: net.JoinHostPort(host, number)}, config), nil
}

// newPort returns a port of f that clients find at e.
func newPort(f *front, l *net.TCPListener, e api.Endpoint, config *tls.Config) *port {
	p := &port{TCPListener: l, front: f, endpoint: e, config: config, over: make(chan struct{})}
	p.door = doorman{front: f, hall: &f.gate.remote, address: e.String(), over: p.over}
	return p
}

// checkOpenness returns an error if other hosts could come in without TLS.
func checkOpenness(address *net.TCPAddr, config *tls.Config) error {
	if config == nil && !address.IP.IsLoopback() {
		return errors.New("without TLS a provider listens on a loopback address alone, such as 127.0.0.1; elsewhere give a certificate")
	}
	return nil
}

// Accept returns the next connection as a *remote.
func (p *port) Accept() (net.Conn, error) { return p.door.accept(p.next) }

func (p *port) next() (net.Conn, error) {
	conn, err := p.AcceptTCP()
	if err != nil {
		return nil, err
	}
	r, err := newRemote(conn, &p.front.gate, p.config)
	if err != nil {
		conn.Close()
		if errors.Is(err, errFlood) || errors.Is(err, net.ErrClosed) {
			return nil, err
		}
		return nil, errNobody // it was gone before it was let in
	}
	return r, nil
}

// Close ends the listening.
func (p *port) Close() error {
	p.closing.Do(func() {
		close(p.over)
		p.closeErr = p.TCPListener.Close()
	})
	return p.closeErr
}

// tlsConfig returns how TCP connections are secured, nil for not at all.
func (f *front) tlsConfig() (*tls.Config, error) {
	files, insecure := f.p.options.TLS, f.p.options.Insecure
	switch {
	case files == (api.TLSFiles{}) && insecure:
		return nil, nil
	case files == (api.TLSFiles{}):
		return nil, errors.New("TCP needs a certificate, its key and the authority of the clients' certificates, or to be insecure, on loopback")
	case insecure:
		return nil, errors.New("there are TLS files, and it is to be insecure; choose one")
	}
	store, err := tlsfiles.Open(files, f.logReload)
	if err != nil {
		return nil, err
	}
	c := baseTLS()
	c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		now, c := store.Current(), baseTLS()
		c.Certificates, c.ClientCAs = []tls.Certificate{now.Pair}, now.Authorities
		return c, nil
	}
	return c, nil
}

// baseTLS returns what holds whatever the files say. Sessions are not resumed,
// since a certificate counts as long as the authority that it comes from.
func baseTLS() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"}, ClientAuth: tls.RequireAndVerifyClientCert,
		SessionTicketsDisabled: true, DynamicRecordSizingDisabled: true,
	}
}

func (f *front) logReload(err error) {
	if err != nil {
		f.p.log.Error("the TLS files have changed, but cannot be used; those before stay in use", "error", err)
		return
	}
	f.p.log.Info("read the TLS files again")
}

// maxComplaints is how many clients that are refused are worth a warning in a second.
const maxComplaints = 5

// complaints counts the warnings of a second.
type complaints struct {
	mu     sync.Mutex
	second time.Time
	count  int
}

func (c *complaints) more() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); now.Sub(c.second) >= time.Second {
		c.second, c.count = now, 0
	}
	c.count++
	return c.count <= maxComplaints
}

// logRefused tells of a process of this host that is refused all it asks for. Each
// one of a flood is not worth a warning.
func (f *front) logRefused(l *link, path string) {
	log := f.p.log.Warn
	if !f.complaints.more() {
		log = f.p.log.Debug
	}
	log("refused a client", "address", path, "process", l.identity.String(), "error", status.Convert(l.refused).Message())
}

// logHandshake tells of a client that was not let in. Whoever merely went away
// again is not worth a warning, nor is each one of a flood.
func (f *front) logHandshake(r *remote, err error) {
	log := f.p.log.Warn
	gone := r.ended.Load() || errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded)
	if gone || !f.complaints.more() {
		log = f.p.log.Debug
	}
	log("refused a client", "address", r.RemoteAddr().String(), "error", fmt.Sprint(err))
}
