package faults_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"crier.local/api"
	"crier.local/cmd/internal/faults"
)

// memoryGroup is a cgroup with a limit of its memory.
type memoryGroup struct {
	dir  string
	peak string // the file that tells the most that was ever in use; there is none before Linux 5.19
}

// newMemoryGroup makes a cgroup of version 1 or 2, or skips the test.
func newMemoryGroup(t *testing.T, limit int) memoryGroup {
	t.Helper()
	name := fmt.Sprintf("crier-faults-%d-%d", os.Getpid(), time.Now().UnixNano())
	var failures []error
	for _, g := range []struct{ parent, limit, peak string }{
		{"/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.max_usage_in_bytes"},
		{"/sys/fs/cgroup", "memory.max", "memory.peak"},
	} {
		dir := filepath.Join(g.parent, name)
		err := os.Mkdir(dir, 0o755)
		if err == nil {
			t.Cleanup(func() { removeGroup(t, dir) })
			err = os.WriteFile(filepath.Join(dir, g.limit), []byte(strconv.Itoa(limit)), 0)
		}
		if err == nil {
			return memoryGroup{dir, filepath.Join(dir, g.peak)}
		}
		failures = append(failures, err)
	}
	t.Skip("cannot limit memory by a cgroup: ", failures)
	return memoryGroup{}
}

// removeGroup removes a cgroup, once the kernel has noticed that its processes
// have ended.
func removeGroup(t *testing.T, dir string) {
	for range 100 {
		if os.Remove(dir) == nil {
			return
		}
		<-time.After(20 * time.Millisecond)
	}
	t.Errorf("%s cannot be removed", dir)
}

// wrap has a provider start inside.
func (g memoryGroup) wrap() []string {
	return []string{"sh", "-c", `echo $$ > "$0/cgroup.procs" && exec "$@"`, g.dir}
}

// most returns how many bytes were in use at most, 0 if nobody knows.
func (g memoryGroup) most() int64 {
	text, _ := os.ReadFile(g.peak)
	n, _ := strconv.ParseInt(string(bytes.TrimSpace(text)), 10, 64)
	return n
}

// tightness is a flood at a provider with little memory.
type tightness struct {
	what        string
	size, count int    // of messages
	options     string // of the reader that stops
	everybody   bool   // stops
	transport   string // of the one to play on most days
}

// TestTightMemory floods a room of 200 clients with a reader that has stopped,
// at a provider that may use 64 MB.
func TestTightMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("takes its time")
	}
	usePlain(t)
	for _, flood := range []tightness{
		{"small messages", 1024, 3000, "", false, faults.TransportUnix},
		{"64 KiB messages", 64 << 10, 100, "", false, faults.TransportTLS},
		{"1 MB messages", 1_000_000, 8, "", false, faults.TransportUnix},
		{"64 KiB messages, gaps preferred", 64 << 10, 100, "gap", false, ""},
		{"small messages, nobody reads", 1024, 1000, "", true, faults.TransportUnix},
	} {
		t.Run(flood.what, func(t *testing.T) {
			for _, transport := range []string{faults.TransportUnix, faults.TransportTLS} {
				if *longFlag || transport == flood.transport {
					t.Run(transport, func(t *testing.T) { flood.play(t, transport) })
				}
			}
		})
	}
}

func (f tightness) play(t *testing.T, transport string) {
	const limit, clients = 64 << 20, 200
	group := newMemoryGroup(t, limit)
	s := newScene(t, "64 MB, 200 clients, a stopped reader: "+f.what,
		faults.Setup{Transport: transport, Wrap: group.wrap(), Serve: []string{"--stall", stall.String()}})
	s.talkers("aside")
	var audience []*faults.Actress
	for range 2 { // a stranger may have half of the places
		a := s.actor()
		s.attend(a, "r", clients/2)
		audience = append(audience, a)
	}
	slow := s.actor()
	s.connect(slow, "slow", "room=r name=slow %s", f.options)
	s.tell(slow, "read %s never", slow.Label("slow"))
	stopped := []*faults.Actress{slow}
	if f.everybody {
		stopped = append(stopped, audience...)
	}
	for _, a := range stopped {
		s.must(a.Stop())
	}
	began := time.Now()
	s.flood("r", f.size, f.count)
	s.recovery = append(s.recovery, time.Since(began))
	for _, a := range stopped {
		s.must(a.Cont())
	}
	s.tell(slow, "read %s all", slow.Label("slow"))
	s.n, s.note = clients, fmt.Sprintf("%d MB of the cgroup's memory in use at most", group.most()>>20)
	s.check()
}

// TestMoreClientsThanMemory has more clients come than 64 MB are enough for.
func TestMoreClientsThanMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("takes its time")
	}
	usePlain(t)
	const limit, clients = 64 << 20, 1000
	group := newMemoryGroup(t, limit)
	s := newScene(t, "64 MB, 1,000 clients", faults.Setup{Transport: faults.TransportUnix, Wrap: group.wrap()})
	s.witness("r")
	s.talkers("r")
	leave, err := s.attachMany(clients)
	if !errors.Is(err, api.ErrTooMany) || !strings.Contains(err.Error(), "which is the limit") {
		t.Errorf("%d clients: %v; want a limit that is told", clients, err)
	}
	now, err := s.Provider().State(s.ctx)
	s.must(err)
	leave()
	s.recovery = append(s.recovery, s.served())
	s.n, s.note = clients, fmt.Sprintf("%d attached, %d MB of the cgroup's memory in use at most", now.Processes, group.most()>>20)
	s.check()
}

// attend has an actor attach many times, and listen in a room each time.
func (s *scene) attend(a *faults.Actress, room string, clients int) {
	s.t.Helper()
	_, err := a.Ask(s.ctx, faults.Said("", "dialled"), "dial %d", clients)
	s.must(err)
	s.crowd(a, "attend", clients, "each room=%s name=%s", room, a.Name)
}

// flood posts messages into a room, and returns when all are admitted or refused.
func (s *scene) flood(room string, size, count int) {
	s.t.Helper()
	a := s.actor()
	s.connect(a, "flood", "room=%s sendonly", room)
	label := a.Label("flood")
	_, err := a.Ask(s.ctx, faults.Said(label, "posted"), "post %s %d size=%d", label, count, size)
	s.must(err)
}
