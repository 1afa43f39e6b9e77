package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	"crier.local/api"
	"crier.local/api/tlsfiles"
)

const (
	// remoteSilence is how long nothing may come over TCP before the provider is
	// asked whether it is there, and remoteAnswer how long it has to answer.
	remoteSilence = 10 * time.Second
	remoteAnswer  = 3 * time.Second
	// recordSize is how much TLS gives at once.
	recordSize = 16 << 10
)

// ErrCertificate is an [api.ErrDenied] that is about a certificate, not about a
// user: that of the client, which the provider refuses, or that of the provider.
var ErrCertificate = fmt.Errorf("%w: certificate", api.ErrDenied)

// certificateError is [ErrCertificate] in words.
type certificateError struct{ text string }

func (e *certificateError) Error() string { return e.text }
func (e *certificateError) Unwrap() error { return ErrCertificate }

// ErrConfiguration is what is wrong with options that do not fit together, or
// that name files that cannot be used. Trying again does not help.
var ErrConfiguration = errors.New("configuration")

// CheckTLS returns [ErrConfiguration] if a client with these files could not
// attach at e, whoever listens there.
func CheckTLS(e api.Endpoint, files api.TLSFiles) error {
	if e.Network != "tcp" {
		return nil
	}
	_, err := loadTLS(e, files)
	return err
}

// loadTLS returns what the files hold; nil if e is to be reached without TLS.
func loadTLS(e api.Endpoint, files api.TLSFiles) (*tlsfiles.Credentials, error) {
	switch {
	case files != (api.TLSFiles{}):
		c, err := tlsfiles.Load(files)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrConfiguration, err)
		}
		return c, nil
	case onLoopback(e):
		return nil, nil
	default:
		return nil, fmt.Errorf("%w: %s needs TLS; give the authority of the provider's certificate, a certificate and its key (--tls-ca, --tls-cert, --tls-key)", ErrConfiguration, e)
	}
}

// onLoopback reports whether e is on this host for certain.
func onLoopback(e api.Endpoint) bool {
	host, _, _ := net.SplitHostPort(e.Address)
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func loopback(a net.Addr) bool {
	tcp, ok := a.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}

// remoteOptions returns how gRPC talks TCP to e. Without TLS files it does so in
// the clear.
func remoteOptions(e api.Endpoint, files api.TLSFiles, trouble *tlsTrouble) ([]grpc.DialOption, error) {
	options := []grpc.DialOption{
		grpc.WithReadBufferSize(recordSize),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: remoteSilence, Timeout: remoteAnswer, PermitWithoutStream: true}),
	}
	c, err := loadTLS(e, files)
	if c == nil {
		return options, err
	}
	host, _, err := net.SplitHostPort(e.Address)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{
		MinVersion: tls.VersionTLS13, ServerName: host,
		RootCAs: c.Authorities, DynamicRecordSizingDisabled: true,
		// Even if the provider does not know its authority: the provider's refusal
		// says so then, rather than that there is no certificate.
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &c.Pair, nil },
	}
	return append(options, grpc.WithTransportCredentials(tlsCredentials{credentials.NewTLS(config), trouble})), nil
}

// connectTCP connects to a provider over TCP. The kernel ends the connection when
// nothing is confirmed any more; gRPC asks too, but goes by a clock that can be set.
func connectTCP(ctx context.Context, address string) (net.Conn, error) {
	d := net.Dialer{
		Control: func(_, _ string, c syscall.RawConn) error { return setUserTimeout(c, remoteSilence+remoteAnswer) },
		KeepAliveConfig: net.KeepAliveConfig{
			Enable: true, Idle: remoteSilence + time.Second, Interval: time.Second, Count: 2,
		},
	}
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return patient{conn}, nil
}

// patient is a TCP connection that gRPC does not know for one: it would give a
// provider that is merely busy no more than remoteAnswer.
type patient struct{ net.Conn }

// tlsTrouble is what TLS said when a connection was made, which gRPC passes on as
// text alone.
type tlsTrouble struct{ err atomic.Pointer[error] }

func (t *tlsTrouble) note(err error) {
	if err != nil {
		t.err.CompareAndSwap(nil, &err)
	}
}

// tlsCredentials are gRPC's own, and note what goes wrong.
type tlsCredentials struct {
	credentials.TransportCredentials
	trouble *tlsTrouble
}

func (c tlsCredentials) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := c.TransportCredentials.ClientHandshake(ctx, authority, raw)
	if err != nil {
		c.trouble.note(err)
		return nil, nil, err
	}
	return &fresh{Conn: conn, trouble: c.trouble}, info, nil
}

func (c tlsCredentials) Clone() credentials.TransportCredentials {
	return tlsCredentials{c.TransportCredentials.Clone(), c.trouble}
}

// fresh is a connection of which it is not known yet whether the other side
// accepts this side's certificate: that shows in the first thing it says.
type fresh struct {
	net.Conn
	trouble *tlsTrouble
	settled bool // the reader's
}

func (f *fresh) Read(b []byte) (int, error) {
	n, err := f.Conn.Read(b)
	if !f.settled {
		f.settled = true
		f.trouble.note(err)
	}
	return n, err
}

// explain returns what TLS's trouble with e means; nil if there was none that
// does.
func (t *tlsTrouble) explain(e api.Endpoint) error {
	noted := t.err.Load()
	if noted == nil {
		return nil
	}
	err := *noted
	if strings.Contains(err.Error(), "protocol version") {
		return fmt.Errorf("%w: what listens on %s does not speak TLS 1.3; a provider does", api.ErrNoProvider, e)
	}
	if remote, ok := errors.AsType[*net.OpError](err); ok && remote.Op == "remote error" {
		return fmt.Errorf("%w: the provider at %s refuses this client's: %s", ErrCertificate, e, alertAdvice(remote.Err.Error()))
	}
	if advice := certificateAdvice(err); advice != "" {
		return fmt.Errorf("%w: %s: %s", ErrCertificate, e, advice)
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return fmt.Errorf("%w: what listens on %s does not speak TLS; a provider does unless it is --insecure", api.ErrNoProvider, e)
	}
	return nil
}

// certificateAdvice says what is wrong with the provider's certificate.
func certificateAdvice(err error) string {
	if host, ok := errors.AsType[x509.HostnameError](err); ok {
		return fmt.Sprintf("the provider's is for another name (%v); use a name that it is for, or have it issued for this one", host)
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "the provider's comes from an authority that this client does not know; check --tls-ca"
	}
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		if invalid.Reason == x509.Expired {
			return fmt.Sprintf("the provider's is out of date (%s); have it renewed, and check the clocks", invalid.Detail)
		}
		return fmt.Sprintf("the provider's cannot be used (%v); have it issued for servers", invalid)
	}
	return ""
}

// alertAdvice says what an alert of TLS means here.
func alertAdvice(alert string) string {
	for _, known := range []struct{ alert, advice string }{
		{"unknown certificate authority", "it comes from an authority that the provider does not know; check --tls-cert here and --tls-client-ca there"},
		{"expired certificate", "it is out of date; renew it, and check the clocks"},
		{"certificate required", "there is none; check --tls-cert and --tls-key"},
		{"bad certificate", "it cannot be used; it needs to be issued for clients"},
		{"unsupported certificate", "it cannot be used; it needs to be issued for clients"},
	} {
		if strings.Contains(alert, known.alert) {
			return known.advice
		}
	}
	return alert
}
