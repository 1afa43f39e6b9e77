package faults_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"crier.local/api"
	"crier.local/cmd/internal/faults"
)

// The exit codes of a client that is told to try again, or finds nobody who answers.
const (
	tryAgain    = 75
	unavailable = 69
)

// fewLines is how many lines of the log about one trouble are few.
const fewLines = 40

// TestMoreClientsThanDescriptors has far more clients come than there are
// descriptors for, and others that say nothing.
func TestMoreClientsThanDescriptors(t *testing.T) {
	apart(t)
	const limit = 256
	overBoth(t, "more clients than ulimit -n allows", faults.Setup{Wrap: limited(limit)}, func(s *scene) {
		s.witness("r")
		s.talkers("r")
		leave, err := s.attachMany(limit)
		if !errors.Is(err, api.ErrTooMany) || !strings.Contains(err.Error(), "which is the limit") {
			s.t.Errorf("%d clients at %d descriptors: %v; want a limit that is told", limit, limit, err)
		}
		if o := s.run("ping"); o.code != tryAgain || !strings.Contains(o.stderr, "which is the limit") {
			s.t.Errorf("one more: %s", o)
		}
		closeAll := s.silent(limit)
		if o := s.run("ping"); o.code != tryAgain && o.code != unavailable || o.stderr == "" {
			s.t.Errorf("one more, while others say nothing: %s", o)
		}
		if n := s.logged("too many open files"); n > fewLines {
			s.t.Errorf("%d lines in the log", n)
		}
		now, err := s.Provider().State(s.ctx)
		s.must(err)
		closeAll()
		leave()
		s.recovery = append(s.recovery, s.served())
		s.n = limit
		s.note = fmt.Sprintf("%d attached at %d descriptors, %d lines logged", now.Processes, limit, s.logged("too many open files"))
	})
}

// TestFewDescriptors has a provider with hardly any.
func TestFewDescriptors(t *testing.T) {
	apart(t)
	overBoth(t, "ulimit -n 64", faults.Setup{Wrap: limited(64)}, func(s *scene) {
		a := s.actor()
		s.connect(a, "a", "room=r")
		closeAll := s.silent(100)
		if o := s.run("ping"); o.code != tryAgain && o.code != unavailable || o.stderr == "" {
			s.t.Errorf("a second: %s", o)
		}
		s.sends(a, "a")
		closeAll()
		s.must(a.Leave(s.ctx))
		s.recovery = append(s.recovery, s.served())
		s.n, s.note = 1, "one process has a place, the others are told"
	})
}

// TestNoDescriptorLeft takes the last descriptors from a provider that runs, and
// gives them back.
func TestNoDescriptorLeft(t *testing.T) {
	apart(t)
	overBoth(t, "no descriptor left", faults.Setup{}, func(s *scene) {
		s.witness("r")
		s.talkers("r")
		restore := s.allow(0)
		o := s.run("ping")
		if o.code != unavailable || !strings.Contains(o.stderr, "does not answer") {
			s.t.Errorf("no descriptor for it: %s", o)
		}
		if n := s.logged("too many open files"); n == 0 || n > fewLines {
			s.t.Errorf("%d lines in the log, want a few", n)
		}
		restore()
		s.recovery = append(s.recovery, s.served())
		s.n, s.note = 1, fmt.Sprintf("%d lines logged", s.logged("too many open files"))
	})
}

// TestNoDescriptorToWatchWith leaves one descriptor, for a socket, and none for
// the pidfd by which a local peer is watched.
func TestNoDescriptorToWatchWith(t *testing.T) {
	s := newScene(t, "no descriptor to watch a client with", faults.Setup{Transport: faults.TransportUnix})
	s.witness("r")
	s.talkers("r")
	restore := s.allow(1)
	if o := s.run("ping"); o.code != tryAgain || !strings.Contains(o.stderr, "cannot watch") {
		t.Errorf("a client that cannot be watched: %s; want it refused", o)
	}
	restore()
	s.recovery = append(s.recovery, s.served())
	s.n = 1
	s.check()
}

// allow sets how many descriptors the provider can open from now on; restore lifts
// that.
func (s *scene) allow(more int) (restore func()) {
	s.t.Helper()
	pid := s.Provider().Pid()
	count, err := limitThatLeaves(s.Provider(), more)
	s.must(err)
	var before unix.Rlimit
	s.must(unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &before))
	s.must(unix.Prlimit(pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(count), Max: before.Max}, nil))
	return func() {
		s.t.Helper()
		s.must(unix.Prlimit(pid, unix.RLIMIT_NOFILE, &before, nil))
	}
}
