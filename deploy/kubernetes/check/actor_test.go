package check

import (
	"bufio"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"
)

// patience is how long what must happen may take on a busy machine.
const patience = time.Minute

// actor is a process that runs, and what it writes.
type actor struct {
	t     *testing.T
	name  string
	cmd   *exec.Cmd
	lines chan string // closed when the process has ended
	heard []string
}

// play starts cmd and reads both of its outputs. What is left of it at the end of
// the test is killed.
func play(t *testing.T, name string, cmd *exec.Cmd) *actor {
	t.Helper()
	a := &actor{t: t, name: name, cmd: cmd, lines: make(chan string, 1000)}
	read, write := io.Pipe()
	cmd.Stdout, cmd.Stderr = write, write
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { // until the process has ended
		_ = cmd.Wait()
		write.Close()
	}()
	go a.read(read)
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		for range a.lines {
		}
	})
	return a
}

func (a *actor) read(r io.Reader) {
	defer close(a.lines)
	for in := bufio.NewScanner(r); in.Scan(); {
		a.lines <- in.Text()
	}
}

// expect waits for a line that matches.
func (a *actor) expect(pattern string) {
	a.t.Helper()
	re := regexp.MustCompile(pattern)
	late := time.After(patience)
	for {
		select {
		case line, ok := <-a.lines:
			if !ok {
				a.t.Fatalf("%s ended without %q; it wrote:\n%s", a.name, pattern, strings.Join(a.heard, "\n"))
			}
			a.heard = append(a.heard, line)
			if re.MatchString(line) {
				return
			}
		case <-late:
			a.t.Fatalf("%s: no %q; it wrote:\n%s", a.name, pattern, strings.Join(a.heard, "\n"))
		}
	}
}

// exit waits for the end and returns the exit code, -1 if a signal was it.
func (a *actor) exit() int {
	a.t.Helper()
	late := time.After(patience)
	for {
		select {
		case line, ok := <-a.lines:
			if !ok {
				return a.cmd.ProcessState.ExitCode()
			}
			a.heard = append(a.heard, line)
		case <-late:
			a.t.Fatalf("%s does not end; it wrote:\n%s", a.name, strings.Join(a.heard, "\n"))
		}
	}
}

// within calls try until it returns nil.
func within(t *testing.T, try func() error) {
	t.Helper()
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for last := time.Now().Add(patience); ; <-again.C {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(last) {
			t.Fatal(err)
		}
	}
}

// run runs a command to its end.
func run(name string, args ...string) (string, error) {
	return output(exec.Command(name, args...))
}

// output runs cmd to its end. The error has what it said.
func output(cmd *exec.Cmd) (string, error) {
	text, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, text)
	}
	return strings.TrimSpace(string(text)), err
}
