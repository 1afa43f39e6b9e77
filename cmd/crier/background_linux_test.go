package main

import (
	"bytes"
	"io"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"
)

// patience bounds the wait for what should come at once.
const patience = time.Minute

// background is a program that a script has started and not yet seen the end of.
type background struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stdout *capture
	stderr *capture
	ended  chan struct{}
	err    error // of Wait; valid when it has ended
}

type backgroundsKey struct{}

type backgrounds struct {
	named map[string]*background
	mute  map[string]net.Listener
}

// end ends what a script that failed has left running.
func (b *backgrounds) end() {
	for _, p := range b.named {
		p.cmd.Process.Kill()
		<-p.ended
	}
	for _, l := range b.mute {
		l.Close()
	}
}

func find(ts *testscript.TestScript, name string) *background {
	b := ts.Value(backgroundsKey{}).(*backgrounds).named[name]
	if b == nil {
		ts.Fatalf("nothing called %s was started", name)
	}
	return b
}

// capture keeps what is read from a pipe, and lets others wait for it.
type capture struct {
	pipe *os.File // the reading end
	read chan struct{}

	mu      sync.Mutex
	text    []byte
	changed chan struct{} // closed and replaced whenever text grows
}

func newCapture(ts *testscript.TestScript) (c *capture, writer *os.File) {
	r, w, err := os.Pipe()
	ts.Check(err)
	c = &capture{pipe: r, read: make(chan struct{}), changed: make(chan struct{})}
	go func() {
		defer close(c.read)
		io.Copy(c, r)
	}()
	return c, w
}

func (c *capture) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.text = append(c.text, b...)
	close(c.changed)
	c.changed = make(chan struct{})
	return len(b), nil
}

func (c *capture) snapshot() ([]byte, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return bytes.Clone(c.text), c.changed
}

// start NAME PROGRAM ARGS... starts a program that the script goes on without.
func start(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: start name program args...")
	}
	stdout, out := newCapture(ts)
	launch(ts, args, stdout, out)
}

// clog NAME PROGRAM ARGS... starts a program whose standard output is full, and
// read by nobody.
func clog(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: clog name program args...")
	}
	r, w, err := os.Pipe()
	ts.Check(err)
	ts.Defer(func() { r.Close() })
	size, err := unix.FcntlInt(w.Fd(), unix.F_GETPIPE_SZ, 0)
	ts.Check(err)
	_, err = w.Write(make([]byte, size))
	ts.Check(err)
	unread := &capture{pipe: r, read: make(chan struct{}), changed: make(chan struct{})}
	close(unread.read)
	launch(ts, args, unread, w)
}

// sip NAME makes room in the output of a clogged program, and waits until it is
// full again, but for less than a line.
func sip(ts *testscript.TestScript, neg bool, args []string) {
	const room, line = 4096, 128
	if neg || len(args) != 1 {
		ts.Fatalf("usage: sip name")
	}
	b := find(ts, args[0])
	pipe := int(b.stdout.pipe.Fd())
	full, err := unix.IoctlGetInt(pipe, unix.TIOCINQ)
	ts.Check(err)
	_, err = io.ReadFull(b.stdout.pipe, make([]byte, room))
	ts.Check(err)
	for late := time.Now().Add(patience); time.Now().Before(late); {
		if n, err := unix.IoctlGetInt(pipe, unix.TIOCINQ); err == nil && n > full-line {
			return
		}
	}
	ts.Fatalf("%s did not fill its output:\n%s", args[0], b.said())
}

// launch starts a program whose standard output is out, which it closes here.
func launch(ts *testscript.TestScript, args []string, stdout *capture, out *os.File) {
	all := ts.Value(backgroundsKey{}).(*backgrounds).named
	if all[args[0]] != nil {
		ts.Fatalf("%s was started already", args[0])
	}
	path, err := exec.LookPath(args[1])
	ts.Check(err)
	b := &background{cmd: exec.Command(path, args[2:]...), stdout: stdout, ended: make(chan struct{})}
	b.cmd.Env = scriptEnvironment(ts)
	b.cmd.Dir = ts.MkAbs(".")
	b.stdin, err = b.cmd.StdinPipe()
	ts.Check(err)
	var errs *os.File
	b.stderr, errs = newCapture(ts)
	b.cmd.Stdout, b.cmd.Stderr = out, errs
	ts.Check(b.cmd.Start())
	out.Close()
	errs.Close()
	all[args[0]] = b
	go func() {
		defer close(b.ended)
		b.err = b.cmd.Wait()
	}()
}

// scriptEnvironment is the environment of a script as far as crier looks at it.
func scriptEnvironment(ts *testscript.TestScript) []string {
	names := []string{"WORK", "PATH", "HOME", "TMPDIR", "GORACE", "GOCOVERDIR", "XDG_RUNTIME_DIR", "NO_COLOR"}
	add := func(f *pflag.Flag) { names = append(names, variable(f)) }
	root := (&program{}).rootCommand()
	root.PersistentFlags().VisitAll(add)
	for _, cmd := range root.Commands() {
		cmd.Flags().VisitAll(add)
	}
	var env []string
	for _, name := range names {
		if value := ts.Getenv(name); value != "" {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// await NAME stdout|stderr PATTERN waits until a program has printed something.
func awaitOutput(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: await name stdout|stderr pattern")
	}
	b := find(ts, args[0])
	c := b.stdout
	if args[1] == "stderr" {
		c = b.stderr
	}
	pattern, err := regexp.Compile("(?m)" + args[2])
	ts.Check(err)
	late := time.After(patience)
	for {
		text, changed := c.snapshot()
		if pattern.Match(text) {
			return
		}
		select {
		case <-changed:
		case <-c.read:
			if last, _ := c.snapshot(); !pattern.Match(last) {
				ts.Fatalf("%s ended without %q on %s:\n%s", args[0], args[2], args[1], b.said())
			}
			return
		case <-late:
			ts.Fatalf("%s printed no %q on %s:\n%s", args[0], args[2], args[1], b.said())
		}
	}
}

func (b *background) said() []byte {
	out, _ := b.stdout.snapshot()
	errs, _ := b.stderr.snapshot()
	return append(append(append([]byte("stdout:\n"), out...), "stderr:\n"...), errs...)
}

// finish NAME CODE waits for the end of a program and checks its exit code; its
// output is there for stdout and stderr.
func finish(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: finish name code")
	}
	b := find(ts, args[0])
	select {
	case <-b.ended:
	case <-time.After(patience):
		b.cmd.Process.Signal(syscall.SIGQUIT)
		<-b.ended
		<-b.stderr.read
		ts.Fatalf("%s does not end:\n%s", args[0], b.said())
	}
	delete(ts.Value(backgroundsKey{}).(*backgrounds).named, args[0])
	<-b.stdout.read
	<-b.stderr.read
	out, _ := b.stdout.snapshot()
	errs, _ := b.stderr.snapshot()
	ts.Stdout().Write(out)
	ts.Stderr().Write(errs)
	expectCode(ts, args[1], b.err)
}

// signal NAME|PID SIGNAL sends a signal, and returns after STOP when the program
// stands still. A program that has just been started may not catch it yet: a script
// first waits for something that it does.
func sendSignal(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: signal name|pid signal")
	}
	pid, err := strconv.Atoi(args[0])
	if err != nil {
		pid = find(ts, args[0]).cmd.Process.Pid
	}
	ts.Check(unix.Kill(pid, unix.SignalNum("SIG"+args[1])))
	if args[1] == "STOP" { // kill(2) returns before it has taken effect
		ts.Check(unix.Waitid(unix.P_PID, pid, nil, unix.WSTOPPED|unix.WEXITED|unix.WNOWAIT, nil))
	}
}

// mute PATH listens on a unix socket and never says a word; visited PATH waits
// until somebody comes.
func mute(ts *testscript.TestScript, neg bool, args []string) {
	l, err := net.Listen("unix", ts.MkAbs(args[0]))
	ts.Check(err)
	ts.Value(backgroundsKey{}).(*backgrounds).mute[args[0]] = l
}

func visited(ts *testscript.TestScript, neg bool, args []string) {
	l := ts.Value(backgroundsKey{}).(*backgrounds).mute[args[0]]
	l.(*net.UnixListener).SetDeadline(time.Now().Add(patience))
	conn, err := l.Accept()
	ts.Check(err)
	ts.Defer(func() { conn.Close() })
}

// input NAME [LINE...] writes lines to the standard input of a program; without
// any it closes it.
func input(ts *testscript.TestScript, neg bool, args []string) {
	b := find(ts, args[0])
	if len(args) == 1 {
		ts.Check(b.stdin.Close())
	}
	for _, line := range args[1:] {
		_, err := io.WriteString(b.stdin, line+"\n")
		ts.Check(err)
	}
}

// pour NAME FILE gives a file to the standard input of a program, as fast as it
// reads, and closes it.
func pour(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: pour name file")
	}
	b, text := find(ts, args[0]), ts.ReadFile(args[1])
	go func() { // ends with the program, if it does not read all
		io.WriteString(b.stdin, text)
		b.stdin.Close()
	}()
}

// hangup NAME stops reading the standard output of a program.
func hangup(ts *testscript.TestScript, neg bool, args []string) {
	b := find(ts, args[0])
	ts.Check(b.stdout.pipe.Close())
	<-b.stdout.read
}

// awaitEnd waits for the end of a process and reports whether it came.
func awaitEnd(pid int) bool {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return true // it is gone
	}
	defer unix.Close(fd)
	for late := time.Now().Add(patience); ; {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, int(max(0, time.Until(late)).Milliseconds()))
		if err != unix.EINTR {
			return n == 1
		}
	}
}
