package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"crier.local/api"
	"crier.local/client"
	"crier.local/provider"
)

// TestActivation: the first client wakes the provider, however it looks for it, and
// what it says arrives; the socket outlives the provider.
func TestActivation(t *testing.T) {
	for _, address := range []string{"found", "given"} {
		t.Run(address, func(t *testing.T) {
			u := newUnit(t)
			r := u.start(u.activated([]string{"-l", u.socket}, "--address", "unix://"+u.socket+".own"))
			r.await("^Listening on", 1)
			file, err := os.Lstat(u.socket)
			if err != nil {
				t.Fatal(err)
			}
			if left, _ := os.ReadDir(u.dir); len(left) != 1 {
				t.Fatalf("in the run directory before anybody came: %v", left)
			}
			args := []string{"send", "--json", "--wait", "30s", "hi"}
			if address == "given" {
				args = append(args, "--address", "unix://"+u.socket)
			}
			if out, err := u.command(args...).CombinedOutput(); err != nil || !strings.Contains(string(out), `"seq"`) {
				t.Errorf("the first client: %v\n%s", err, out)
			}
			r.await("^listening on unix://"+regexp.QuoteMeta(u.socket)+"$", 1)
			r.await("^listening on unix://"+regexp.QuoteMeta(u.socket)+".own$", 1)
			for _, where := range []string{u.socket, u.socket + ".own"} {
				if out, err := u.command("ping", "--address", "unix://"+where).CombinedOutput(); err != nil {
					t.Errorf("%v\n%s", err, out)
				}
			}
			r.terminate()
			r.expectEnd(0)
			there, err := os.Lstat(u.socket)
			if err != nil || !os.SameFile(file, there) || there.Mode() != file.Mode() {
				t.Errorf("the socket was %v and is %v, error %v", file, there, err)
			}
			if _, err := os.Lstat(u.socket + api.AnnouncementSuffix); err == nil {
				t.Error("the announcement is left")
			}
		})
	}
}

// TestActivationRefuses is of descriptors that a provider cannot serve.
func TestActivationRefuses(t *testing.T) {
	t.Run("datagrams", func(t *testing.T) {
		u := newUnit(t)
		r := u.start(u.activated([]string{"-d", "-l", u.socket}))
		r.await("^Listening on", 1)
		conn, err := net.Dial("unixgram", u.socket)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if said := r.expectEnd(exitConfig); !strings.Contains(said, "descriptor 3 ") || !strings.Contains(said, "is not a stream socket\npass on sockets of ListenStream=") {
			t.Errorf("said %s", said)
		}
	})
	t.Run("port without TLS", func(t *testing.T) {
		u := newUnit(t)
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		file, err := l.(*net.TCPListener).File()
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		said := u.start(u.passed(file)).expectEnd(exitConfig)
		if !strings.Contains(said, l.Addr().String()) || !strings.Contains(said, "TCP needs a certificate") || !strings.Contains(said, "give --tls-cert") {
			t.Errorf("said %s", said)
		}
		r := u.start(u.passed(file, "--insecure"))
		r.await("^listening on tcp://"+l.Addr().String()+"$", 1)
		r.terminate()
		if said := r.expectEnd(0); strings.Contains(said, "unix://") {
			t.Errorf("listens at the default address besides: %s", said)
		}
	})
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	defer write.Close()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	connection := os.NewFile(uintptr(pair[0]), "connection")
	defer connection.Close()
	defer unix.Close(pair[1])
	for file, want := range map[*os.File]string{read: "is not a socket", connection: "does not listen"} {
		t.Run(want, func(t *testing.T) {
			u := newUnit(t)
			if said := u.start(u.passed(file)).expectEnd(exitConfig); !strings.Contains(said, want) {
				t.Errorf("said %s", said)
			}
		})
	}
	t.Run("somebody else's", func(t *testing.T) { // as what a shell that was activated passes on
		u := newUnit(t)
		u.env = append(u.env, "LISTEN_FDS=1", "LISTEN_PID=1")
		r := u.start(u.command("serve"))
		r.await("^listening on unix://"+regexp.QuoteMeta(u.socket)+"$", 1)
		r.terminate()
		r.expectEnd(0)
	})
}

// TestNotices: a service manager is told when all listens, and that the end begins.
func TestNotices(t *testing.T) {
	u := newUnit(t)
	n := u.expectNotices("WATCHDOG_USEC=50000", "WATCHDOG_PID=1") // the watchdog is another's
	r := u.start(u.command("serve", "--address", "unix://"+u.socket, "--address", "unix://"+u.socket+"2"))
	n.await("READY=1\nSTATUS=listening on unix://" + u.socket + ", unix://" + u.socket + "2")
	r.await("^listening on", 2)
	for range 3 { // clients can come from then on
		if out, err := u.command("ping", "--wait", "0", "--address", "unix://"+u.socket+"2").CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	}
	r.terminate()
	if got := n.next(time.Now().Add(time.Minute)); got != "STOPPING=1\nSTATUS=closing" {
		t.Errorf("notified of %q", got)
	}
	r.expectEnd(0)
	if more := n.waiting(); more != nil {
		t.Errorf("notified of %q after the end", more)
	}
}

// TestNoticeOfFailure: what cannot listen is never ready.
func TestNoticeOfFailure(t *testing.T) {
	u := newUnit(t)
	n := u.expectNotices("WATCHDOG_USEC=1000000")
	u.start(u.command("serve", "--address", "unix://"+u.socket, "--address", "tcp://127.0.0.1:0")).expectEnd(exitConfig)
	said := u.start(u.command("serve", "--address", "tcp://127.0.0.1:0", "--insecure")).expectEnd(exitConfig)
	if !strings.Contains(said, "the watchdog tries the provider at a unix socket") {
		t.Errorf("said %s", said)
	}
	if got := n.waiting(); got != nil {
		t.Errorf("notified of %q", got)
	}
}

// TestSignsOfLife: they come while clients can come in, and stop while they cannot,
// though the process runs. Here its own user fills the hall in front of its gate.
func TestSignsOfLife(t *testing.T) {
	u := newUnit(t)
	n := u.expectNotices("WATCHDOG_USEC=2000000")
	r := u.start(u.command("serve"))
	n.await("READY=1\nSTATUS=listening on unix://" + u.socket)
	for range 2 {
		n.await("WATCHDOG=1")
	}
	const crowd = 400 // more than are let in at once, for as long as the test may take
	var silent []net.Conn
	for range crowd {
		conn, err := net.Dial("unix", u.socket)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		silent = append(silent, conn)
	}
	const failed = `the provider does not answer; the service manager gets no sign of life.*no answer within 500ms`
	r.await(failed, 1)
	n.waiting() // what was sent before
	r.await(failed, 4)
	if got := n.waiting(); got != nil {
		t.Errorf("signs of life of a provider that lets nobody in: %q", got)
	}
	for _, conn := range silent {
		conn.Close()
	}
	n.await("WATCHDOG=1")
	r.terminate()
	n.await("STOPPING=1\nSTATUS=closing")
	r.expectEnd(0)
}

// TestDoor: what the heartbeat tries is the provider itself, whatever happens to the
// file by which others find it.
func TestDoor(t *testing.T) {
	within := func() context.Context {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		t.Cleanup(cancel)
		return ctx
	}
	open := func(t *testing.T, adopt bool, o provider.Options) (*provider.Provider, *door) {
		u := newUnit(t)
		p := provider.New(o)
		t.Cleanup(func() { p.Close() })
		if adopt {
			l, err := net.Listen("unix", u.socket)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := p.Adopt(l); err != nil {
				t.Fatal(err)
			}
		} else if _, err := p.Listen(api.UnixEndpoint(u.socket)); err != nil {
			t.Fatal(err)
		}
		d, err := openDoor(p.Epoch(), []api.Endpoint{{Network: "tcp", Address: "x:1"}, api.UnixEndpoint(u.socket)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(d.close)
		return p, d
	}
	for _, adopt := range []bool{true, false} {
		t.Run(fmt.Sprintf("file removed, adopted %v", adopt), func(t *testing.T) {
			_, d := open(t, adopt, provider.Options{})
			for range 3 {
				if err := d.try(within()); err != nil {
					t.Error(err)
				}
				if err := os.Remove(d.path); err != nil {
					t.Fatal(err)
				}
				if err := d.try(within()); err != nil && adopt {
					t.Errorf("without the file: %v", err)
				}
				if adopt {
					break
				}
				for _, err := os.Lstat(d.path); err != nil; _, err = os.Lstat(d.path) { // it is mended
					if within().Err() != nil {
						t.Fatal(err)
					}
				}
			}
		})
	}
	t.Run("another provider", func(t *testing.T) {
		_, d := open(t, false, provider.Options{})
		d.epoch = api.Epoch{1}
		if err := d.try(within()); err == nil || !strings.Contains(err.Error(), "another provider") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("full", func(t *testing.T) {
		_, d := open(t, false, provider.Options{Limits: provider.Limits{Processes: 1}})
		c, err := client.Dial(within(), client.Options{Address: api.UnixEndpoint(d.path)})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := d.try(within()); err != nil {
			t.Errorf("a provider that is full does not live: %v", err)
		}
	})
	t.Run("closed", func(t *testing.T) {
		p, d := open(t, true, provider.Options{})
		p.Close()
		if err := d.try(within()); err == nil || !strings.Contains(err.Error(), d.path) {
			t.Errorf("error %v", err)
		}
	})
}

// TestSupervisorStaysOutside: nothing that this process starts takes itself for what
// the service manager has started.
func TestSupervisorStaysOutside(t *testing.T) {
	u := newUnit(t)
	n := u.expectNotices()
	for _, name := range variables {
		t.Setenv(name, "0")
	}
	t.Setenv(notifyVariable, n.conn.LocalAddr().String())
	t.Setenv("WATCHDOG_USEC", "1000000")
	t.Setenv("WATCHDOG_PID", fmt.Sprint(os.Getpid()))
	t.Setenv("LISTEN_PID", fmt.Sprint(os.Getpid()))
	s, err := takeSupervisor()
	if err != nil || s.patience != time.Second {
		t.Fatalf("the supervisor is %+v, error %v", s, err)
	}
	clean := func(when string) {
		for _, name := range variables {
			if value, set := os.LookupEnv(name); set {
				t.Errorf("%s: %s=%s is in the environment", when, name, value)
			}
		}
	}
	clean("at the start")
	if err := s.alive(); err != nil {
		t.Fatal(err)
	}
	n.await("WATCHDOG=1")
	clean("after a notice")
	for _, mistake := range []string{"soon", "1"} {
		t.Setenv("WATCHDOG_USEC", mistake)
		t.Setenv(notifyVariable, n.conn.LocalAddr().String())
		if _, err := takeSupervisor(); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("WATCHDOG_USEC=%q", mistake)) {
			t.Errorf("error %v", err)
		}
		clean("after a mistake")
	}
}

// TestIDsByName: users and groups are admitted by name as by number.
func TestIDsByName(t *testing.T) {
	var users usersFlag
	var groups groupsFlag
	for _, text := range []string{"root", "7,root", "4294967295"} {
		if err := errors.Join(users.Set(text), groups.Set(text)); err != nil {
			t.Error(err)
		}
	}
	if want := "0,7,0,4294967295"; users.String() != want || groups.String() != want {
		t.Errorf("users %s, groups %s, want %s", &users, &groups, want)
	}
	for _, text := range []string{"no-such-name", "4294967296", "-1", "", "root,"} {
		if users.Set(text) == nil || groups.Set(text) == nil {
			t.Errorf("took %q", text)
		}
	}
	u := newUnit(t)
	u.env = append(u.env, "CRIER_ALLOW_UID=root,1", "CRIER_ALLOW_GID=root")
	r := u.start(u.command("serve"))
	r.await("^listening on", 1)
	r.terminate()
	r.expectEnd(0)
	for _, flag := range []string{"--allow-uid", "--allow-gid"} {
		if said := u.start(u.command("serve", flag, "no-such-name")).expectEnd(exitUsage); !strings.Contains(said, `"no-such-name" is no numeric id, and no name that is known here`) {
			t.Errorf("said %s", said)
		}
	}
}
