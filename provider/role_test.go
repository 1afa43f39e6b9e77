package provider

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"crier.local/api"
	"crier.local/client"
)

// The test binary plays every process: TestRole is what it does when a test
// starts it again, with the role in the environment.

const roleEnv = "CRIER_TEST_ROLE"

// deadline bounds what tests wait for; nothing takes that long unless it fails.
const deadline = time.Minute

func TestRole(t *testing.T) {
	roles := map[string]func() error{
		"attach": playClient, "storm": playStorm, "bequeath": playParent, "idle": playIdle,
		"listen": playListener, "visitor": playVisitor, "talker": playTalker, "plugin": playPlugin, "host": playHost, "stranger": playStranger,
		"teller": playTeller, "warden": playWarden,
	}
	name := os.Getenv(roleEnv)
	if name == "" {
		t.Skip("the other tests play this in processes of their own")
	}
	if err := roles[name](); err != nil {
		fmt.Fprintln(os.Stderr, "crier:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// actor is a process that plays a role.
type actor struct {
	t     testing.TB
	cmd   *exec.Cmd
	lines chan string // of its standard output
	stdin io.Closer
}

// roleCommand is the command that plays a role; env are NAME=VALUE.
func roleCommand(binary, role string, env ...string) *exec.Cmd {
	cmd := exec.Command(binary, "-test.run=^TestRole$")
	cmd.Env = append(append(os.Environ(), roleEnv+"="+role, "GORACE=atexit_sleep_ms=0"), env...)
	return cmd
}

// play starts a process. It ends with the test, at the latest.
func play(t testing.TB, role string, env ...string) *actor {
	t.Helper()
	return start(t, roleCommand(os.Args[0], role, env...))
}

// playAs is play as another user, of whom the gids are the groups. It skips the
// test unless it runs as root.
func playAs(t testing.TB, uid uint32, gids []uint32, role string, env ...string) *actor {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can start a process of another user")
	}
	cmd := roleCommand(publicCopy(t), role, env...)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: gids[0], Groups: gids[1:]}}
	return start(t, cmd)
}

// publicCopy returns a copy of the test binary that every user may run.
func publicCopy(t testing.TB) string {
	t.Helper()
	binary, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(publicDir(t), "binary")
	if err := os.WriteFile(path, binary, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// publicDir returns a directory that every user may search.
func publicDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "crier")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func start(t testing.TB, cmd *exec.Cmd) *actor {
	t.Helper()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if cmd.Stderr == nil {
		cmd.Stderr = os.Stderr
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	a := &actor{t: t, cmd: cmd, lines: make(chan string, 1000), stdin: stdin}
	read := make(chan struct{})
	go func() {
		defer close(read)
		defer close(a.lines)
		for scanner := bufio.NewScanner(stdout); scanner.Scan(); {
			a.lines <- scanner.Text()
		}
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		stdin.Close() // for what the process has started
		<-read
		cmd.Wait()
	})
	return a
}

// line returns the next line that the process prints.
func (a *actor) line() string {
	a.t.Helper()
	select {
	case line, ok := <-a.lines:
		if !ok {
			a.t.Fatal("the process has ended without a word")
		}
		return line
	case <-time.After(deadline):
		a.t.Fatal("the process says nothing")
	}
	return ""
}

// expect fails the test unless the next line is, or with a final * starts as, want.
func (a *actor) expect(want string) {
	a.t.Helper()
	got := a.line()
	if start, ok := strings.CutSuffix(want, "*"); got != want && (!ok || !strings.HasPrefix(got, start)) {
		a.t.Fatalf("the process said %q, want %q", got, want)
	}
}

func (a *actor) kill() { a.cmd.Process.Kill() }

// within is a context that ends before the test is given up.
func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	t.Cleanup(cancel)
	return ctx
}

// untilEOF returns when the test closes the process's standard input, or ends.
func untilEOF() { io.Copy(io.Discard, os.Stdin) }

func playIdle() error {
	fmt.Println("idle")
	untilEOF()
	return nil
}

// playClient attaches to $CRIER_ADDRESS, opens a session, and says how it went.
func playClient() error {
	c, err := client.Dial(context.Background(), client.Options{TLS: envFiles(), Wait: -1})
	if err == nil {
		defer c.Close()
		_, err = c.Open(context.Background(), witnessSelector)
	}
	if err != nil {
		fmt.Println(verdict(err), err)
		return nil
	}
	fmt.Println("attached")
	untilEOF()
	return nil
}

// verdict names the error that err is.
func verdict(err error) string {
	for name, target := range map[string]error{
		"denied": api.ErrDenied, "too-many": api.ErrTooMany, "no-provider": api.ErrNoProvider, "gone": api.ErrGone,
	} {
		if isAny(err, target) {
			return name
		}
	}
	return "error"
}

var witnessSelector = api.Selector{UUID: "test/witness", Major: 1, Minor: 0}

// witness is a service that tells a test of sessions.
type witness struct {
	opened chan api.Identity
	closed chan api.Reason
}

func newWitness() *witness {
	return &witness{opened: make(chan api.Identity, 1000), closed: make(chan api.Reason, 1000)}
}

func (w *witness) Handle(context.Context, *Call) (Result, error) { return Result{}, api.ErrNoMethod }

func (w *witness) SessionOpened(s *Session) { w.opened <- s.Identity() }

func (w *witness) SessionsClosed(sessions []*Session, reason api.Reason) {
	for range sessions {
		w.closed <- reason
	}
}

// listening returns a provider of the service witness, with a socket.
func listening(t testing.TB, o Options) (*Provider, *witness, api.Endpoint) {
	t.Helper()
	return listeningIn(t, t.TempDir(), o)
}

func listeningIn(t testing.TB, dir string, o Options) (*Provider, *witness, api.Endpoint) {
	t.Helper()
	p, w := New(o), newWitness()
	if err := p.Provide(witnessSelector, w, ServiceOptions{}); err != nil {
		t.Fatal(err)
	}
	e, err := p.Listen(api.UnixEndpoint(filepath.Join(dir, "crier.sock")))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p, w, e
}

// receive returns the next of what comes over a channel.
func receive[T any](t testing.TB, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(deadline):
		t.Fatalf("in vain for %s", what)
	}
	panic("unreachable")
}

// dial attaches to e and opens a session of the service witness.
func dial(t testing.TB, e api.Endpoint) *client.Client {
	t.Helper()
	c, err := client.Dial(within(t), client.Options{Address: e})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if _, err := c.Open(within(t), witnessSelector); err != nil {
		t.Fatal(err)
	}
	return c
}

func names(t testing.TB, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	slices.Sort(all)
	return all
}
