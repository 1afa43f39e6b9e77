package faults_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"crier.local/cmd/internal/faults"
)

// patience is how long a scenario may take: far longer than it does on any
// machine.
const patience = 4 * time.Minute

// stall is the stall deadline of scenarios in which somebody is to be evicted.
const stall = 2 * time.Second

var (
	building  sync.Once
	built     string
	buildDir  string
	buildFail error
)

// crier returns the path of the binary, which it builds when it is first needed.
func crier(t testing.TB) string {
	t.Helper()
	building.Do(func() {
		if built = *crierFlag; built == "" {
			buildDir, buildFail = os.MkdirTemp("", "faults")
			built = filepath.Join(buildDir, "crier")
		}
		if buildFail == nil && *crierFlag == "" {
			buildFail = build(built)
		}
	})
	if buildFail != nil {
		t.Fatal(buildFail)
	}
	return built
}

// build builds crier, with further arguments of go build.
func build(path string, args ...string) error {
	args = append([]string{"build", "-o", path}, args...)
	if raceEnabled {
		args = append(args, "-race")
	}
	out, err := exec.Command("go", append(args, "crier.local/cmd/crier")...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("build crier: %w: %s", err, out)
	}
	return nil
}

// scene is a stage, and the test that looks at it.
type scene struct {
	*faults.Stage
	*row

	t    *testing.T
	ctx  context.Context // ends when patience does
	rand *rand.Rand

	checked bool

	mu    sync.Mutex
	heard func(faults.Record) // hears all records, if not nil
}

// apart lets a scenario that mostly waits run beside another such.
func apart(t *testing.T) {
	t.Helper()
	t.Parallel()
}

// overBoth plays a scenario over each transport.
func overBoth(t *testing.T, scenario string, setup faults.Setup, play func(*scene)) {
	for _, transport := range []string{faults.TransportUnix, faults.TransportTLS} {
		t.Run(transport, func(t *testing.T) {
			setup := setup
			setup.Transport = transport
			s := newScene(t, scenario, setup)
			play(s)
			s.check()
		})
	}
}

func newScene(t *testing.T, scenario string, setup faults.Setup) *scene {
	t.Helper()
	if testing.Short() {
		t.Skip("real processes take their time")
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	setup.Crier, setup.Dir = crier(t), shortDir(t)
	if setup.Memory == 0 {
		setup.Memory = memoryBound()
	}
	s := &scene{t: t, ctx: ctx, rand: newRand(t)}
	setup.Hear = s.hear
	stage, err := faults.NewStage(ctx, setup)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stage.End)
	s.Stage = stage
	s.row = figures.row(scenario, setup.Transport, strings.Split(t.Name(), "/")[0])
	return s
}

// memoryBound returns what a provider may take: its default bound for what is
// queued, to which no scenario comes near. The race detector multiplies.
func memoryBound() int64 {
	if raceEnabled {
		return 2 << 30
	}
	return 256 << 20
}

// shortDir returns a directory whose name leaves room for that of a socket.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "faults")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// newRand returns the source of all random choices of a test.
func newRand(t testing.TB) *rand.Rand {
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-faults.seed=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

func (s *scene) hear(r faults.Record) {
	s.mu.Lock()
	heard := s.heard
	s.mu.Unlock()
	if heard != nil {
		heard(r)
	}
}

// listen has f hear all records from now on, one at a time.
func (s *scene) listen(f func(faults.Record)) {
	var turn sync.Mutex
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heard = func(r faults.Record) {
		turn.Lock()
		defer turn.Unlock()
		f(r)
	}
}

// check ends the scene and checks the invariants.
func (s *scene) check() {
	s.t.Helper()
	if s.checked {
		return
	}
	s.checked = true
	s.memory = max(s.memory, s.HighRSS())
	if err := s.Check(s.ctx); err != nil {
		s.t.Error(err)
	}
	s.t.Logf("%+v", s.History.Summary())
	if s.t.Failed() {
		s.t.Logf("the provider's last words: %s", s.Provider().Words())
	}
}

func (s *scene) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// actor starts an actor.
func (s *scene) actor() *faults.Actress {
	s.t.Helper()
	a, err := s.Actor()
	s.must(err)
	return a
}

// uninvolved starts an actor whom the fault is not to touch.
func (s *scene) uninvolved() *faults.Actress {
	s.t.Helper()
	a, err := s.Uninvolved()
	s.must(err)
	return a
}

func (s *scene) connect(a *faults.Actress, conn, format string, args ...any) faults.Record {
	s.t.Helper()
	rec, err := a.Connect(s.ctx, conn, fmt.Sprintf(format, args...))
	s.must(err)
	return rec
}

func (s *scene) crowd(a *faults.Actress, conn string, count int, format string, args ...any) {
	s.t.Helper()
	s.must(a.Crowd(s.ctx, conn, count, fmt.Sprintf(format, args...)))
}

func (s *scene) witness(room string) *faults.Actress {
	s.t.Helper()
	w, err := s.Witness(s.ctx, room)
	s.must(err)
	return w
}

func (s *scene) tell(a *faults.Actress, format string, args ...any) {
	s.t.Helper()
	s.must(a.Tell(format, args...))
}

// wait returns what is sighted.
func (s *scene) wait(sighting *faults.Sighting) faults.Record {
	s.t.Helper()
	rec, _, err := sighting.Wait(s.ctx)
	s.must(err)
	return rec
}

// since returns how long after then, by [faults.Monotonic], a record was written.
func since(then int64, r faults.Record) time.Duration { return time.Duration(r.Nanos - then) }

// pass lets time pass in which nothing is to happen that could be waited for.
func (s *scene) pass(d time.Duration) {
	s.t.Helper()
	select {
	case <-time.After(d):
	case <-s.ctx.Done():
		s.t.Fatal("the time is over")
	}
}

// poll looks until so returns nil.
func (s *scene) poll(so func() error) {
	s.t.Helper()
	for {
		err := so()
		if err == nil {
			return
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-s.ctx.Done():
			s.t.Fatal(err)
		}
	}
}

// fewer returns n, or less of it where the race detector slows everything down.
func fewer(n, underRace int) int {
	if raceEnabled {
		return underRace
	}
	return n
}

// left matches the departure of somebody.
func left(name string) func(faults.Record) bool {
	return func(r faults.Record) bool { return r.Kind == "left" && r.Who == name }
}

// collect matches the n-th record that match does, and has seen hear of all of them.
func collect(n int, match func(faults.Record) bool, seen func(faults.Record)) func(faults.Record) bool {
	return nth(n, func(r faults.Record) bool {
		ok := match(r)
		if ok {
			seen(r)
		}
		return ok
	})
}

// nth matches the n-th record that match does.
func nth(n int, match func(faults.Record) bool) func(faults.Record) bool {
	return func(r faults.Record) bool {
		if match(r) {
			n--
		}
		return n == 0
	}
}
