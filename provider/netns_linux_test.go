package provider

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"crier.local/api"
	"crier.local/api/tlstest"
)

// enough bounds what takes the seconds that keepalive takes.
const enough = time.Minute

var networks atomic.Int32

// network is another host, as far as a process can tell, and the link to it.
type network struct {
	t          *testing.T
	name       string
	near, far  string // the two ends of the link
	host, peer string // their addresses
}

// newNetwork makes a network namespace with a link to this one. It skips the test
// where that cannot be done.
func newNetwork(t *testing.T) *network {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can make a network namespace")
	}
	number := networks.Add(1)
	id := fmt.Sprintf("%d%d", os.Getpid()%100000, number)
	octet := (os.Getpid() + int(number)) % 250
	n := &network{
		t: t, name: "crier" + id, near: "cn" + id, far: "cf" + id,
		host: fmt.Sprintf("10.211.%d.1", octet), peer: fmt.Sprintf("10.211.%d.2", octet),
	}
	if out, err := exec.Command("ip", "netns", "add", n.name).CombinedOutput(); err != nil {
		t.Skipf("no network namespaces here: %v: %s", err, out)
	}
	t.Cleanup(func() {
		exec.Command("ip", "link", "del", n.near).Run()
		exec.Command("ip", "netns", "del", n.name).Run()
	})
	for _, line := range []string{
		"link add " + n.near + " type veth peer name " + n.far + " netns " + n.name,
		"addr add " + n.host + "/24 dev " + n.near,
		"link set " + n.near + " up",
		"-n " + n.name + " addr add " + n.peer + "/24 dev " + n.far,
		"-n " + n.name + " link set " + n.far + " up",
		"-n " + n.name + " link set lo up",
	} {
		if out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput(); err != nil {
			t.Skipf("no link between network namespaces here: ip %s: %v: %s", line, err, out)
		}
	}
	return n
}

// cut makes the link swallow everything, in both directions, and nobody is told.
func (n *network) cut() {
	n.t.Helper()
	for _, chain := range []string{"INPUT", "OUTPUT"} {
		n.iptables("-A", chain, "-j", "DROP")
	}
}

func (n *network) mend() {
	n.t.Helper()
	n.iptables("-F")
}

func (n *network) iptables(args ...string) {
	n.t.Helper()
	args = append([]string{"netns", "exec", n.name, "iptables", "-w"}, args...)
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		n.t.Skipf("no packet filter here: %v: %s", err, out)
	}
}

// play starts a process at the other end of the link.
func (n *network) play(role string, env ...string) *actor {
	n.t.Helper()
	cmd := roleCommand(os.Args[0], role, env...)
	cmd.Args = append([]string{"ip", "netns", "exec", n.name, cmd.Path}, cmd.Args[1:]...)
	cmd.Path = lookPath(n.t, "ip")
	return start(n.t, cmd)
}

func lookPath(t *testing.T, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Skip(err)
	}
	return path
}

// await returns when the process says something that holds text.
func (a *actor) await(text string) {
	a.t.Helper()
	late := time.After(enough)
	for {
		select {
		case line, ok := <-a.lines:
			if !ok {
				a.t.Fatalf("the process has ended without %q", text)
			}
			if strings.Contains(line, text) {
				return
			}
		case <-late:
			a.t.Fatalf("in vain for %q", text)
		}
	}
}

// listenOn returns a town that listens on the near end of the link.
func (n *network) listenOn() (*town, api.TLSFiles) {
	n.t.Helper()
	tn := newTown(n.t, Options{})
	issue(n.t, tn.authority, "provider", tlstest.Pair{Hosts: []string{n.host, "127.0.0.1"}})
	e, err := tn.Listen(api.Endpoint{Network: "tcp", Address: net.JoinHostPort(n.host, "0")})
	if err != nil {
		n.t.Fatal(err)
	}
	tn.address = e
	return tn, issue(n.t, tn.authority, "alice", tlstest.Pair{})
}

// TestLinkCut: both sides notice that the other is out of reach, though nothing is
// to be sent, and find each other when the link is back.
func TestLinkCut(t *testing.T) {
	t.Parallel() // it waits most of the time
	n := newNetwork(t)
	tn, files := n.listenOn()
	visitor := n.play("visitor", append(fileEnv(files), api.EnvAddress+"="+tn.address.String())...)
	visitor.await("open 1")
	n.cut()
	began := time.Now()
	lost := make(chan time.Duration, 1)
	go func() {
		visitor.await("provider lost")
		lost <- time.Since(began)
	}()
	reason := waitFor(t, "the end of the session", tn.witness.closed)
	noticed := time.Since(began)
	if reason != api.ReasonUnreachable {
		t.Errorf("the session ended because of %v, want %v", reason, api.ReasonUnreachable)
	}
	t.Logf("the provider noticed after %v, the client after %v", noticed, waitFor(t, "the client to notice", lost))
	mended := time.Now()
	n.mend()
	visitor.await("open 2")
	t.Logf("attached again after %v", time.Since(mended))
}

// TestLinkCutInFlood: it is noticed as well while there is something to be sent.
func TestLinkCutInFlood(t *testing.T) {
	t.Parallel() // it waits most of the time
	n := newNetwork(t)
	tn, files := n.listenOn()
	n.play("visitor", append(fileEnv(files), api.EnvAddress+"="+tn.address.String())...).await("open 1")
	var session *Session
	for _, proc := range tn.snapshot() {
		for _, s := range proc.sessions {
			session = s
		}
	}
	r, err := session.NewResource(nil, ResourceOptions{Notifiable: true})
	if err != nil {
		t.Fatal(err)
	}
	n.cut()
	began := time.Now()
	if err := r.Notify(&Notification{Body: make([]byte, 100_000)}); err != nil {
		t.Fatal(err)
	}
	if reason := waitFor(t, "the end of the session", tn.witness.closed); reason != api.ReasonUnreachable {
		t.Errorf("the session ended because of %v, want %v", reason, api.ReasonUnreachable)
	}
	t.Logf("the provider noticed after %v", time.Since(began))
}

// TestStoppedTLSClient: a process that is stopped answers nothing, though its
// kernel does.
func TestStoppedTLSClient(t *testing.T) {
	t.Parallel() // it waits most of the time
	tn := newTown(t, Options{})
	files := issue(t, tn.authority, "alice", tlstest.Pair{})
	a := play(t, "attach", append(fileEnv(files), api.EnvAddress+"="+tn.address.String())...)
	a.expect("attached")
	receive(t, "the session", tn.witness.opened)
	a.cmd.Process.Signal(syscall.SIGSTOP)
	began := time.Now()
	if reason := waitFor(t, "the end of the session", tn.witness.closed); reason != api.ReasonUnreachable {
		t.Errorf("the session ended because of %v, want %v", reason, api.ReasonUnreachable)
	}
	t.Logf("the provider noticed after %v", time.Since(began))
}

// TestKilledBehindALink: the end of a process on another host is not an end of
// the link.
func TestKilledBehindALink(t *testing.T) {
	n := newNetwork(t)
	tn, files := n.listenOn()
	visitor := n.play("visitor", append(fileEnv(files), api.EnvAddress+"="+tn.address.String())...)
	visitor.await("open 1")
	began := time.Now()
	visitor.kill() // ip has become the visitor by then
	if reason := waitFor(t, "the end of the session", tn.witness.closed); reason != api.ReasonDied {
		t.Errorf("the session ended because of %v, want %v", reason, api.ReasonDied)
	}
	t.Logf("the provider noticed after %v", time.Since(began))
}

func waitFor[T any](t testing.TB, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(enough):
		t.Fatalf("in vain for %s", what)
	}
	panic("unreachable")
}
