package provider

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"

	"golang.org/x/sys/unix"

	"crier.local/api"
	"crier.local/client"
)

// chronicle is a log that a test can wait for.
type chronicle struct {
	mu    sync.Mutex
	lines []string
	past  []string      // lines that were looked at
	grown chan struct{} // closed and replaced with each line
}

func newChronicle() *chronicle { return &chronicle{grown: make(chan struct{})} }

func (c *chronicle) logger() hclog.Logger {
	return hclog.New(&hclog.LoggerOptions{Level: hclog.Info, Output: c})
}

func (c *chronicle) Write(line []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lines = append(c.lines, string(line))
	close(c.grown)
	c.grown = make(chan struct{})
	return len(line), nil
}

// expect returns the next line with these words; those before it are skipped.
func (c *chronicle) expect(t *testing.T, words string) string {
	t.Helper()
	for late := time.After(deadline); ; {
		line, grown := c.find(words)
		if line != "" {
			return line
		}
		select {
		case <-grown:
		case <-late:
			t.Fatalf("in vain for %q in the log, which says %q", words, c.past)
		}
	}
}

func (c *chronicle) find(words string) (line string, grown <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.lines) > 0 {
		line, c.lines = c.lines[0], c.lines[1:]
		c.past = append(c.past, line)
		if strings.Contains(line, words) {
			return line, nil
		}
	}
	return "", c.grown
}

// premises are a provider in a directory of its own, and a process that has
// been attached to it all the time.
type premises struct {
	t       *testing.T
	log     *chronicle
	p       *Provider
	w       *witness
	e       api.Endpoint
	dir     string
	client  *client.Client
	session *client.Session
}

func openPremises(t *testing.T, o Options) *premises {
	t.Helper()
	log := newChronicle()
	o.Logger = log.logger()
	dir := filepath.Join(t.TempDir(), "run")
	p, w, e := listeningIn(t, dir, o)
	c, err := client.Dial(within(t), client.Options{Address: e})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	session, err := c.Open(within(t), witnessSelector)
	if err != nil {
		t.Fatal(err)
	}
	receive(t, "the session", w.opened)
	return &premises{t, log, p, w, e, dir, c, session}
}

// check fails the test unless the one attached has noticed nothing, and new ones
// come in, by the address and by discovery.
func (h *premises) check() {
	h.t.Helper()
	h.checkAttached()
	dial(h.t, h.e).Close()
	receive(h.t, "the session", h.w.opened)
	c, err := client.Dial(within(h.t), client.Options{RunDirs: []string{h.dir}, Find: witnessSelector.Restrict(), Wait: deadline})
	if err != nil {
		h.t.Fatal(err)
	}
	defer c.Close()
	if c.Provider().Epoch != h.p.Epoch() {
		h.t.Errorf("found the provider %+v, want the one", c.Provider())
	}
}

func (h *premises) checkAttached() {
	h.t.Helper()
	if _, err := h.session.Invoke(within(h.t), 0, nil); !errors.Is(err, api.ErrNoMethod) {
		h.t.Fatalf("who was attached has been disturbed: %v", err)
	}
}

const healed = "has taken its place there again"

// TestHealing does things to the files of a provider, twice.
func TestHealing(t *testing.T) {
	remove := func(suffix string) func(*premises) error {
		return func(h *premises) error { return os.Remove(h.e.Address + suffix) }
	}
	tests := []struct {
		name string
		harm func(*premises) error
		log  string
	}{
		{"socket removed", remove(""), "the socket file is gone; the provider " + healed},
		{"socket renamed", func(h *premises) error {
			return os.Rename(h.e.Address, h.e.Address+".old")
		}, "the socket file is gone; the provider " + healed},
		{"stale socket in its place", func(h *premises) error {
			other := filepath.Join(h.dir, "other")
			l, err := net.ListenUnix("unix", &net.UnixAddr{Name: other, Net: "unix"})
			if err != nil {
				return err
			}
			l.SetUnlinkOnClose(false)
			return errors.Join(l.Close(), os.Rename(other, h.e.Address))
		}, "something else is in the place of the socket; the provider " + healed},
		{"lock file removed", remove(".lock"), "the lock file of the socket is gone or replaced; the provider " + healed},
		{"lock file replaced", func(h *premises) error {
			return errors.Join(os.WriteFile(h.dir+"/other", nil, 0o600), os.Rename(h.dir+"/other", h.e.Address+".lock"))
		}, "the lock file of the socket is gone or replaced; the provider " + healed},
		{"announcement removed", remove(api.AnnouncementSuffix), "it is announced again"},
		{"everything removed", func(h *premises) error {
			return errors.Join(remove("")(h), remove(".lock")(h), remove(api.AnnouncementSuffix)(h))
		}, "it is announced again"},
		{"directory renamed", func(h *premises) error {
			return os.Rename(h.dir, filepath.Join(h.t.TempDir(), "elsewhere"))
		}, "it is announced again"},
		{"directory renamed beside", func(h *premises) error {
			os.RemoveAll(h.dir + ".old")
			return os.Rename(h.dir, h.dir+".old")
		}, "it is announced again"},
		{"directory removed", func(h *premises) error {
			return h.unnoticed(func() error { return os.RemoveAll(h.dir) })
		}, "it is announced again"},
		{"directory removed with the one above", func(h *premises) error {
			return h.unnoticed(func() error { return os.RemoveAll(filepath.Dir(h.dir)) })
		}, "it is announced again"},
		{"directory replaced", func(h *premises) error {
			return h.unnoticed(func() error {
				return errors.Join(os.Rename(h.dir, filepath.Join(h.t.TempDir(), "elsewhere")), os.Mkdir(h.dir, 0o700))
			})
		}, "it is announced again"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
			h := openPremises(t, Options{})
			for range 2 {
				begin := time.Now()
				if err := test.harm(h); err != nil {
					t.Fatal(err)
				}
				h.log.expect(t, test.log)
				t.Logf("healed after %s", time.Since(begin))
				h.check()
				h.checkLocked()
			}
			h.client.Close()
			h.p.Close()
			if got := names(t, h.dir); slices.Contains(got, "crier.sock") || slices.Contains(got, "crier.sock"+api.AnnouncementSuffix) {
				t.Errorf("left behind: %v", got)
			}
		})
	}
}

// unnoticed does something before the provider can do anything about it.
func (h *premises) unnoticed(what func() error) error {
	h.p.front.mu.Lock()
	defer h.p.front.mu.Unlock()
	return what()
}

// checkLocked fails the test unless nobody else can have the path.
func (h *premises) checkLocked() {
	h.t.Helper()
	other := New(Options{})
	defer other.Close()
	if _, err := other.Listen(h.e); err == nil || !strings.Contains(err.Error(), "another provider listens there") {
		h.t.Errorf("a second provider: error %v", err)
	}
}

// TestDisplaced puts something at a provider's path that it may not remove. It
// says so, serves those attached, and takes the path back when it is free.
func TestDisplaced(t *testing.T) {
	listen := func(path string) (end func() error, err error) {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			return nil, err
		}
		l.SetUnlinkOnClose(false)
		return l.Close, nil
	}
	bind := func(path string) (end func() error, err error) {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		if err != nil {
			return nil, err
		}
		return func() error { return unix.Close(fd) }, unix.Bind(fd, &unix.SockaddrUnix{Name: path})
	}
	nothing := func() error { return nil }
	tests := []struct {
		name string
		put  func(path string) (end func() error, err error)
		gone bool // the file stays when what is behind it ends
		want []string
	}{
		{"regular file", func(path string) (func() error, error) { return nothing, os.WriteFile(path, nil, 0o600) }, true,
			[]string{"is not a socket"}},
		{"directory", func(path string) (func() error, error) { return nothing, os.Mkdir(path, 0o700) }, true,
			[]string{"is not a socket"}},
		{"program that listens", listen, true,
			[]string{"another program listens there", fmt.Sprintf("pid %d of uid %d", os.Getpid(), os.Geteuid())}},
		{"program that does not listen yet", bind, false,
			[]string{"may be about to listen there"}},
		{"program that is killed", listen, false,
			[]string{"another program listens there"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := openPremises(t, Options{})
			other := filepath.Join(h.dir, "other")
			end, err := test.put(other)
			if err != nil {
				t.Fatal(err)
			}
			there, err := os.Lstat(other)
			if err != nil {
				t.Fatal(err)
			}
			h.displace(other)
			line := h.log.expect(t, "something else is in the place of the socket")
			for _, words := range append(test.want, "[ERROR]", h.e.Address, "serves those attached") {
				if !strings.Contains(line, words) {
					t.Errorf("logged %s\nwithout %q", line, words)
				}
			}
			h.checkAttached()
			if !isAt(there, h.e.Address) {
				t.Error("what another put there is gone")
			}
			if err := end(); err != nil {
				t.Fatal(err)
			}
			if test.gone {
				os.Remove(h.e.Address)
			}
			begin := time.Now()
			h.log.expect(t, healed)
			t.Logf("taken back after %s", time.Since(begin))
			h.check()
		})
	}
}

// displace renames a file to the path of the provider. There is no instant at
// which the path is free, but for a directory, which cannot replace a socket.
func (h *premises) displace(other string) {
	h.t.Helper()
	err := os.Rename(other, h.e.Address)
	for ; errors.Is(err, syscall.ENOTDIR); err = os.Rename(other, h.e.Address) {
		os.Remove(h.e.Address)
	}
	if err != nil {
		h.t.Fatal(err)
	}
}

// TestHealingModes: what is made anew lets in whom the former let in, whatever
// the umask.
func TestHealingModes(t *testing.T) {
	tests := []struct {
		name     string
		prepared fs.FileMode // 0: the provider makes the directory
		group    int
		want     fs.FileMode
	}{
		{"made by the provider", 0, os.Getegid(), 0o700},
		{"prepared for a group", 0o770 | fs.ModeSetgid, 4242, 0o770 | fs.ModeSetgid},
		{"prepared for all", 0o777 | fs.ModeSticky, os.Getegid(), 0o777 | fs.ModeSticky},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if os.Geteuid() != 0 && test.group != os.Getegid() {
				t.Skip("only root can give a directory to any group")
			}
			dir := filepath.Join(t.TempDir(), "run")
			if test.prepared != 0 {
				if err := errors.Join(os.Mkdir(dir, 0o700), os.Chown(dir, -1, test.group), os.Chmod(dir, test.prepared)); err != nil {
					t.Fatal(err)
				}
			}
			e := api.UnixEndpoint(filepath.Join(dir, "crier.sock"))
			a := play(t, "listen", "UMASK=077", api.EnvAddress+"="+e.String())
			a.expect("listening")
			if err := os.Rename(dir, filepath.Join(t.TempDir(), "elsewhere")); err != nil {
				t.Fatal(err)
			}
			for line := a.line(); !strings.Contains(line, "it is announced again"); line = a.line() {
			}
			dial(t, e).Close()
			info, err := os.Stat(dir)
			if err != nil {
				t.Fatal(err)
			}
			if got := info.Mode() &^ fs.ModeDir; got != test.want || groupOf(info) != test.group {
				t.Errorf("the directory has mode %v and group %d, want %v and %d", got, groupOf(info), test.want, test.group)
			}
			for name, want := range map[string]fs.FileMode{"crier.sock": 0o666, "crier.sock.crier.json": 0o644, "crier.sock.lock": 0o600} {
				info, err := os.Stat(filepath.Join(dir, name))
				if err != nil || info.Mode().Perm() != want {
					t.Errorf("%s has mode %v, error %v, want %v", name, info.Mode(), err, want)
				}
			}
		})
	}
}

// TestHealingSpawned removes the socket that go-plugin made.
func TestHealingSpawned(t *testing.T) {
	log := newChronicle()
	dir := filepath.Join(t.TempDir(), "run")
	s := spawn(t, log.logger(), api.EnvRunDir+"="+dir)
	first := visit(t, s.Address())
	for range 2 {
		if err := os.Rename(dir, filepath.Join(t.TempDir(), "elsewhere")); err != nil {
			t.Fatal(err)
		}
		log.expect(t, healed)
		first.ask(methodPid, 0)
		g := visit(t, s.Address())
		g.ask(methodPid, 0)
		g.client.Close()
	}
	second := visit(t, s.Address())
	s.Close()
	first.expectGone()
	second.expectGone()
	if left := names(t, dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestHealingBlind runs a provider that may have no inotify instance. It says so,
// and looks for itself every now and then.
func TestHealingBlind(t *testing.T) {
	if testing.Short() {
		t.Skipf("takes %s", slowLook)
	}
	dir := filepath.Join(t.TempDir(), "run")
	e := api.UnixEndpoint(filepath.Join(dir, "crier.sock"))
	cmd := roleCommand(os.Args[0], "listen", "UMASK=022", api.EnvAddress+"="+e.String())
	const limit = "/proc/sys/user/max_inotify_instances" // of a user namespace
	cmd.Args = append([]string{"unshare", "--user", "--map-root-user", "sh", "-c", "echo 0 >" + limit + ` && exec "$0" "$@"`}, cmd.Args...)
	path, err := exec.LookPath("unshare")
	if err != nil {
		t.Skip("there is no unshare")
	}
	cmd.Path = path
	a := start(t, cmd)
	first, ok := <-a.lines
	if !ok {
		t.Skip("no user namespace can be made")
	}
	said := first + "\n" + a.line()
	for _, words := range []string{"listening", "cannot watch the directories", "looks_every=10s", "fs.inotify.max_user_instances"} {
		if !strings.Contains(said, words) {
			t.Errorf("said %s\nwithout %q", said, words)
		}
	}
	begin := time.Now()
	if err := os.Remove(e.Address); err != nil {
		t.Fatal(err)
	}
	if line := a.line(); !strings.Contains(line, healed) {
		t.Errorf("logged: %s", line)
	}
	t.Logf("healed after %s", time.Since(begin))
	dial(t, e)
}
