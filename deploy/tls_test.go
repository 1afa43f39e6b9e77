package deploy

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestTLS has containers of two networks, and one without, talk to one another.
func TestTLS(t *testing.T) {
	t.Parallel()
	r := newRegion(t)
	room := r.run("room", options{}, "listen", "--presence", "--name", "room")
	room.said.expect("^listening in lobby as ")
	bob := r.run("bob", r.client("bob", r.west), "join", "--name", "bob", "--interval", "1h")
	room.said.expect("^bob joined$")
	alice := r.run("alice", r.client("alice", r.east), "join", "--name", "alice", "--interval", "1h")
	bob.log.expect(`^bob received: hello from alice \(0\)$`)
	room.log.expect(`^hello from alice \(0\)$`)
	r.say("hello to both")
	alice.log.expect("^alice received: hello to both$")
	for name, want := range map[string]seat{
		"alice": {UID: 65534, Subject: "spiffe://example.org/alice"},
		"bob":   {UID: 65534, Subject: "spiffe://example.org/bob"},
		"room":  {UID: clientUID},
	} {
		got := r.who().only(t, name)
		if got.UID != want.UID || got.Subject != want.Subject {
			t.Errorf("%s is %+v, not %+v", name, got, want)
		}
	}
	beyond := r.run("beyond", r.bearing("alice", r.east), "ping", "--address", "tcp://"+r.provider.address(r.west)+":4000")
	if code := beyond.wait(); code != 69 {
		t.Errorf("from one network into the other: exit %d", code)
	}
	alice.kill()
	room.said.expect("^alice left: died$")
}

// TestTLSRefused is of those whom the provider does not let in, or who do not trust
// it. Two who talk meanwhile do not notice.
func TestTLSRefused(t *testing.T) {
	t.Parallel()
	r := newRegion(t)
	bob := r.run("bob", r.client("bob", r.west), "join", "--name", "bob", "--interval", "200ms")
	bob.log.expect("^My name is bob$")
	alice := r.run("alice", r.client("alice", r.east), "join", "--name", "alice", "--interval", "200ms")
	alice.log.expect("^alice received: ")

	elsewhere := newCerts(t)
	certify(t, elsewhere, "client", fmt.Sprint(clientUID), "alice")
	certifyFor(t, 0, r.certs, "client", fmt.Sprint(clientUID), "old")
	certify(t, r.certs, "client", fmt.Sprint(clientUID), "server")
	swap(t, r.certs, "provider.pem", "server.pem")
	swap(t, r.certs, "provider.key", "server.key")

	good := r.bearing("alice", r.east)
	tests := []struct {
		name, words string
		code        int
		o           options
		args        []string
	}{
		{"accepted", "", 0, good, nil},
		{"of another authority", "the provider at tcp://provider:4000 refuses this client's: it comes from an authority that the provider does not know", 77,
			bearing(r.certs, elsewhere, "alice", r.east), nil},
		{"provider of another authority", "tcp://provider:4000: the provider's comes from an authority that this client does not know", 77,
			bearing(elsewhere, r.certs, "alice", r.east), nil},
		{"provider of another name", "the provider's is for another name (x509: cannot validate certificate for " + r.provider.address(r.east) + " because it doesn't contain any IP SANs)", 77,
			good, []string{"--address", "tcp://" + r.provider.address(r.east) + ":4000"}},
		{"expired", "refuses this client's: it is out of date", 77, r.bearing("old", r.east), nil},
		{"not for clients", "refuses this client's: it cannot be used", 77, r.bearing("server", r.east), nil},
		{"none", "needs TLS", 78, options{sealed: true, network: r.east}, []string{"--address", "tcp://provider:4000"}},
		{"key of somebody else", "permission denied", 78, as("4711:4711", good), nil},
	}
	for _, test := range tests {
		code, text := r.once(test.o, append([]string{"ping"}, test.args...)...)
		if code != test.code || !strings.Contains(text, test.words+"\n") {
			t.Errorf("%s: not exit %d with %q", test.name, test.code, test.words)
		}
		t.Logf("%s: exit %d\n%s", test.name, code, text)
	}
	r.refuseForeigners()

	r.say("over")
	alice.log.expect("^alice received: over$")
	bob.log.expect("^bob received: over$")
	for _, c := range []*container{alice, bob} {
		if c.said.count("reconnected|restarted|hello") > 0 {
			t.Errorf("%s was disturbed:\n%s", c.name, c.said)
		}
	}
	if there := r.who(); len(there) != 2 {
		t.Errorf("there are %+v", there)
	}
}

// refuseForeigners has those come who are no clients of Crier's.
func (r *region) refuseForeigners() {
	r.t.Helper()
	good := r.bears("alice")
	tests := []struct {
		name, words string
		change      func(*tls.Config)
	}{
		{"accepted", "", good},
		{"no certificate", "certificate required", func(*tls.Config) {}},
		{"TLS 1.2", "protocol version not supported", func(c *tls.Config) {
			good(c)
			c.MaxVersion = tls.VersionTLS12
		}},
	}
	for _, test := range tests {
		_, err := r.greet(test.change)
		if test.words == "" && err != nil || test.words != "" && (err == nil || !strings.Contains(err.Error(), test.words)) {
			r.t.Errorf("%s: %v, not %q", test.name, err, test.words)
		}
		r.t.Logf("%s: %v", test.name, err)
	}
}

// as is o for another user.
func as(user string, o options) options {
	o.user = user
	return o
}

// swap copies a file of certs over another, which stays the same file.
func swap(t testing.TB, certs, from, to string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(certs, to), read(t, filepath.Join(certs, from)), 0); err != nil {
		t.Fatal(err)
	}
}

// TestTLSRenewed replaces certificates that containers have mounted. Nobody is
// restarted for it, and nobody dropped.
func TestTLSRenewed(t *testing.T) {
	t.Parallel()
	r := newRegion(t)
	alice := r.run("alice", r.client("alice", r.east), "listen", "--name", "alice")
	alice.said.expect("^listening in lobby as alice$")
	serial := func() string {
		cert, err := r.greet(r.bears("alice"))
		if err != nil {
			t.Fatal(err)
		}
		return cert.SerialNumber.String()
	}
	renew := func(days int) { certifyFor(t, days, r.certs, "client", fmt.Sprint(clientUID), "alice") }
	ping := func() (code int) {
		_, err := try("exec", alice.name, "/crier", "ping")
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			return exit.ExitCode()
		}
		return 0
	}

	before := serial()
	certify(t, r.certs, "provider", fmt.Sprint(providerUID), "provider")
	if serial() == before {
		t.Error("the provider shows the certificate of before")
	}
	renew(0)
	if code := ping(); code != 77 {
		t.Errorf("with a certificate that is out of date: exit %d", code)
	}
	r.say("still here?")
	alice.log.expect(`^still here\?$`)
	if alice.said.count("reconnected|restarted") > 0 {
		t.Errorf("alice was dropped:\n%s", alice.said)
	}

	docker(t, "restart", r.provider.name)
	alice.said.expect("cannot be attached to again; it is tried on.*it is out of date")
	renew(1)
	alice.said.expect("^the provider was restarted")
	if code := ping(); code != 0 {
		t.Errorf("with a renewed certificate: exit %d", code)
	}

	// Another file in its place is not the one that is mounted.
	pem := filepath.Join(r.certs, "alice.pem")
	if err := os.Rename(pem, pem+".before"); err != nil {
		t.Fatal(err)
	}
	renew(0)
	if code := ping(); code != 0 {
		t.Errorf("with a certificate that it cannot see: exit %d", code)
	}
}
