package deploy

import (
	"fmt"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// cable is a link between two containers of which the test is the wire: every
// packet of theirs passes here, and is late.
type cable struct {
	delay  time.Duration
	ends   [2]*os.File
	passed atomic.Int64
	work   sync.WaitGroup
}

var cableEnds atomic.Int64

// layCable has what two containers say to each other in a network go by a cable
// from now on, what they have begun too. When the test ends it goes its old way.
func layCable(t testing.TB, a, b *container, network string, delay time.Duration) *cable {
	t.Helper()
	c := &cable{delay: delay}
	pair := [2]*container{a, b}
	for i, end := range pair {
		name := fmt.Sprintf("cw%dp%d", cableEnds.Add(1), os.Getpid())
		f, err := openTun(name)
		if err != nil {
			t.Skipf("no tunnels here: %v", err)
		}
		c.ends[i] = f
		if err := output(exec.Command("ip", "link", "set", name, "netns", fmt.Sprint(end.state().Pid))); err != nil {
			t.Fatal(err)
		}
		end.within("ip", "link", "set", name, "up")
		end.within("ip", "route", "add", pair[1-i].address(network)+"/32", "dev", name, "src", end.address(network))
	}
	c.forward(c.ends[0], c.ends[1])
	c.forward(c.ends[1], c.ends[0])
	t.Cleanup(func() {
		for _, f := range c.ends {
			f.Close()
		}
		c.work.Wait()
	})
	return c
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
func (c *cable) forward(from, to *os.File) {
	under := make(chan packet, 10_000)
	c.work.Go(func() {
		defer close(under)
		for {
			b := make([]byte, 2000)
			n, err := from.Read(b)
			if err != nil {
				return
			}
			under <- packet{time.Now().Add(c.delay), b[:n]}
		}
	})
	c.work.Go(func() {
		for p := range under {
			<-time.After(time.Until(p.due))
			c.passed.Add(1)
			_, _ = to.Write(p.data)
		}
	})
}
