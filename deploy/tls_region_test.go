package deploy

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// region is a scene whose provider is in two networks: those who come from there
// come over TCP, with a certificate that tls/certificates.sh has made.
type region struct {
	*scene
	certs      string
	east, west string
	provider   *container
}

var regions atomic.Int64

// newRegion starts the provider.
func newRegion(t testing.TB) *region {
	t.Helper()
	engine(t)
	name := fmt.Sprintf("%s-region-%d", image, regions.Add(1))
	r := &region{certs: newCerts(t), east: network(t, name+"-east"), west: network(t, name+"-west")}
	r.scene = newScene(t)
	certify(t, r.certs, "provider", fmt.Sprint(providerUID), "provider")
	o := asProvider
	o.network, o.flags = r.east, append(secrets(r.certs, r.certs, "provider"), "--network-alias", "provider")
	r.provider = r.run("provider", o, "serve", "--allow-gid", fmt.Sprint(groupID),
		"--address", "unix://"+runDirectory+"/crier.sock", "--address", "tcp://0.0.0.0:4000")
	docker(t, "network", "connect", "--alias", "provider", r.west, r.provider.name)
	r.provider.said.expect("^listening on tcp://")
	return r
}

// network makes a network that leads nowhere else.
func network(t testing.TB, name string) string {
	t.Helper()
	docker(t, "network", "create", "--internal", name)
	t.Cleanup(func() { docker(t, "network", "rm", name) })
	return name
}

// newCerts makes an authority, and returns where certificates of it go. Their keys
// belong to the users of containers, which takes root.
func newCerts(t testing.TB) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can give keys to the users of containers")
	}
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip(err)
	}
	certs := filepath.Join(t.TempDir(), "certs")
	certify(t, certs, "authority")
	return certs
}

// certify runs certificates.sh.
func certify(t testing.TB, certs string, args ...string) {
	t.Helper()
	certifyFor(t, 1, certs, args...)
}

// certifyFor has what is made be good for so many days. What is good for none has
// ended as soon as it is made.
func certifyFor(t testing.TB, days int, certs string, args ...string) {
	t.Helper()
	cmd := exec.Command("tls/certificates.sh", args...)
	cmd.Env = append(os.Environ(), "CERTS="+certs, "AUTHORITY="+filepath.Join(filepath.Dir(certs), "authority"), fmt.Sprintf("DAYS=%d", days))
	if err := output(cmd); err != nil {
		t.Fatal(err)
	}
}

// client is for the container of a client with a certificate for name.
func (r *region) client(name, network string) options {
	r.t.Helper()
	certify(r.t, r.certs, "client", fmt.Sprint(clientUID), name)
	return r.bearing(name, network)
}

// bearing is for a container that has what there is for name, and has never heard
// of the volume.
func (r *region) bearing(name, network string) options {
	return bearing(r.certs, r.certs, name, network)
}

// bearing is for a container that knows the authority of one directory, and has
// its certificate from another.
func bearing(authority, certs, name, network string) options {
	flags := append(secrets(authority, certs, name), "--env", "CRIER_ADDRESS=tcp://provider:4000")
	return options{sealed: true, network: network, flags: flags}
}

// secrets are the flags of docker run for a container that gets the three files,
// and is told where they are. Compose mounts them in the same way.
func secrets(authority, certs, name string) (flags []string) {
	const dir = "/run/secrets/"
	for _, file := range []struct{ from, to string }{
		{filepath.Join(authority, "ca.pem"), "ca.pem"}, {filepath.Join(certs, name+".pem"), "cert.pem"}, {filepath.Join(certs, name+".key"), "key.pem"},
	} {
		flags = append(flags, "--volume", file.from+":"+dir+file.to+":ro")
	}
	for _, variable := range []string{"CA=" + dir + "ca.pem", "CLIENT_CA=" + dir + "ca.pem", "CERT=" + dir + "cert.pem", "KEY=" + dir + "key.pem"} {
		flags = append(flags, "--env", "CRIER_TLS_"+variable)
	}
	return flags
}

// say sends a text to everyone, by the socket.
func (r *region) say(text string) {
	r.t.Helper()
	docker(r.t, "exec", r.provider.name, "/crier", "send", text)
}

// only returns the connection of that name. The test fails if there is none, or more.
func (l seats) only(t testing.TB, name string) seat {
	t.Helper()
	i := l.find(name)
	if i < 0 || l[i+1:].find(name) >= 0 {
		t.Fatalf("want %s once among %+v", name, l)
	}
	return l[i]
}

// address returns that of a container in a network.
func (c *container) address(network string) string {
	c.s.t.Helper()
	return docker(c.s.t, "inspect", "--format", fmt.Sprintf("{{(index .NetworkSettings.Networks %q).IPAddress}}", network), c.name)
}

// greet connects to the provider from outside the containers, as somebody who is
// no client of Crier's, and returns its certificate once it has said something.
func (r *region) greet(change func(*tls.Config)) (*x509.Certificate, error) {
	r.t.Helper()
	conn, err := net.DialTimeout("tcp", net.JoinHostPort(r.provider.address(r.east), "4000"), patience)
	if err != nil {
		r.t.Skipf("the containers' networks are out of reach: %v", err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	config := &tls.Config{ServerName: "provider", RootCAs: x509.NewCertPool(), NextProtos: []string{"h2"}}
	config.RootCAs.AppendCertsFromPEM(read(r.t, filepath.Join(r.certs, "ca.pem")))
	change(config)
	c := tls.Client(conn, config)
	if _, err := c.Read(make([]byte, 1)); err != nil {
		return nil, err
	}
	return c.ConnectionState().PeerCertificates[0], nil
}

// bears has a configuration show the certificate for name.
func (r *region) bears(name string) func(*tls.Config) {
	pair, err := tls.LoadX509KeyPair(filepath.Join(r.certs, name+".pem"), filepath.Join(r.certs, name+".key"))
	if err != nil {
		r.t.Fatal(err)
	}
	return func(c *tls.Config) { c.Certificates = []tls.Certificate{pair} }
}

// series are messages of somebody who numbers them, in the order heard.
type series struct {
	from string
	next int // 0 also: whichever comes first
	seen int
}

// hear reads one, which must be the next.
func (s *series) hear(tr *transcript) line {
	tr.t.Helper()
	l := tr.expect("received: hello from " + s.from + ` \(\d+\)$`)
	var n int
	if _, err := fmt.Sscanf(l.text[strings.LastIndex(l.text, "("):], "(%d)", &n); err != nil {
		tr.t.Fatal(err)
	}
	if want := cmp.Or(s.next, n); n != want {
		tr.t.Errorf("%s heard %d of %s, not %d", tr.of, n, s.from, want)
	}
	s.next, s.seen = n+1, s.seen+1
	return l
}

// catchUp hears all that there is so far.
func (s *series) catchUp(tr *transcript) {
	tr.t.Helper()
	for range tr.count("received: hello from "+s.from+" ") - s.seen {
		s.hear(tr)
	}
}
