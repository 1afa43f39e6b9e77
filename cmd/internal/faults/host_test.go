package faults_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"crier.local/cmd/internal/faults"
)

// TestHostKilled kills the program that has spawned a provider: everybody who is
// attached is told, and the provider ends by itself, also while much is said and
// logged.
func TestHostKilled(t *testing.T) {
	t.Run("quiet", func(t *testing.T) { testHostKilled(t, "host killed, provider quiet", false) })
	t.Run("noisy", func(t *testing.T) { testHostKilled(t, "host killed, provider noisy", true) })
}

func testHostKilled(t *testing.T, scenario string, noisy bool) {
	if testing.Short() {
		t.Skip("real processes take their time")
	}
	const rounds, guests = 5, 10
	figures := figures.row(scenario, faults.TransportUnix, strings.Split(t.Name(), "/")[0])
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for range rounds {
		h := newHosted(ctx, t)
		h.invite(guests, noisy)
		h.kill(figures)
	}
	figures.n = rounds
	figures.note = fmt.Sprintf("%d clients; recover: the provider has ended", guests)
}

// hosted is a provider that an actor has spawned, and its guests.
type hosted struct {
	t       *testing.T
	ctx     context.Context
	program faults.Program
	history *faults.History
	host    *faults.Process
	address string
	pid     int // of the provider
	guests  []*faults.Process
}

func newHosted(ctx context.Context, t *testing.T) *hosted {
	t.Helper()
	dir := shortDir(t)
	h := &hosted{
		t: t, ctx: ctx, history: faults.NewHistory(),
		program: faults.Program{Crier: crier(t), Dir: dir, Env: []string{"CRIER_RUN_DIR=" + dir}},
	}
	h.host = h.start("host")
	said, err := h.host.Ask(ctx, faults.Said("", "spawned"), "spawn")
	if err != nil {
		t.Fatal(err)
	}
	h.address, h.pid = said.Name, int(said.Count)
	return h
}

func (h *hosted) start(name string, args ...string) *faults.Process {
	h.t.Helper()
	p, err := h.program.Actor(name, h.history.Add, args...)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() {
		p.Kill()
		p.Reaped(context.Background())
	})
	return p
}

// invite attaches guests. If it is to be noisy, some talk without end, and have
// others come and go.
func (h *hosted) invite(count int, noisy bool) {
	h.t.Helper()
	for i := range count {
		name := fmt.Sprint("g", i)
		g := h.start(name, "--address", h.address)
		label := name + "/c"
		if _, err := g.Ask(h.ctx, faults.Connected(label), "connect %s room=r name=%s presence", label, name); err != nil {
			h.t.Fatal(err)
		}
		h.guests = append(h.guests, g)
	}
	if !noisy {
		return
	}
	for _, g := range h.guests[:2] {
		h.begin(g, faults.AtOK, "send %s/c 1000000 size=100")
		h.begin(g, faults.AtClosed, "churn %s/churn 1000000 every=5ms room=r")
	}
}

// begin has a guest begin something, and returns when it is under way.
func (h *hosted) begin(g *faults.Process, sign, command string) {
	h.t.Helper()
	if _, err := g.Ask(h.ctx, func(r faults.Record) bool { return r.At == sign }, command, g.Name); err != nil {
		h.t.Fatal(err)
	}
}

// kill kills the host, and waits until everybody has heard of it and the provider
// has ended.
func (h *hosted) kill(figures *row) {
	h.t.Helper()
	var told []*faults.Sighting
	for _, g := range h.guests {
		label := g.Name + "/c"
		told = append(told, g.Watch(func(r faults.Record) bool { return r.At == faults.AtEnd && r.Conn == label }))
	}
	killed := faults.Monotonic()
	h.host.Kill()
	for _, sighting := range told {
		rec, _, err := sighting.Wait(h.ctx)
		if err != nil {
			h.t.Fatal(err)
		}
		if rec.Reason != "going_away" {
			h.t.Errorf("a guest is told %s (%s), want going_away", rec.Reason, rec.Error)
		}
		figures.notice = append(figures.notice, since(killed, rec))
	}
	h.gone()
	figures.recovery = append(figures.recovery, time.Duration(faults.Monotonic()-killed))
	h.floor()
}

// gone waits until the provider has ended: it may not be this process that reaps it.
func (h *hosted) gone() {
	h.t.Helper()
	for {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", h.pid))
		if err != nil || strings.Contains(string(status), ") Z ") {
			return
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-h.ctx.Done():
			h.t.Fatalf("the provider, process %d, lives on without its host", h.pid)
		}
	}
}

// floor checks what is left behind, and what the guests have heard.
func (h *hosted) floor() {
	h.t.Helper()
	for _, g := range h.guests {
		g.Quit()
		if err := g.Reaped(h.ctx); err != nil {
			h.t.Errorf("a guest ends with %v: %s", err, g.Words())
		}
	}
	for _, v := range h.history.Check(true) {
		h.t.Errorf("%s: %s", v.Invariant, v.Text)
	}
	files, err := os.ReadDir(h.program.Dir)
	if err != nil || len(files) > 0 {
		h.t.Errorf("left behind: %v, %v", files, err)
	}
}
