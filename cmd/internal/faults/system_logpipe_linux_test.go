package faults_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"crier.local/cmd/internal/faults"
)

// needBash skips the test where there is no shell that can pipe standard error, or
// tell how each command of a pipe ended.
func needBash(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("there is no bash")
	}
}

// throughCat wraps a provider so that another process stands between its log and
// its reader.
func throughCat(t *testing.T) []string {
	t.Helper()
	needBash(t)
	return []string{"bash", "-c", `exec "$0" "$@" 2> >(exec cat >&2)`}
}

// cat returns the process that reads the provider's log.
func (s *scene) cat() (pid int) {
	s.t.Helper()
	s.poll(func() error {
		names, err := filepath.Glob("/proc/[0-9]*/stat")
		if err != nil {
			return err
		}
		for _, name := range names {
			text, _ := os.ReadFile(name)
			f := strings.Fields(string(text))
			if len(f) > 4 && f[1] == "(cat)" && f[4] == strconv.Itoa(s.Provider().Pid()) {
				pid, err = strconv.Atoi(f[0])
				return err
			}
		}
		return errors.New("nobody reads the log")
	})
	return pid
}

// clog stops the reader of the provider's log, and fills the pipe to it; unclog
// lets it go on.
func (s *scene) clog() (unclog func()) {
	s.t.Helper()
	cat := s.cat()
	s.must(unix.Kill(cat, unix.SIGSTOP))
	s.poll(func() error {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", cat))
		if f := strings.Fields(string(text)); len(f) < 3 || f[2] != "T" {
			return errors.New("the reader of the log goes on")
		}
		return nil
	})
	pipe, err := os.OpenFile(fmt.Sprintf("/proc/%d/fd/2", s.Provider().Pid()), os.O_WRONLY|syscall.O_NONBLOCK, 0)
	s.must(err)
	defer pipe.Close()
	raw, err := pipe.SyscallConn()
	s.must(err)
	s.must(raw.Control(func(fd uintptr) {
		for filler := []byte(strings.Repeat("x", 1023) + "\n"); len(filler) > 0; {
			if _, err := unix.Write(int(fd), filler); err != nil {
				filler = filler[len(filler)/2+len(filler)%2:]
			}
		}
	}))
	return func() {
		s.t.Helper()
		s.must(unix.Kill(cat, unix.SIGCONT))
	}
}

// statePace is how fast a provider is asked for its state.
const statePace = 200 * time.Microsecond

// chatter has the provider log more than anything would keep for it.
func (s *scene) chatter() {
	s.t.Helper()
	const lines = 3000
	for range lines {
		s.must(s.Provider().Signal(syscall.SIGUSR1))
		s.pass(statePace)
	}
}

// TestLogThatNobodyReads has a log reader that stands still, while there is more
// to log than fits.
func TestLogThatNobodyReads(t *testing.T) {
	apart(t)
	setup := faults.Setup{Wrap: throughCat(t), Serve: []string{"--stall", "500ms"}}
	overBoth(t, "log reader stands still, pipe full", setup, func(s *scene) {
		s.witness("r")
		s.talkers("aside")
		unclog := s.clog()
		s.evict("r")
		s.chatter()
		restore := s.allow(0)
		if o := s.run("ping"); o.code != unavailable { // whoever lets clients in has something to log
			t.Errorf("no descriptor left: %s", o)
		}
		restore()
		took := s.served()
		if o := s.run("who"); o.code != 0 || !strings.Contains(o.stdout, "aside") {
			t.Errorf("who: %s", o)
		}
		unclog()
		s.poll(func() error {
			if s.logged("lines are lost here") == 0 {
				return errors.New("nothing tells of the lines that are lost")
			}
			return nil
		})
		s.n, s.recovery = 1, append(s.recovery, took)
		s.note = "nobody waits; the lines lost are counted"
	})
}

// TestEndWhileNobodyReadsTheLog ends a provider whose log reader stands still.
func TestEndWhileNobodyReadsTheLog(t *testing.T) {
	s := newScene(t, "SIGTERM while the log pipe is full", faults.Setup{Transport: faults.TransportUnix, Wrap: throughCat(t)})
	unclog := s.clog()
	s.must(s.Provider().Signal(syscall.SIGUSR1)) // which it logs
	began := time.Now()
	s.must(s.Provider().Term())
	s.poll(func() error {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.Provider().Pid()))
		if f := strings.Fields(string(text)); len(f) > 2 && f[2] != "Z" {
			return errors.New("the provider does not end")
		}
		return nil
	})
	s.n, s.recovery = 1, append(s.recovery, time.Since(began))
	unclog()
	if err := s.Provider().Reaped(s.ctx); err != nil {
		t.Error("the provider's end: ", err)
	}
}

// TestLogPipeClosed has a log reader that goes away, as that of
// `crier serve 2>&1 | head -1` does.
func TestLogPipeClosed(t *testing.T) {
	apart(t)
	setup := faults.Setup{Wrap: throughCat(t), Serve: []string{"--stall", "500ms"}}
	for _, transport := range []string{faults.TransportUnix, faults.TransportTLS} {
		t.Run(transport, func(t *testing.T) {
			setup := setup
			setup.Transport = transport
			s := newScene(t, "log reader is gone", setup)
			s.talkers("aside")
			s.must(unix.Kill(s.cat(), unix.SIGKILL))
			s.evict("r")
			s.n, s.recovery = 1, append(s.recovery, s.served())
			s.must(s.Provider().Term()) // the state, which Check asks for, is told to nobody
			if err := s.Provider().Reaped(s.ctx); err != nil {
				t.Error("the provider's end: ", err)
			}
		})
	}
}

// TestNoStandardOutput has a provider without standard output and input.
func TestNoStandardOutput(t *testing.T) {
	setup := faults.Setup{Wrap: []string{"sh", "-c", `exec "$0" "$@" >&- <&-`}}
	overBoth(t, "standard output and input closed", setup, func(s *scene) {
		s.witness("r")
		s.talkers("r")
		s.n, s.recovery = 1, append(s.recovery, s.served())
	})
}

// TestOutputReaderGone pipes what clients print into head, which takes one line.
func TestOutputReaderGone(t *testing.T) {
	needBash(t)
	overBoth(t, "listen and join into head -1", faults.Setup{}, func(s *scene) {
		s.talkers("r")
		rooms := []string{"r", "alone"} // join would say hello
		for i, command := range []string{"listen", "join"} {
			script := `"$0" "$@" | head -n 1; exit ${PIPESTATUS[0]}`
			args := append([]string{"-c", script, crier(t), command, "--room", rooms[i]}, s.ActorArgs()...)
			if out, err := exec.CommandContext(s.ctx, "bash", args...).CombinedOutput(); err != nil {
				t.Errorf("%s: %v: %s", command, err, out)
			}
		}
		s.n = 2
	})
}
