package notification_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"sync"
	"syscall"
	"testing"

	"crier.local/api"
	"crier.local/client"
	"crier.local/client/notification"
)

// The test binary plays every process: started with a role it is that process,
// and talks to the test by lines over its standard input and output.
const (
	roleKey = "CRIER_TEST_ROLE"
	// profileKey names a directory into which each role writes its CPU profile.
	profileKey = "CRIER_TEST_PROFILE"
)

func TestMain(m *testing.M) {
	if role := os.Getenv(roleKey); role != "" {
		os.Exit(play(role, os.Args[1:]))
	}
	os.Exit(m.Run())
}

// child is a process that a test started. The test waits for its lines, one by
// one.
type child struct {
	w     *world
	role  string
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines chan string
	ended chan struct{} // closed when it is reaped
	words bytes.Buffer  // its standard error, to be read when it has ended
}

// start starts a process that plays a role against the world's provider.
func (w *world) start(role string, args ...string) *child {
	w.t.Helper()
	c := &child{w: w, role: role, lines: make(chan string, 64), ended: make(chan struct{})}
	self, err := os.Executable()
	if err != nil {
		w.t.Fatal(err)
	}
	c.cmd = exec.Command(self, append([]string{w.address.String()}, args...)...)
	c.cmd.Env = append(os.Environ(), roleKey+"="+role)
	c.cmd.Stderr = &c.words
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		w.t.Fatal(err)
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.children = append(w.children, c)
	go c.listen(out)
	return c
}

// listen passes the lines on, and reaps the process when they end.
func (c *child) listen(out io.Reader) {
	defer close(c.ended)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		c.lines <- lines.Text()
	}
	close(c.lines)
	c.cmd.Wait()
}

func (c *child) String() string { return fmt.Sprintf("%s (pid %d)", c.role, c.cmd.Process.Pid) }

// expect waits for the next line, which must begin with that, and returns the rest.
func (c *child) expect(begin string) string {
	c.w.t.Helper()
	select {
	case line, ok := <-c.lines:
		rest, found := strings.CutPrefix(line, begin)
		if !ok {
			<-c.ended
			c.w.t.Fatalf("%s ended while %q was awaited: %v\n%s", c, begin, c.cmd.ProcessState, &c.words)
		}
		if !found {
			c.w.t.Fatalf("%s says %q, want %q", c, line, begin)
		}
		return strings.TrimSpace(rest)
	case <-c.w.ctx.Done():
		c.w.t.Fatalf("%s has not said %q", c, begin)
		return ""
	}
}

// tell writes a line to the process.
func (c *child) tell(format string, args ...any) {
	c.w.t.Helper()
	if _, err := fmt.Fprintf(c.in, format+"\n", args...); err != nil {
		c.w.t.Fatalf("tell %s: %v", c, err)
	}
}

func (c *child) signal(s syscall.Signal) {
	c.w.t.Helper()
	if err := c.cmd.Process.Signal(s); err != nil {
		c.w.t.Fatalf("%v to %s: %v", s, c, err)
	}
}

// kill kills the process with -9 and returns when it is reaped.
func (c *child) kill() {
	c.cmd.Process.Kill()
	c.reaped()
}

// end asks the process to end, and waits until it has: with status 0, unless it
// was killed before.
func (c *child) end() {
	c.w.t.Helper()
	if c.over() {
		return
	}
	c.in.Close()
	c.reaped()
	if !c.cmd.ProcessState.Success() {
		c.w.t.Errorf("%s: %v\n%s", c, c.cmd.ProcessState, &c.words)
	}
}

// reaped waits for the end. Lines that nobody asked for are dropped.
func (c *child) reaped() {
	for {
		select {
		case <-c.lines:
		case <-c.ended:
			return
		case <-c.w.ctx.Done():
			c.cmd.Process.Kill()
			<-c.ended
			return
		}
	}
}

func (c *child) over() bool {
	select {
	case <-c.ended:
		return true
	default:
		return false
	}
}

// stage is what a role finds around it.
type stage struct {
	ctx      context.Context // ends when the test has closed the pipe, or ended
	address  api.Endpoint
	args     []string
	commands chan string // closed with ctx

	mu sync.Mutex // of standard output
}

// play is the main function of a child: it plays a role and returns the status.
// Whatever the role, "usage" is answered with the nanoseconds of CPU it has taken.
func play(role string, args []string) int {
	ctx, cancel := context.WithCancel(context.Background())
	s := &stage{ctx: ctx, args: args[1:], commands: make(chan string)}
	go func() {
		defer cancel()
		defer close(s.commands)
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			if lines.Text() == "usage" {
				s.say("usage %d", cpuTime())
				continue
			}
			s.commands <- lines.Text()
		}
	}()
	address, err := api.ParseEndpoint(args[0])
	s.address = address
	part := parts()[role]
	switch {
	case err == nil && part == nil:
		err = fmt.Errorf("no such part")
	case err == nil:
		err = s.profiled(role, part)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", role, err)
		return 1
	}
	return 0
}

// profiled plays a part under the profiler, if that is wanted.
func (s *stage) profiled(role string, part func(*stage) error) error {
	dir := os.Getenv(profileKey)
	if dir == "" {
		return part(s)
	}
	f, err := os.Create(filepath.Join(dir, fmt.Sprintf("%s.%d.pprof", role, os.Getpid())))
	if err != nil {
		return err
	}
	defer f.Close()
	if err := pprof.StartCPUProfile(f); err != nil {
		return err
	}
	defer pprof.StopCPUProfile()
	return part(s)
}

// say tells the test a line.
func (s *stage) say(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Printf(format+"\n", args...)
}

// arg returns the role's i-th argument.
func (s *stage) arg(i int) string { return s.args[i] }

func (s *stage) dial() (*notification.Client, error) {
	return notification.Dial(s.ctx, client.Options{Address: s.address})
}
