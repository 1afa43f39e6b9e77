package faults_test

import (
	"encoding/json"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"crier.local/cmd/internal/faults"
)

// jumpingClock is put into time.Now, where the wall clock has been read: from then
// on it is set forward and back by 100 minutes, ten times a second. The monotonic
// clock stays what it is.
const (
	clockIsRead  = "sec, nsec, mono := runtimeNow()\n"
	jumpingClock = `
	if sec += 3000; mono/100_000_000%2 == 0 {
		sec -= 6000
	}
`
)

// jumping returns the path of a crier whose wall clock jumps.
func jumping(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Skip("no go to build with: ", err)
	}
	source := filepath.Join(strings.TrimSpace(string(out)), "src", "time", "time.go")
	text, err := os.ReadFile(source)
	if err != nil {
		t.Skip("no source of package time: ", err)
	}
	head, body, ok := strings.Cut(string(text), "\nfunc Now() Time {")
	before, after, found := strings.Cut(body, clockIsRead)
	if !ok || !found || strings.Contains(before, "\n}") {
		t.Skip("this version of Go reads the clock in another way")
	}
	dir := shortDir(t)
	replacement, overlay := filepath.Join(dir, "time.go"), filepath.Join(dir, "overlay.json")
	replaced := head + "\nfunc Now() Time {" + before + clockIsRead + jumpingClock + after
	if err := os.WriteFile(replacement, []byte(replaced), 0o600); err != nil {
		t.Fatal(err)
	}
	replace, err := json.Marshal(map[string]any{"Replace": map[string]string{source: replacement}})
	if err == nil {
		err = os.WriteFile(overlay, replace, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return buildPlain(t, "-overlay", overlay)
}

// TestClockJumps plays whatever has a deadline while the clock of all processes
// is set forward and back: only time that has passed may matter.
func TestClockJumps(t *testing.T) {
	if testing.Short() {
		t.Skip("builds Go's library anew")
	}
	use(t, jumping(t))
	const stall, evictions = 500 * time.Millisecond, 4
	setup := faults.Setup{Serve: []string{"--stall", stall.String()}}
	overBoth(t, "clock set forward and back, 10 times a second", setup, func(s *scene) {
		s.witness("r")
		s.talkers("aside")
		s.attend(s.actor(), "r", 20)
		closed := s.sayNothing()
		s.notBefore("listeners that do not read are sent away", evictions*stall, func() {
			for range evictions {
				s.evict("r")
			}
		})
		s.notBefore("listen --timeout ends", time.Second, s.timeOut)
		if took := <-closed; took < greeting*9/10 {
			s.t.Errorf("a connection that says nothing is closed after %s, want %s", took, greeting)
		}
		s.clockIsOff()
		s.n, s.note = 1, "deadlines of 0.5 s, 1 s and 5 s kept"
	})
}

// greeting is how long a connection may say nothing.
const greeting = 5 * time.Second

// notBefore checks that something takes its time.
func (s *scene) notBefore(what string, soon time.Duration, do func()) {
	s.t.Helper()
	began := time.Now()
	do()
	if took := time.Since(began); took < soon*9/10 {
		s.t.Errorf("%s: after %s, want %s", what, took, soon)
	}
}

// TestClockJumpsWhileRedialling restarts the provider of clients whose clock
// jumps.
func TestClockJumpsWhileRedialling(t *testing.T) {
	if testing.Short() {
		t.Skip("builds Go's library anew")
	}
	use(t, jumping(t))
	const rounds = 5
	overBoth(t, "provider killed while the clock jumps", faults.Setup{}, func(s *scene) {
		s.witness("r")
		a := s.actor()
		s.connect(a, "a", "room=r name=returner")
		back := func(r faults.Record) bool { return r.Kind == "restarted" && r.Conn == a.Label("a") }
		for range rounds {
			sighting := a.Watch(back)
			began := time.Now()
			s.must(s.KillProvider(s.ctx))
			s.must(s.Start(s.ctx))
			s.wait(sighting)
			s.recovery = append(s.recovery, time.Since(began))
		}
		s.n = rounds
	})
}

// clockIsOff checks that the provider's clock is not what it should be: else this
// would be a test of nothing.
func (s *scene) clockIsOff() {
	s.t.Helper()
	for line := range strings.Lines(s.run("who", "--json").stdout) {
		var who struct{ Since time.Time }
		s.must(json.Unmarshal([]byte(line), &who))
		if off := time.Since(who.Since).Abs(); off > 30*time.Minute {
			return
		}
	}
	s.t.Error("the clock does not jump")
}

// sayNothing makes a connection that says nothing, and tells how long it was until
// the provider closed it.
func (s *scene) sayNothing() (closed <-chan time.Duration) {
	s.t.Helper()
	conn, err := net.Dial(s.Address().Network, s.Address().Address)
	s.must(err)
	conn.SetReadDeadline(time.Now().Add(patience))
	took := make(chan time.Duration, 1)
	began := time.Now()
	go func() {
		defer conn.Close()
		_, _ = io.Copy(io.Discard, conn)
		took <- time.Since(began)
	}()
	return took
}

// timeOut has a listener wait for its time to run out.
func (s *scene) timeOut() {
	s.t.Helper()
	if o := s.run("listen", "--room", "empty", "--timeout", "1s"); o.code != 124 {
		s.t.Errorf("listen --timeout: %s", o)
	}
	if o := s.run("send", "--room", "empty", "a word"); o.code != 0 {
		s.t.Errorf("send: %s", o)
	}
}
