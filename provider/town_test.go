package provider

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"crier.local/api"
	"crier.local/api/tlstest"
	"crier.local/client"
)

// logbook is a log that a test reads.
type logbook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (c *logbook) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.Write(b)
}

func (c *logbook) logger() hclog.Logger {
	return hclog.New(&hclog.LoggerOptions{Output: c, Level: hclog.Debug})
}

// count returns how many lines hold text.
func (c *logbook) count(text string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for line := range strings.Lines(c.text.String()) {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

// town is a provider that listens on TCP, and the authority of all certificates.
type town struct {
	*Provider
	t         *testing.T
	witness   *witness
	address   api.Endpoint
	authority *tlstest.Authority
	log       *logbook
}

// newTown returns a provider with a certificate.
func newTown(t *testing.T, o Options) *town {
	t.Helper()
	return newPatientTown(t, o, greetingTime)
}

// newPatientTown is newTown, where a greeting may take that long.
func newPatientTown(t *testing.T, o Options, patience time.Duration) *town {
	t.Helper()
	authority := newAuthority(t)
	o.TLS = issue(t, authority, "provider", tlstest.Pair{})
	log := &logbook{}
	o.Logger = log.logger()
	p, w := New(o), newWitness()
	p.front.gate.patience = patience
	t.Cleanup(func() { p.Close() })
	if err := p.Provide(witnessSelector, w, ServiceOptions{}); err != nil {
		t.Fatal(err)
	}
	e, err := p.Listen(api.Endpoint{Network: "tcp", Address: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	return &town{p, t, w, e, authority, log}
}

func newAuthority(t testing.TB) *tlstest.Authority {
	t.Helper()
	a, err := tlstest.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func issue(t testing.TB, a *tlstest.Authority, name string, o tlstest.Pair) api.TLSFiles {
	t.Helper()
	files, err := a.Issue(name, o)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// client returns a client with that certificate, in which a session is open.
func (tn *town) client(files api.TLSFiles) *client.Client {
	tn.t.Helper()
	c, err := tn.dial(files)
	if err != nil {
		tn.t.Fatal(err)
	}
	if _, err := c.Open(within(tn.t), witnessSelector); err != nil {
		tn.t.Fatal(err)
	}
	return c
}

func (tn *town) dial(files api.TLSFiles) (*client.Client, error) {
	c, err := client.Dial(within(tn.t), client.Options{Address: tn.address, TLS: files, Wait: -1})
	if err == nil {
		tn.t.Cleanup(func() { c.Close() })
	}
	return c, err
}

// greet makes a TLS connection by hand, and returns what the provider says to it.
func (tn *town) greet(config *tls.Config) (tls.ConnectionState, error) {
	tn.t.Helper()
	raw, err := net.Dial("tcp", tn.address.Address)
	if err != nil {
		tn.t.Fatal(err)
	}
	defer raw.Close()
	raw.SetDeadline(time.Now().Add(deadline))
	conn := tls.Client(raw, config)
	if err := conn.Handshake(); err != nil {
		return tls.ConnectionState{}, err
	}
	_, err = io.ReadFull(conn, make([]byte, 9)) // of HTTP/2's settings
	return conn.ConnectionState(), err
}

// config is what a client that makes TLS by hand shows and believes.
func config(t testing.TB, files api.TLSFiles) *tls.Config {
	t.Helper()
	authority, err := os.ReadFile(files.CA)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(files.Cert, files.Key)
	if err != nil {
		t.Fatal(err)
	}
	c := &tls.Config{ServerName: "localhost", RootCAs: x509.NewCertPool(), Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2"}}
	c.RootCAs.AppendCertsFromPEM(authority)
	return c
}

// settled waits until no handshake is going on any more.
func (tn *town) settled() {
	tn.t.Helper()
	poll(tn.t, "the handshakes to be over", func() bool {
		g := &tn.front.gate
		g.mu.Lock()
		defer g.mu.Unlock()
		return g.remote.silent == 0
	})
}

// poll waits for what nothing tells of.
func poll(t testing.TB, what string, done func() bool) {
	t.Helper()
	for ctx := within(t); !done(); {
		select {
		case <-ctx.Done():
			t.Fatalf("in vain for %s", what)
		case <-time.After(5 * time.Millisecond):
		}
	}
}
