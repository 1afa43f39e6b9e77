package provider

import (
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"crier.local/api"
	"crier.local/api/tlstest"
)

// line is a link between two hosts of which the test is the cable: it delays what
// comes, and loses some.
type line struct {
	delay  time.Duration
	loss   float64
	ends   [2]*os.File
	passed atomic.Int64
	lost   atomic.Int64
	work   sync.WaitGroup
}

// newLine is newNetwork with a line in the place of the kernel's link.
func newLine(t *testing.T, delay time.Duration, loss float64) (*network, *line) {
	t.Helper()
	n := newNetwork(t)
	l := &line{delay: delay, loss: loss}
	for i, name := range []string{n.near + "t", n.far + "t"} {
		f, err := openTun(name)
		if err != nil {
			t.Skipf("no tunnels here: %v", err)
		}
		l.ends[i] = f
	}
	octets := strings.Split(n.host, ".")
	octets[1] = "212"
	n.host = strings.Join(octets, ".")
	octets[3] = "2"
	n.peer = strings.Join(octets, ".")
	for _, command := range []string{
		"addr add " + n.host + " peer " + n.peer + " dev " + n.near + "t",
		"link set " + n.near + "t up",
		"link set " + n.far + "t netns " + n.name,
		"-n " + n.name + " addr add " + n.peer + " peer " + n.host + " dev " + n.far + "t",
		"-n " + n.name + " link set " + n.far + "t up",
	} {
		if out, err := exec.Command("ip", strings.Fields(command)...).CombinedOutput(); err != nil {
			t.Skipf("no tunnel between network namespaces here: ip %s: %v: %s", command, err, out)
		}
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for i := range l.ends {
		l.forward(l.ends[i], l.ends[1-i], rand.New(rand.NewPCG(seed, uint64(i))))
	}
	t.Cleanup(func() {
		for _, f := range l.ends {
			f.Close()
		}
		l.work.Wait()
	})
	return n, l
}

func openTun(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	request, err := unix.NewIfreq(name)
	if err == nil {
		request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

type packet struct {
	due  time.Time
	data []byte
}

// forward carries packets one way until the ends are closed.
func (l *line) forward(from, to *os.File, chance *rand.Rand) {
	under := make(chan packet, 10_000)
	l.work.Go(func() {
		defer close(under)
		for {
			b := make([]byte, 2000)
			n, err := from.Read(b)
			if err != nil {
				return
			}
			if chance.Float64() < l.loss {
				l.lost.Add(1)
				continue
			}
			under <- packet{time.Now().Add(l.delay), b[:n]}
		}
	})
	l.work.Go(func() {
		for p := range under {
			<-time.After(time.Until(p.due))
			l.passed.Add(1)
			_, _ = to.Write(p.data)
		}
	})
}

// TestLossyLink: two that talk over a slow link that loses packets hear all, in
// order and once, and neither takes the other for dead.
func TestLossyLink(t *testing.T) {
	t.Parallel() // it waits most of the time
	n, l := newLine(t, 100*time.Millisecond, 0.05)
	authority := newAuthority(t)
	p := New(Options{TLS: issue(t, authority, "provider", tlstest.Pair{Hosts: []string{n.host}})})
	defer p.Close()
	service := &parrot{heard: make(chan uint32, talk), closed: make(chan api.Reason, 1)}
	if err := p.Provide(parrotSelector, service, ServiceOptions{}); err != nil {
		t.Fatal(err)
	}
	e, err := p.Listen(api.Endpoint{Network: "tcp", Address: net.JoinHostPort(n.host, "0")})
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	talker := n.play("talker", append(fileEnv(issue(t, authority, "alice", tlstest.Pair{})), api.EnvAddress+"="+e.String())...)
	for i := range uint32(talk) {
		select {
		case got := <-service.heard:
			if got != i {
				t.Fatalf("heard %d in the place of %d", got, i)
			}
		case reason := <-service.closed:
			t.Fatalf("the session ended because of %v after %d messages", reason, i)
		case <-time.After(enough):
			t.Fatalf("nothing comes after %d messages", i)
		}
	}
	talker.await("heard all over attachment 1")
	if reason := waitFor(t, "the end of the session", service.closed); reason != api.ReasonClosed {
		t.Errorf("the session ended because of %v", reason)
	}
	t.Logf("%d messages there and back in %v, one posted every %v; %d packets passed, %d lost",
		talk, time.Since(began), talkEvery, l.passed.Load(), l.lost.Load())
}

// TestHalfOpenPeer: a peer that vanishes with its whole host says nothing more,
// and is missed all the same.
func TestHalfOpenPeer(t *testing.T) {
	t.Parallel() // it waits most of the time
	n, l := newLine(t, 0, 0)
	tn := newTown(t, Options{})
	issue(t, tn.authority, "provider", tlstest.Pair{Hosts: []string{n.host}})
	e, err := tn.Listen(api.Endpoint{Network: "tcp", Address: net.JoinHostPort(n.host, "0")})
	if err != nil {
		t.Fatal(err)
	}
	visitor := n.play("visitor", append(fileEnv(issue(t, tn.authority, "alice", tlstest.Pair{})), api.EnvAddress+"="+e.String())...)
	visitor.await("open 1")
	began := time.Now()
	l.ends[1].Close() // takes the interface of the far host away
	visitor.kill()
	if reason := waitFor(t, "the end of the session", tn.witness.closed); reason != api.ReasonUnreachable {
		t.Errorf("the session ended because of %v, want %v", reason, api.ReasonUnreachable)
	}
	t.Logf("the provider noticed after %v", time.Since(began))
}
