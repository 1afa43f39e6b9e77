package provider

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"crier.local/api"
	"crier.local/client"
)

// usurp has another provider take the path before the first one notices that
// everything there is gone.
func (h *premises) usurp() (other *actor) {
	h.t.Helper()
	err := h.unnoticed(func() error {
		if err := os.RemoveAll(h.dir); err != nil {
			return err
		}
		other = play(h.t, "listen", "UMASK=022", api.EnvAddress+"="+h.e.String())
		other.expect("listening")
		return nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return other
}

// stop returns when the process stands still.
func (a *actor) stop() {
	a.t.Helper()
	a.cmd.Process.Signal(syscall.SIGSTOP)
	for late := time.After(deadline); ; {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", a.cmd.Process.Pid))
		if err != nil {
			a.t.Skip(err)
		}
		if _, rest, _ := strings.Cut(string(stat), ") "); strings.HasPrefix(rest, "T") {
			return
		}
		select {
		case <-time.After(time.Millisecond):
		case <-late:
			a.t.Fatal("the process does not stop")
		}
	}
}

// TestContested: another provider has the path. Each keeps what it has, and the
// first takes the path back when the second ends.
func TestContested(t *testing.T) {
	for _, how := range []string{"killed", "closed"} {
		t.Run(how, func(t *testing.T) {
			h := openPremises(t, Options{})
			other := h.usurp()
			line := h.log.expect(t, "something else is in the place of the socket")
			for _, words := range []string{"[ERROR]", h.e.Address + ".lock", fmt.Sprintf("pid %d of uid", other.cmd.Process.Pid)} {
				if !strings.Contains(line, words) {
					t.Errorf("logged %s\nwithout %q", line, words)
				}
			}
			h.checkAttached()
			c := dial(t, h.e)
			if c.Provider().Epoch == h.p.Epoch() {
				t.Error("two providers have the path")
			}
			c.Close()
			if how == "killed" {
				other.kill()
			} else {
				other.stdin.Close()
			}
			begin := time.Now()
			h.log.expect(t, healed)
			t.Logf("taken back after %s", time.Since(begin))
			h.log.expect(t, "it is announced again")
			h.check()
		})
	}
}

// TestContestedClose: a provider that is closed while another one has its path
// takes nothing of the other's away.
func TestContestedClose(t *testing.T) {
	h := openPremises(t, Options{})
	other := h.usurp()
	other.stop() // else it would make anew what it misses
	h.client.Close()
	h.p.Close()
	found, err := client.Providers(within(t), []string{h.dir})
	if err != nil || len(found) != 1 || !found[0].Live || found[0].Epoch == h.p.Epoch().String() {
		t.Errorf("discovery shows %+v, error %v, want the other provider", found, err)
	}
}

// TestRaceForPath starts providers on a path while it is taken away from the one
// that has it: each time one has it, and those that do not know it.
func TestRaceForPath(t *testing.T) {
	const rivals, rounds = 4, 6
	h := openPremises(t, Options{})
	for round := range rounds {
		late := round%2 == 1
		won, all := h.race(rivals, late)
		t.Logf("round %d: %d of %d rivals have had the path", round, won, rivals)
		if late && won != 1 {
			t.Error("a path that was free has not been taken by one of them")
		}
		for _, a := range all {
			a.kill()
			a.cmd.Wait()
		}
		h.awaitOurs()
		h.check()
		h.checkLocked()
	}
}

// race has rivals try to take the path, which is taken away from the provider
// before each comes. late keeps the provider from noticing until all have tried,
// and takes the path away once, so that they have it to themselves.
func (h *premises) race(rivals int, late bool) (won int, all []*actor) {
	h.t.Helper()
	if late {
		h.p.front.mu.Lock()
		defer h.p.front.mu.Unlock()
	}
	for i := range rivals {
		if i == 0 || !late {
			os.Remove(h.e.Address + ".lock")
			os.Remove(h.e.Address)
		}
		all = append(all, play(h.t, "listen", "UMASK=022", api.EnvAddress+"="+h.e.String()))
	}
	for _, a := range all {
		switch line := a.line(); {
		case line == "listening":
			won++
		case !strings.Contains(line, h.e.Address):
			h.t.Errorf("a rival says %q", line)
		}
	}
	return won, all
}

// awaitOurs returns when new clients come to this provider.
func (h *premises) awaitOurs() {
	h.t.Helper()
	for late := time.After(deadline); ; {
		c, err := client.Dial(within(h.t), client.Options{Address: h.e, Wait: -1})
		if err == nil {
			ours := c.Provider().Epoch == h.p.Epoch()
			c.Close()
			if ours {
				return
			}
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-late:
			h.t.Fatal("the provider has not taken its path back")
		}
	}
}
