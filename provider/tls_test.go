package provider

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"crier.local/api"
	"crier.local/api/tlstest"
	"crier.local/client"
)

// TestRefusedCertificates is of clients that the provider does not let in, and of
// what they are told.
func TestRefusedCertificates(t *testing.T) {
	tn := newTown(t, Options{})
	stranger := newAuthority(t)
	now := time.Now()
	foreign := issue(t, stranger, "alice", tlstest.Pair{})
	foreign.CA = tn.authority.CA()
	tests := []struct {
		name, want, logged string
		files              api.TLSFiles
	}{
		{"another authority", "refuses this client's: it comes from an authority that the provider does not know", "unknown authority", foreign},
		{"expired", "refuses this client's: it is out of date", "has expired",
			issue(t, tn.authority, "old", tlstest.Pair{NotBefore: now.Add(-2 * time.Hour), NotAfter: now.Add(-time.Hour)})},
		{"not yet valid", "refuses this client's: it is out of date", "not yet valid",
			issue(t, tn.authority, "young", tlstest.Pair{NotBefore: now.Add(time.Hour)})},
		{"nobody's", "the certificate names nobody", "names nobody", issue(t, tn.authority, "", tlstest.Pair{})},
		{"anonymous", "the certificate names nobody", "names nobody", issue(t, tn.authority, anonymous, tlstest.Pair{})},
		{"too long a name", "the certificate names nobody", "names nobody", issue(t, tn.authority, "long", tlstest.Pair{URI: "u:" + strings.Repeat("x", maxSubject)})},
	}
	inside := tn.client(issue(t, tn.authority, "bob", tlstest.Pair{}))
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			before := tn.log.count(test.logged)
			_, err := tn.dial(test.files)
			if !errors.Is(err, api.ErrDenied) || !errors.Is(err, client.ErrCertificate) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %v with %q", err, client.ErrCertificate, test.want)
			}
			poll(t, "the provider to say whom it refused, and why", func() bool {
				return tn.log.count(test.logged) > before && tn.log.count("address=127.0.0.1:") > 0
			})
			tn.settled()
		})
	}
	if err := inside.Ping(within(t)); err != nil {
		t.Errorf("somebody else was hurt: %v", err)
	}
}

// TestRefusedVersions is of clients that do not speak as Crier does.
func TestRefusedVersions(t *testing.T) {
	tn := newTown(t, Options{})
	good := issue(t, tn.authority, "alice", tlstest.Pair{})
	tests := []struct {
		name, want string
		change     func(*tls.Config)
	}{
		{"good", "", func(*tls.Config) {}},
		{"no certificate", "certificate required", func(c *tls.Config) { c.Certificates = nil }},
		{"TLS 1.2", "protocol version not supported", func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }},
		{"another protocol", "no application protocol", func(c *tls.Config) { c.NextProtos = []string{"h3"} }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := config(t, good)
			test.change(c)
			_, err := tn.greet(c)
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
	tn.settled()
}

// TestRefusedProviders is of providers that a client does not trust.
func TestRefusedProviders(t *testing.T) {
	now := time.Now()
	tests := []struct {
		name, want string
		pair       tlstest.Pair
		ca         bool // the client believes in the authority
	}{
		{"wrong name", "the provider's is for another name", tlstest.Pair{Hosts: []string{"example.org"}}, true},
		{"another authority", "comes from an authority that this client does not know", tlstest.Pair{}, false},
		{"expired", "the provider's is out of date", tlstest.Pair{NotBefore: now.Add(-2 * time.Hour), NotAfter: now.Add(-time.Hour)}, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			tn := newTown(t, Options{})
			issue(t, tn.authority, "provider", test.pair)
			files := issue(t, tn.authority, "alice", tlstest.Pair{})
			if !test.ca {
				files.CA = newAuthority(t).CA()
			}
			_, err := tn.dial(files)
			if !errors.Is(err, client.ErrCertificate) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %v with %q", err, client.ErrCertificate, test.want)
			}
			tn.settled()
		})
	}
}

// TestSubjects is of who clients are by their certificates.
func TestSubjects(t *testing.T) {
	tn := newTown(t, Options{})
	tests := []struct {
		pair tlstest.Pair
		want string
	}{
		{tlstest.Pair{}, "alice"},
		{tlstest.Pair{URI: "spiffe://example.org/alice"}, "spiffe://example.org/alice"},
	}
	for _, test := range tests {
		tn.client(issue(t, tn.authority, "alice", test.pair))
		id := receive(t, "the session", tn.witness.opened)
		if id.Subject != test.want || id.UID != unknownID || id.GID != unknownID || id.PID != 0 || id.Local || id.Groups != nil {
			t.Errorf("identity %+v, want subject %q alone", id, test.want)
		}
	}
}

// TestListenTCP is of what can be listened on, and with what.
func TestListenTCP(t *testing.T) {
	a := newAuthority(t)
	good := issue(t, a, "provider", tlstest.Pair{})
	other := issue(t, a, "other", tlstest.Pair{})
	tests := []struct {
		name, address, want string
		o                   Options
	}{
		{"tls", "127.0.0.1:0", "", Options{TLS: good}},
		{"tls everywhere", ":0", "", Options{TLS: good}},
		{"insecure", "127.0.0.1:0", "", Options{Insecure: true}},
		{"insecure by name", "localhost:0", "", Options{Insecure: true}},
		{"insecure everywhere", ":0", "a loopback address alone", Options{Insecure: true}},
		{"insecure on 0.0.0.0", "0.0.0.0:0", "a loopback address alone", Options{Insecure: true}},
		{"both", "127.0.0.1:0", "choose one", Options{TLS: good, Insecure: true}},
		{"neither", "127.0.0.1:0", "TCP needs a certificate", Options{}},
		{"no key", "127.0.0.1:0", "not given: key", Options{TLS: api.TLSFiles{CA: good.CA, Cert: good.Cert}}},
		{"another's key", "127.0.0.1:0", "private key does not match", Options{TLS: api.TLSFiles{CA: good.CA, Cert: good.Cert, Key: other.Key}}},
		{"no file", "127.0.0.1:0", "no such file", Options{TLS: api.TLSFiles{CA: good.CA, Cert: "/nowhere", Key: good.Key}}},
		{"a key as authority", "127.0.0.1:0", "holds no certificate", Options{TLS: api.TLSFiles{CA: good.Key, Cert: good.Cert, Key: good.Key}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := New(test.o)
			defer p.Close()
			e, err := p.Listen(api.Endpoint{Network: "tcp", Address: test.address})
			if test.want != "" {
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("error %v, want %q", err, test.want)
				}
				return
			}
			if err != nil || strings.HasSuffix(e.Address, ":0") {
				t.Fatalf("listens on %v, %v", e, err)
			}
			if conn, err := net.Dial("tcp", e.Address); err != nil {
				t.Error(err)
			} else {
				conn.Close()
			}
		})
	}
}

// TestInsecure is TCP in the clear.
func TestInsecure(t *testing.T) {
	p, w := New(Options{Insecure: true}), newWitness()
	defer p.Close()
	if err := p.Provide(witnessSelector, w, ServiceOptions{}); err != nil {
		t.Fatal(err)
	}
	e, err := p.Listen(api.Endpoint{Network: "tcp", Address: "localhost:0"})
	if err != nil {
		t.Fatal(err)
	}
	dial(t, e)
	if id := receive(t, "the session", w.opened); id.Subject != anonymous || id.UID != unknownID {
		t.Errorf("identity %+v", id)
	}
	files := issue(t, newAuthority(t), "alice", tlstest.Pair{})
	_, err = client.Dial(within(t), client.Options{Address: e, TLS: files})
	if !errors.Is(err, api.ErrNoProvider) || !strings.Contains(err.Error(), "does not speak TLS") {
		t.Errorf("a client that wants TLS: %v", err)
	}
}

// TestCloseOfTCP: what listens is closed, and clients are told.
func TestCloseOfTCP(t *testing.T) {
	tn := newTown(t, Options{})
	tn.client(issue(t, tn.authority, "alice", tlstest.Pair{}))
	receive(t, "the session", tn.witness.opened)
	half, err := net.Dial("tcp", tn.address.Address)
	if err != nil {
		t.Fatal(err)
	}
	defer half.Close()
	tn.Close()
	if reason := receive(t, "the end of the session", tn.witness.closed); reason != api.ReasonGoingAway {
		t.Errorf("the session ended because of %v", reason)
	}
	if conn, err := net.Dial("tcp", tn.address.Address); err == nil {
		conn.Close()
		t.Error("somebody still listens")
	}
	if g := &tn.front.gate; g.remote.silent != 0 || g.taken != 0 {
		t.Errorf("%d connections are silent, %d places taken", g.remote.silent, g.taken)
	}
}

// TestReplacedOverTLS: a redial buries the former stream, of the same subject alone.
func TestReplacedOverTLS(t *testing.T) {
	p := New(Options{})
	defer p.Close()
	instance := api.InstanceID{1}
	add := func(id api.Identity, greeted bool) *process {
		proc := &process{p: p, peer: peer{identity: id}, instance: instance, greeted: greeted}
		p.processes[proc] = struct{}{}
		return proc
	}
	alice := add(api.Identity{UID: unknownID, Subject: "alice"}, true)
	defer clear(p.processes)
	if ghost := p.ghostLocked(add(api.Identity{UID: unknownID, Subject: "mallory"}, false)); ghost != nil {
		t.Error("another subject buries alice")
	}
	if ghost := p.ghostLocked(add(api.Identity{UID: unknownID, Subject: "alice"}, false)); ghost != alice {
		t.Error("alice meets her own ghost")
	}
}

func TestKilledTLSClient(t *testing.T) {
	tn := newTown(t, Options{})
	files := issue(t, tn.authority, "alice", tlstest.Pair{})
	a := play(t, "attach", append(fileEnv(files), api.EnvAddress+"="+tn.address.String())...)
	a.expect("attached")
	receive(t, "the session", tn.witness.opened)
	began := time.Now()
	a.kill()
	if reason := receive(t, "the end of the session", tn.witness.closed); reason != api.ReasonDied {
		t.Errorf("the session ended because of %v, want %v", reason, api.ReasonDied)
	}
	t.Logf("noticed after %v", time.Since(began))
}

// fileEnv is how a process that plays a role hears of its files.
func fileEnv(f api.TLSFiles) []string {
	return []string{"TEST_CA=" + f.CA, "TEST_CERT=" + f.Cert, "TEST_KEY=" + f.Key}
}

func envFiles() api.TLSFiles {
	return api.TLSFiles{CA: os.Getenv("TEST_CA"), Cert: os.Getenv("TEST_CERT"), Key: os.Getenv("TEST_KEY")}
}

// TestSilentTCP: connections that say nothing make room for others, however long
// a greeting may take, and keep nobody on a unix socket waiting.
func TestSilentTCP(t *testing.T) {
	tn := newPatientTown(t, Options{}, time.Hour)
	local, err := tn.Listen(api.UnixEndpoint(filepath.Join(t.TempDir(), "crier.sock")))
	if err != nil {
		t.Fatal(err)
	}
	files := issue(t, tn.authority, "alice", tlstest.Pair{})
	for range 3 * tn.front.gate.remote.most {
		conn, err := net.Dial("tcp", tn.address.Address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	poll(t, "the places of those that have not greeted to be taken", func() bool {
		g := &tn.front.gate
		g.mu.Lock()
		defer g.mu.Unlock()
		return g.remote.silent >= g.remote.most-1
	})
	began := time.Now()
	dial(t, local)
	t.Logf("on the unix socket after %v", time.Since(began))
	tn.client(files)
	t.Logf("over TCP after %v", time.Since(began))
}

// TestSlowHandshake: whoever dawdles in the handshake has no longer than whoever
// says nothing at all.
func TestSlowHandshake(t *testing.T) {
	tn := newPatientTown(t, Options{}, 300*time.Millisecond)
	raw, err := net.Dial("tcp", tn.address.Address)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	hello := &bytes.Buffer{}
	c := config(t, issue(t, tn.authority, "alice", tlstest.Pair{}))
	_ = tls.Client(&recorder{Conn: raw, to: hello}, c).HandshakeContext(context.Background())
	ctx, cancel := context.WithCancel(within(t))
	go func() {
		defer cancel()
		raw.SetReadDeadline(time.Now().Add(deadline))
		io.Copy(io.Discard, raw)
	}()
	for _, b := range hello.Bytes() {
		if _, err := raw.Write([]byte{b}); err != nil {
			break
		}
		select {
		case <-ctx.Done():
		case <-time.After(10 * time.Millisecond):
		}
	}
	<-ctx.Done()
	poll(t, "the provider to say whom it refused", func() bool { return tn.log.count("refused a client") == 1 })
	tn.settled()
}

// recorder keeps what is written, in the place of sending it.
type recorder struct {
	net.Conn
	to *bytes.Buffer
}

func (r *recorder) Write(b []byte) (int, error) {
	r.to.Write(b)
	return 0, io.ErrClosedPipe
}
