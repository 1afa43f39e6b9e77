package faults

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Program says how processes of a stage are started.
type Program struct {
	Crier string   // path of the crier binary
	Dir   string   // working directory
	Env   []string // NAME=VALUE, put over this process's own environment
	Wrap  []string // a command and its first arguments, put before crier's; often none
}

// command returns the command that runs crier with args. It inherits no CRIER_
// variable, which would be the caller's settings and not the stage's.
func (p Program) command(args ...string) *exec.Cmd {
	words := append(append(append([]string{}, p.Wrap...), p.Crier), args...)
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Dir = p.Dir
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "CRIER_") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(cmd.Env, p.Env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a terminal's interrupt is for the parent alone
	return cmd
}

// child is a process that was started. Its methods may be called concurrently.
type child struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	words tail
	over  chan struct{} // closed when it is reaped
	exit  error         // how it ended, then
}

// start starts cmd, whose standard output line hears, a line at a time and without
// the end, and whose standard error word hears in the same way.
func start(cmd *exec.Cmd, line func([]byte), word func([]byte)) (*child, error) {
	c := &child{cmd: cmd, over: make(chan struct{})}
	var err error
	if c.in, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	words, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	var reading sync.WaitGroup
	reading.Go(func() { readLines(out, line) })
	reading.Go(func() {
		readLines(words, func(b []byte) {
			c.words.add(b)
			word(b)
		})
	})
	go func() {
		defer close(c.over)
		reading.Wait()
		c.exit = cmd.Wait()
	}()
	return c, nil
}

// readLines hands over the lines of r until it ends.
func readLines(r io.Reader, line func([]byte)) {
	lines := bufio.NewReaderSize(r, 256<<10)
	var long []byte
	for {
		part, err := lines.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			long = append(long, part...)
		case err != nil:
			return
		case len(long) > 0:
			line(bytes.TrimSuffix(append(long, part...), []byte("\n")))
			long = nil
		default:
			line(part[:len(part)-1])
		}
	}
}

// Pid returns the process number.
func (c *child) Pid() int { return c.cmd.Process.Pid }

// Signal sends a signal. It is an error if the process is over.
func (c *child) Signal(s syscall.Signal) error { return c.cmd.Process.Signal(s) }

// Kill kills the process with -9. It does not wait; see Reaped.
func (c *child) Kill() { c.cmd.Process.Kill() }

// Stop stops the process and returns when it stands still.
func (c *child) Stop() error {
	if err := c.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	var status syscall.WaitStatus
	for !status.Stopped() {
		_, err := syscall.Wait4(c.Pid(), &status, syscall.WUNTRACED, nil)
		if err != nil && !errors.Is(err, syscall.EINTR) {
			return fmt.Errorf("wait until process %d stops: %w", c.Pid(), err)
		}
		if status.Exited() || status.Signaled() {
			return fmt.Errorf("process %d ended when it was stopped", c.Pid())
		}
	}
	return nil
}

// Cont lets a stopped process go on.
func (c *child) Cont() error { return c.Signal(syscall.SIGCONT) }

// Reaped waits until the process is over and everything that it wrote has been
// heard. It returns nil if the process ended with status 0, else how it ended, or
// ctx's error.
func (c *child) Reaped(ctx context.Context) error {
	select {
	case <-c.over:
		return c.exit
	case <-ctx.Done():
		return fmt.Errorf("process %d does not end: %w", c.Pid(), context.Cause(ctx))
	}
}

// Over reports whether the process has been reaped.
func (c *child) Over() bool {
	select {
	case <-c.over:
		return true
	default:
		return false
	}
}

// Words returns the last that the process wrote to standard error.
func (c *child) Words() string { return c.words.String() }

// RSS returns how many bytes of memory the process has in use, and HighRSS how
// many it ever had; 0 if that cannot be found out.
func (c *child) RSS() int64 { return c.status("VmRSS") }

// HighRSS is the most that RSS ever was.
func (c *child) HighRSS() int64 { return c.status("VmHWM") }

// status returns a field of /proc/PID/status, in bytes.
func (c *child) status(key string) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.Pid()))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		if name == key {
			n, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			return n << 10
		}
	}
	return 0
}

// CPU returns how much processor time the process has taken; 0 if that cannot be
// found out.
func (c *child) CPU() time.Duration {
	const userField, systemField = 11, 12 // behind the name, which ends with ')'
	const tick = time.Second / 100
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.Pid()))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) <= systemField {
		return 0
	}
	user, _ := strconv.ParseInt(fields[userField], 10, 64)
	system, _ := strconv.ParseInt(fields[systemField], 10, 64)
	return time.Duration(user+system) * tick
}

// Process is an actor in a process of its own.
type Process struct {
	*child
	// Name is the parent's name for it.
	Name string

	hear func(Record)

	mu        sync.Mutex
	sightings map[*Sighting]struct{}
	ended     bool
}

// Actor starts an actor; args are further arguments of `crier actor`, such as
// --address. Every record that it writes goes to hear, in order, from one
// goroutine of the process's own; hear must not wait for the process.
func (p Program) Actor(name string, hear func(Record), args ...string) (*Process, error) {
	a := &Process{Name: name, hear: hear, sightings: map[*Sighting]struct{}{}}
	c, err := start(p.command(append([]string{"actor"}, args...)...), a.heard, func([]byte) {})
	if err != nil {
		return nil, fmt.Errorf("actor %s: %w", name, err)
	}
	a.child = c
	go func() {
		<-c.over
		a.finish()
	}()
	return a, nil
}

// heard passes a record on to those who wait for it.
func (a *Process) heard(line []byte) {
	rec, err := parseRecord(line)
	if err != nil {
		rec = Record{At: AtSaid, Error: fmt.Sprintf("a line that is no record: %q", line)}
	}
	if a.hear != nil {
		a.hear(rec)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for s := range a.sightings {
		if s.match(rec) {
			s.seen <- sight{rec, time.Now()}
			delete(a.sightings, s)
		}
	}
}

// finish tells those who wait that nothing more comes.
func (a *Process) finish() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ended = true
	for s := range a.sightings {
		close(s.seen)
	}
	a.sightings = nil
}

// Tell writes a command to the actor. It does not wait until that is carried out.
func (a *Process) Tell(format string, args ...any) error {
	if _, err := fmt.Fprintf(a.in, format+"\n", args...); err != nil {
		return fmt.Errorf("tell actor %s: %w", a.Name, err)
	}
	return nil
}

// Quit closes the actor's input, at which it closes everything and ends. It does
// not wait; see Reaped.
func (a *Process) Quit() { a.in.Close() }

// Sighting is the first record that matches, and comes after the sighting was
// asked for.
type Sighting struct {
	of    *Process
	match func(Record) bool
	seen  chan sight
}

type sight struct {
	record Record
	at     time.Time
}

// Watch looks out for a record from now on. match is called by the goroutine that
// reads, and must not wait.
func (a *Process) Watch(match func(Record) bool) *Sighting {
	s := &Sighting{of: a, match: match, seen: make(chan sight, 1)}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ended {
		close(s.seen)
	} else {
		a.sightings[s] = struct{}{}
	}
	return s
}

// Wait returns the record, and when this process read it. It is an error if the
// actor ends before, or ctx does.
func (s *Sighting) Wait(ctx context.Context) (Record, time.Time, error) {
	select {
	case seen, ok := <-s.seen:
		if !ok {
			return Record{}, time.Time{}, fmt.Errorf("actor %s ended (%v) before what was awaited: %s", s.of.Name, s.of.exit, s.of.Words())
		}
		return seen.record, seen.at, nil
	case <-ctx.Done():
		return Record{}, time.Time{}, fmt.Errorf("actor %s has not told what was awaited: %w", s.of.Name, context.Cause(ctx))
	}
}

// Ask tells the actor something and waits for the record that matches, or for one
// that says an error.
func (a *Process) Ask(ctx context.Context, match func(Record) bool, format string, args ...any) (Record, error) {
	s := a.Watch(func(r Record) bool { return match(r) || r.At == AtSaid && r.Error != "" })
	if err := a.Tell(format, args...); err != nil {
		return Record{}, err
	}
	rec, _, err := s.Wait(ctx)
	if err == nil && rec.At == AtSaid && rec.Error != "" {
		err = fmt.Errorf("actor %s, told %q: %s", a.Name, fmt.Sprintf(format, args...), rec.Error)
	}
	return rec, err
}

// Connected matches the record that a connection is made.
func Connected(label string) func(Record) bool {
	return func(r Record) bool { return r.At == AtConnected && r.Conn == label }
}

// Said matches the words about a connection; an empty label is for those about none.
func Said(label, words string) func(Record) bool {
	return func(r Record) bool { return r.At == AtSaid && r.Conn == label && r.Reason == words }
}

// tail keeps the last lines that were added.
type tail struct {
	mu   sync.Mutex
	text []byte
}

// tailBytes is how much a tail keeps, at least.
const tailBytes = 64 << 10

func (t *tail) add(line []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(append(t.text, line...), '\n')
	if len(t.text) > 2*tailBytes {
		t.text = append(t.text[:0], t.text[len(t.text)-tailBytes:]...)
	}
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.text)
}
