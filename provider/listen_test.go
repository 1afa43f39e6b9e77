package provider

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"crier.local/api"
)

func TestListen(t *testing.T) {
	listener := func(t *testing.T, path string, unlink bool) *net.UnixListener {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		l.SetUnlinkOnClose(unlink)
		t.Cleanup(func() { l.Close() })
		return l
	}
	tests := []struct {
		name    string
		prepare func(t *testing.T, path string)
		want    string // in the error; empty for success
	}{
		{"nothing there", func(*testing.T, string) {}, ""},
		{"directory missing", func(t *testing.T, path string) { os.Remove(filepath.Dir(path)) }, ""},
		{"stale socket", func(t *testing.T, path string) { listener(t, path, false).Close() }, ""},
		{"stale lock file", func(t *testing.T, path string) { os.WriteFile(path+".lock", nil, 0o600) }, ""},
		{"second provider", func(t *testing.T, path string) {
			p := New(Options{})
			t.Cleanup(func() { p.Close() })
			if _, err := p.Listen(api.UnixEndpoint(path)); err != nil {
				t.Fatal(err)
			}
		}, "another provider listens there"},
		{"live stranger", func(t *testing.T, path string) { listener(t, path, true) }, "another program listens there"},
		{"socket of another kind", func(t *testing.T, path string) {
			c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.Close() })
		}, "does not look abandoned"},
		{"regular file", func(t *testing.T, path string) { os.WriteFile(path, nil, 0o600) }, "not a socket"},
		{"lock file is a symbolic link", func(t *testing.T, path string) { os.Symlink("/etc/passwd", path+".lock") }, "lock"},
		{"directory is a file", func(t *testing.T, path string) {
			os.Remove(filepath.Dir(path))
			os.WriteFile(filepath.Dir(path), nil, 0o600)
		}, "not a directory"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "run", "crier.sock")
			if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			test.prepare(t, path)
			before, _ := os.Lstat(path)
			p := New(Options{})
			defer p.Close()
			e, err := p.Listen(api.UnixEndpoint(path))
			switch {
			case test.want == "" && err != nil:
				t.Fatal(err)
			case test.want == "" && e != api.UnixEndpoint(path):
				t.Errorf("listens on %s", e)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), path)):
				t.Errorf("error %v, want %q with the path", err, test.want)
			}
			if after, _ := os.Lstat(path); test.want != "" && before != nil && !os.SameFile(before, after) {
				t.Error("the file of another has been replaced")
			}
		})
	}
}

func TestListenRefusesAddresses(t *testing.T) {
	long := "/" + strings.Repeat("x", api.MaxSocketPath)
	for address, want := range map[api.Endpoint]string{
		api.UnixEndpoint(long):                         "108 bytes",
		api.UnixEndpoint("relative"):                   "must be absolute",
		{Network: "tcp", Address: "127.0.0.1:4000"}:    "needs a certificate",
		{Network: "pigeon", Address: "127.0.0.1:4000"}: "want unix:///path or tcp://host:port",
	} {
		p := New(Options{})
		if _, err := p.Listen(address); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", address, err, want)
		}
		p.Close()
	}
}

func TestListenAfterClose(t *testing.T) {
	p := New(Options{})
	p.Close()
	path := filepath.Join(t.TempDir(), "crier.sock")
	if _, err := p.Listen(api.UnixEndpoint(path)); !errors.Is(err, api.ErrClosed) {
		t.Errorf("error %v, want %v", err, api.ErrClosed)
	}
}

// playListener listens on $CRIER_ADDRESS with the umask $UMASK, and if they are
// set at most $NOFILE descriptors and for $ALLOW_UIDS and $ALLOW_GIDS, one each,
// until the test ends.
func playListener() error {
	var mask int
	if _, err := fmt.Sscanf(os.Getenv("UMASK"), "%o", &mask); err != nil {
		return err
	}
	syscall.Umask(mask)
	e, err := api.ParseEndpoint(os.Getenv(api.EnvAddress))
	if err != nil {
		return err
	}
	p := New(Options{
		Logger:    hclog.New(&hclog.LoggerOptions{Level: hclog.Warn, Output: os.Stdout}),
		AllowUIDs: listed("ALLOW_UIDS"), AllowGIDs: listed("ALLOW_GIDS"),
	})
	defer p.Close()
	// After New, which makes do with what descriptors there are.
	if most := os.Getenv("NOFILE"); most != "" {
		var limit syscall.Rlimit
		if _, err := fmt.Sscan(most, &limit.Cur); err != nil {
			return err
		}
		limit.Max = limit.Cur
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
			return err
		}
	}
	if err := p.Provide(witnessSelector, newWitness(), ServiceOptions{}); err != nil {
		return err
	}
	if _, err := p.Listen(e); err != nil {
		fmt.Println(err)
		return nil
	}
	fmt.Println("listening")
	untilEOF()
	return nil
}

// listed returns the number in the environment variable, if it is set.
func listed(name string) []uint32 {
	number, err := strconv.ParseUint(os.Getenv(name), 10, 32)
	if err != nil {
		return nil
	}
	return []uint32{uint32(number)}
}

func TestListenModes(t *testing.T) {
	for _, umask := range []string{"000", "022", "077", "777"} {
		t.Run(umask, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "run", "crier.sock")
			a := play(t, "listen", "UMASK="+umask, api.EnvAddress+"="+api.UnixEndpoint(path).String())
			a.expect("listening")
			for file, want := range map[string]fs.FileMode{filepath.Dir(path): 0o700, path: 0o666} {
				info, err := os.Stat(file)
				if err != nil {
					t.Fatal(err)
				}
				if got := info.Mode().Perm(); got != want {
					t.Errorf("%s has mode %o, want %o", file, got, want)
				}
			}
		})
	}
}

func TestListenForGroup(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a directory to any group")
	}
	dir := filepath.Join(t.TempDir(), "run")
	p := New(Options{AllowGIDs: []uint32{4242}})
	defer p.Close()
	if _, err := p.Listen(api.UnixEndpoint(filepath.Join(dir, "crier.sock"))); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := info.Mode(), fs.ModeDir|fs.ModeSetgid|0o750; got != want {
		t.Errorf("mode %v, want %v", got, want)
	}
	if gid := info.Sys().(*syscall.Stat_t).Gid; gid != 4242 {
		t.Errorf("group %d, want 4242", gid)
	}
}

func TestListenInPreparedDirectory(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777|fs.ModeSticky); err != nil {
		t.Fatal(err)
	}
	listeningIn(t, dir, Options{AllowGIDs: []uint32{1}})
	if info, err := os.Stat(dir); err != nil || info.Mode() != fs.ModeDir|fs.ModeSticky|0o777 {
		t.Errorf("a directory that was prepared has been changed: %v, %v", info.Mode(), err)
	}
}

func TestListenInUnwritableDirectory(t *testing.T) {
	path := filepath.Join(publicDir(t), "crier.sock")
	for _, want := range []string{
		"let uid 1000 write in " + filepath.Dir(path) + " (uid 0, gid 0, mode 0755), or choose another address",
		"choose another address, or have uid 0 remove the lock once no provider is there",
	} {
		a := playAs(t, 1000, []uint32{1000}, "listen", "UMASK=022", api.EnvAddress+"="+api.UnixEndpoint(path).String())
		if line := a.line(); !strings.Contains(line, "lock: open "+path+".lock: permission denied; "+want) {
			t.Errorf("the error is %q, want %q", line, want)
		}
		if err := os.WriteFile(path+".lock", nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCloseRemovesOnlyItsOwnSocket(t *testing.T) {
	p, _, e := listening(t, Options{})
	dir := filepath.Dir(e.Address)
	other, err := net.Listen("unix", filepath.Join(dir, "other"))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := os.Rename(filepath.Join(dir, "other"), e.Address); err != nil {
		t.Fatal(err)
	}
	p.Close()
	if got, want := names(t, dir), []string{"crier.sock", "crier.sock.lock"}; !slices.Equal(got, want) {
		t.Errorf("left behind: %v, want %v", got, want)
	}
}

func TestCloseLeavesNothing(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	p, w, e := listening(t, Options{})
	c := dial(t, e)
	receive(t, "the session", w.opened)
	p.Close()
	if got, want := names(t, filepath.Dir(e.Address)), []string{"crier.sock.lock"}; !slices.Equal(got, want) {
		t.Errorf("left behind: %v, want %v", got, want)
	}
	if g := &p.front.gate; g.local.silent != 0 || g.taken != 0 {
		t.Errorf("%d connections are silent, %d places taken", g.local.silent, g.taken)
	}
	again := New(Options{})
	if _, err := again.Listen(e); err != nil {
		t.Errorf("the address is not free: %v", err)
	}
	again.Close()
	c.Close()
}

func TestDescriptorLimitIsRaised(t *testing.T) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if limit.Cur != limit.Max {
		t.Errorf("the soft limit is %d of %d: the Go runtime does not raise it any more", limit.Cur, limit.Max)
	}
}

// TestAcceptErrors: a provider that has no descriptors left goes on once it has.
func TestAcceptErrors(t *testing.T) {
	const most = 40
	path := filepath.Join(t.TempDir(), "crier.sock")
	e := api.UnixEndpoint(path)
	a := play(t, "listen", "UMASK=022", api.EnvAddress+"="+e.String(), fmt.Sprint("NOFILE=", most))
	a.expect("listening")
	var waiting []net.Conn
	for len(waiting) < most {
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		waiting = append(waiting, conn)
	}
	if line := a.line(); !strings.Contains(line, "cannot accept a connection") || !strings.Contains(line, "too many open files") {
		t.Errorf("logged: %s", line)
	}
	for _, conn := range waiting {
		conn.Close()
	}
	dial(t, e)
}
