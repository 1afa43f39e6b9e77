package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"crier.local/api"
	"crier.local/api/tlstest"
	"crier.local/provider"
)

// issue returns files of an authority of their own.
func issue(t testing.TB) (*tlstest.Authority, api.TLSFiles) {
	t.Helper()
	a, err := tlstest.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	files, err := a.Issue("anybody", tlstest.Pair{})
	if err != nil {
		t.Fatal(err)
	}
	return a, files
}

func tcp(address string) api.Endpoint { return api.Endpoint{Network: "tcp", Address: address} }

func TestCheckTLS(t *testing.T) {
	_, good := issue(t)
	_, other := issue(t)
	tests := []struct {
		name  string
		e     api.Endpoint
		files api.TLSFiles
		want  string
	}{
		{"unix", api.UnixEndpoint("/x"), api.TLSFiles{Cert: "/nowhere"}, ""},
		{"tls", tcp("example.org:1"), good, ""},
		{"loopback", tcp("127.0.0.1:1"), api.TLSFiles{}, ""},
		{"loopback, version 6", tcp("[::1]:1"), api.TLSFiles{}, ""},
		{"loopback by name", tcp("localhost:1"), api.TLSFiles{}, ""},
		{"elsewhere", tcp("192.0.2.1:1"), api.TLSFiles{}, "needs TLS"},
		{"elsewhere by name", tcp("localhost.example.org:1"), api.TLSFiles{}, "needs TLS"},
		{"everywhere", tcp(":1"), api.TLSFiles{}, "needs TLS"},
		{"one of three", tcp("127.0.0.1:1"), api.TLSFiles{CA: good.CA}, "not given: cert, key"},
		{"another's key", tcp("127.0.0.1:1"), api.TLSFiles{CA: good.CA, Cert: good.Cert, Key: other.Key}, "private key does not match"},
		{"no such file", tcp("127.0.0.1:1"), api.TLSFiles{CA: "/nowhere", Cert: good.Cert, Key: good.Key}, "no such file"},
		{"no authority", tcp("127.0.0.1:1"), api.TLSFiles{CA: good.Key, Cert: good.Cert, Key: good.Key}, "holds no certificate"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := CheckTLS(test.e, test.files)
			if test.want == "" {
				wantErr(t, err, nil)
				return
			}
			wantErr(t, err, ErrConfiguration)
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
			_, err = Dial(within(t, 10*time.Second), Options{Address: test.e, TLS: test.files, Wait: -1})
			wantErr(t, err, ErrConfiguration)
		})
	}
}

// listenTLS accepts connections and hands over what came of each handshake.
func listenTLS(t *testing.T, files api.TLSFiles, change func(*tls.Config)) (api.Endpoint, <-chan *tls.Conn) {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(files.Cert, files.Key)
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAnyClientCert, NextProtos: []string{"h2"}}
	change(config)
	l, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	conns, over := make(chan *tls.Conn, 10), make(chan struct{})
	go func() {
		defer close(over)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conn.(*tls.Conn).Handshake()
			conns <- conn.(*tls.Conn)
			conn.Close()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-over
	})
	return tcp(l.Addr().String()), conns
}

// TestRenewedCertificate: the files count as they are when a connection is made.
func TestRenewedCertificate(t *testing.T) {
	authority, files := issue(t)
	e, conns := listenTLS(t, files, func(*tls.Config) {})
	shown := func() *big.Int {
		_, err := newTransport(e, files, hclog.NewNullLogger()).Attach(within(t, 10*time.Second))
		wantErr(t, err, api.ErrNoProvider)
		state := (<-conns).ConnectionState()
		if len(state.PeerCertificates) != 1 || state.Version != tls.VersionTLS13 {
			t.Fatalf("%d certificates, version %x", len(state.PeerCertificates), state.Version)
		}
		return state.PeerCertificates[0].SerialNumber
	}
	first := shown()
	if _, err := authority.Issue("anybody", tlstest.Pair{}); err != nil {
		t.Fatal(err)
	}
	if first.Cmp(shown()) == 0 {
		t.Error("the renewed certificate is not shown")
	}
}

// TestOldTLS is of a server that does not speak TLS 1.3.
func TestOldTLS(t *testing.T) {
	_, files := issue(t)
	e, _ := listenTLS(t, files, func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 })
	_, err := newTransport(e, files, hclog.NewNullLogger()).Attach(within(t, 10*time.Second))
	wantErr(t, err, api.ErrNoProvider)
	if !strings.Contains(err.Error(), "does not speak TLS 1.3") {
		t.Error(err)
	}
}

// TestServerName: the host of the address is what the certificate has to be for.
func TestServerName(t *testing.T) {
	_, files := issue(t)
	for _, host := range []string{"127.0.0.1", "localhost"} {
		e, conns := listenTLS(t, files, func(*tls.Config) {})
		_, port, _ := net.SplitHostPort(e.Address)
		_, err := newTransport(tcp(net.JoinHostPort(host, port)), files, hclog.NewNullLogger()).Attach(within(t, 10*time.Second))
		wantErr(t, err, api.ErrNoProvider)
		want := host
		if net.ParseIP(host) != nil {
			want = "" // an address is not sent, and checked all the same
		}
		if got := (<-conns).ConnectionState().ServerName; got != want {
			t.Errorf("the server is asked for as %q, want %q", got, want)
		}
	}
}

func TestPlainClientOfTLS(t *testing.T) {
	_, files := issue(t)
	p := provider.New(provider.Options{TLS: files})
	defer p.Close()
	e, err := p.Listen(tcp("127.0.0.1:0"))
	wantErr(t, err, nil)
	_, err = attach(within(t, 10*time.Second), e)
	wantErr(t, err, api.ErrNoProvider)
	if !strings.Contains(err.Error(), "give --tls-ca") {
		t.Error(err)
	}
}

func TestTLSAttach(t *testing.T) {
	_, files := issue(t)
	p := provider.New(provider.Options{TLS: files})
	defer p.Close()
	e, err := p.Listen(tcp("localhost:0"))
	wantErr(t, err, nil)
	t.Setenv(api.EnvAddress, e.String())
	c, err := Dial(within(t, 10*time.Second), Options{TLS: files})
	wantErr(t, err, nil)
	defer c.Close()
	wantErr(t, c.Ping(within(t, 10*time.Second)), nil)
	if c.Provider().Address != e {
		t.Errorf("attached at %v", c.Provider().Address)
	}
}

// TestDialWaitsForTCP: a provider may come up later than its clients.
func TestDialWaitsForTCP(t *testing.T) {
	_, files := issue(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	wantErr(t, err, nil)
	e := tcp(l.Addr().String())
	l.Close()
	_, err = Dial(within(t, 10*time.Second), Options{Address: e, TLS: files})
	wantErr(t, err, api.ErrNoProvider)
	dialed := begin(func() (*Client, error) {
		return Dial(within(t, 10*time.Second), Options{Address: e, TLS: files, Wait: 10 * time.Second})
	})
	p := provider.New(provider.Options{TLS: files})
	defer p.Close()
	if _, err := p.Listen(e); err != nil {
		t.Skipf("somebody else has the port: %v", err)
	}
	must(t, <-dialed).Close()
}

// TestDiscoveryPrefersSockets: what needs a certificate is the last choice.
func TestDiscoveryPrefersSockets(t *testing.T) {
	dir := t.TempDir()
	_, socket := serve(t, filepath.Join(dir, "crier.sock"))
	a := api.Announcement{
		Name: "both", Epoch: "1", Services: []api.AnnouncedService{offers(1, 1, api.PriorityPreferredStrongly)},
		Addresses: []string{"tcp://192.0.2.1:4000", "unix://crier.sock"},
	}
	text, err := json.Marshal(a)
	wantErr(t, err, nil)
	wantErr(t, os.WriteFile(filepath.Join(dir, "both"+api.AnnouncementSuffix), text, 0o600), nil)
	wanted := a.Services[0].Selector()
	found, err := find(context.Background(), Options{RunDirs: []string{dir}, Find: wanted.Restrict()})
	wantErr(t, err, nil)
	if found != socket {
		t.Errorf("found %v, want %v", found, socket)
	}
}

// TestWhatTLSSays is of errors that only other implementations make.
func TestWhatTLSSays(t *testing.T) {
	e := tcp("example.org:1")
	remote := func(alert string) error { return &net.OpError{Op: "remote error", Err: errors.New("tls: " + alert)} }
	invalid := func(why x509.InvalidReason) error {
		return &tls.CertificateVerificationError{Err: x509.CertificateInvalidError{Reason: why, Cert: &x509.Certificate{}}}
	}
	tests := []struct {
		err    error
		target error
		want   string
	}{
		{remote("bad certificate"), ErrCertificate, "issued for clients"},
		{remote("certificate required"), ErrCertificate, "there is none"},
		{remote("access denied"), ErrCertificate, "refuses this client's: tls: access denied"},
		{invalid(x509.IncompatibleUsage), ErrCertificate, "have it issued for servers"},
		{io.EOF, nil, ""},
	}
	for _, test := range tests {
		var trouble tlsTrouble
		trouble.note(test.err)
		trouble.note(errors.New("what came of it"))
		err := trouble.explain(e)
		wantErr(t, err, test.target)
		if err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%v: %v, want %q", test.err, err, test.want)
		}
	}
}

// TestRefusedRedial: a client that is not let in again says why, once, and has it
// in the end as its error.
func TestRefusedRedial(t *testing.T) {
	_, files := issue(t)
	other, _ := issue(t)
	p := provider.New(provider.Options{TLS: files})
	e, err := p.Listen(tcp("localhost:0"))
	wantErr(t, err, nil)
	var log strings.Builder // written by the redial loop, which Close joins
	c, err := Dial(within(t, 10*time.Second), Options{
		Address: e, TLS: files, GiveUpAfter: time.Second,
		Logger: hclog.New(&hclog.LoggerOptions{Output: &log, Level: hclog.Warn}),
	})
	wantErr(t, err, nil)
	p.Close()
	files.CA = other.CA()
	p = provider.New(provider.Options{TLS: files})
	defer p.Close()
	if _, err := p.Listen(e); err != nil {
		t.Skipf("somebody else has the port: %v", err)
	}
	_, err = c.Attached(within(t, 10*time.Second), 1)
	wantErr(t, err, api.ErrGone)
	c.Close()
	const words = "an authority that the provider does not know"
	if err == nil || !strings.Contains(err.Error(), words) {
		t.Errorf("it gave up with %v, which does not say %q", err, words)
	}
	if n := strings.Count(log.String(), words); n != 1 {
		t.Errorf("it was said %d times why:\n%s", n, &log)
	}
}
