package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"syscall"
	"testing"
	"time"

	"crier.local/api"
)

// unit is a crier that is started as a service manager would, in directories of its own.
type unit struct {
	t      *testing.T
	crier  string // the program
	dir    string // the run directory
	socket string
	env    []string
}

func newUnit(t *testing.T) *unit {
	t.Helper()
	top, err := os.MkdirTemp("/tmp", "crier-unit") // a short path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(top) })
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	u := &unit{t: t, crier: filepath.Join(top, "crier"), dir: filepath.Join(top, "run")}
	u.socket = filepath.Join(u.dir, "crier.sock")
	if err := errors.Join(os.Symlink(self, u.crier), os.Mkdir(u.dir, 0o700)); err != nil {
		t.Fatal(err)
	}
	u.env = []string{"HOME=" + top, "TMPDIR=" + top, "PATH=" + os.Getenv("PATH"), "GORACE=atexit_sleep_ms=0", api.EnvRunDir + "=" + u.dir}
	return u
}

// activated returns a program that listens, as the options of systemd-socket-activate
// say, and becomes `crier serve` when somebody comes.
func (u *unit) activated(options []string, serve ...string) *exec.Cmd {
	u.t.Helper()
	const tool = "systemd-socket-activate"
	path, err := exec.LookPath(tool)
	if err != nil {
		u.t.Skipf("there is no %s (Debian's package systemd has it)", tool)
	}
	args := slices.Clone(options)
	for _, variable := range u.env {
		args = append(args, "-E", variable)
	}
	cmd := exec.Command(path, slices.Concat(args, []string{u.crier, "serve"}, serve)...)
	cmd.Env = u.env
	return cmd
}

// passed returns `crier serve` to which file is passed as a service manager does.
func (u *unit) passed(file *os.File, serve ...string) *exec.Cmd {
	u.t.Helper()
	cmd := exec.Command("/bin/sh", slices.Concat([]string{"-c", `LISTEN_FDS=1 LISTEN_PID=$$ exec "$0" "$@"`, u.crier, "serve"}, serve)...)
	cmd.Env, cmd.ExtraFiles = u.env, []*os.File{file}
	return cmd
}

func (u *unit) command(args ...string) *exec.Cmd {
	cmd := exec.Command(u.crier, args...)
	cmd.Env = u.env
	return cmd
}

// running is a program and what it says on standard error.
type running struct {
	t      *testing.T
	cmd    *exec.Cmd
	stderr *capture
	ended  chan struct{}
}

func (u *unit) start(cmd *exec.Cmd) *running {
	u.t.Helper()
	r := &running{u.t, cmd, &capture{changed: make(chan struct{})}, make(chan struct{})}
	cmd.Stderr = r.stderr
	if err := cmd.Start(); err != nil {
		u.t.Fatal(err)
	}
	go func() {
		defer close(r.ended)
		cmd.Wait()
	}()
	u.t.Cleanup(func() {
		cmd.Process.Kill()
		<-r.ended
	})
	return r
}

// await waits until the program has said something so often.
func (r *running) await(pattern string, times int) {
	r.t.Helper()
	for late, re := time.After(time.Minute), regexp.MustCompile("(?m)"+pattern); ; {
		text, changed := r.stderr.snapshot()
		if len(re.FindAll(text, -1)) >= times {
			return
		}
		select {
		case <-changed:
		case <-r.ended:
			if text, _ := r.stderr.snapshot(); len(re.FindAll(text, -1)) < times {
				r.t.Fatalf("ended without saying %q: %s", pattern, text)
			}
		case <-late:
			r.t.Fatalf("never said %q: %s", pattern, text)
		}
	}
}

// expectEnd waits for the end with a code, and returns what was said.
func (r *running) expectEnd(code int) string {
	r.t.Helper()
	select {
	case <-r.ended:
	case <-time.After(time.Minute):
		r.t.Fatal("does not end")
	}
	text, _ := r.stderr.snapshot()
	if got := exitText(r.cmd.ProcessState); got != fmt.Sprint(code) {
		r.t.Errorf("exit code %s, want %d: %s", got, code, text)
	}
	return string(text)
}

func (r *running) terminate() {
	r.t.Helper()
	if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		r.t.Fatal(err)
	}
}

// notices are what a service manager hears.
type notices struct {
	t    *testing.T
	conn *net.UnixConn
}

// expectNotices makes the programs of u tell a service manager of themselves.
func (u *unit) expectNotices(more ...string) *notices {
	u.t.Helper()
	path := filepath.Join(filepath.Dir(u.dir), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		u.t.Fatal(err)
	}
	u.t.Cleanup(func() { conn.Close() })
	u.env = append(append(u.env, "NOTIFY_SOCKET="+path), more...)
	return &notices{u.t, conn}
}

// next returns the next notice that comes before a time; "" for none.
func (n *notices) next(late time.Time) string {
	n.t.Helper()
	n.conn.SetReadDeadline(late)
	b := make([]byte, 4096)
	size, err := n.conn.Read(b)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		n.t.Fatal(err)
	}
	return string(b[:size])
}

// await waits for a notice; what comes before it may be signs of life alone.
func (n *notices) await(want string) {
	n.t.Helper()
	for {
		switch got := n.next(time.Now().Add(time.Minute)); got {
		case want:
			return
		case "WATCHDOG=1":
		default:
			n.t.Fatalf("notified of %q, want %q", got, want)
		}
	}
}

// waiting returns what has come already.
func (n *notices) waiting() (all []string) {
	n.t.Helper()
	for got := n.next(time.Now().Add(time.Millisecond)); got != ""; got = n.next(time.Now().Add(time.Millisecond)) {
		all = append(all, got)
	}
	return all
}
