package deploy

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// grace is how long docker stop waits before it kills.
const grace = 10 * time.Second

// TestStop stops containers by docker stop, which each takes for what it is: it ends
// in order, with 0, the others are told that it closed, and the provider leaves its
// lock alone behind.
func TestStop(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	keeper := s.run("keeper", tooled(t), "sleep", "600") // or the volume would be emptied with its last container
	provider := s.serve()
	witness := s.actor("witness", options{})
	witness.connect("see", "presence name=witness")
	join := s.run("join", options{}, "join", "--name", "joiner", "--interval", "1h")
	join.log.expect("^My name is joiner")
	listen := s.run("listen", options{}, "listen", "--name", "listener")
	listen.said.expect("^listening in lobby as ")
	for name, c := range map[string]*container{"joiner": join, "listener": listen} {
		s.ends(name, c)
		if r := witness.await(left("witness/see", name)); r.Reason != "closed" {
			t.Errorf("%s left because it %s, want closed", name, r.Reason)
		}
	}
	s.ends("provider", provider)
	left := strings.Fields(docker(t, "exec", keeper.name, "/tool", "list", runDirectory))
	if !slices.Equal(left, []string{"crier.sock.lock"}) {
		t.Errorf("left behind is %q, want the lock alone", left)
	}
}

// ends stops a container and checks how that goes.
func (s *scene) ends(name string, c *container) {
	s.t.Helper()
	begun := time.Now()
	c.stop()
	took := time.Since(begun)
	if code := c.wait(); code != 0 || took >= grace {
		s.t.Errorf("docker stop of the %s: ended with %d after %v, want 0 within %v: %s", name, code, took, grace, c.said)
	}
	s.t.Logf("docker stop of the %s: %v", name, took.Round(time.Millisecond))
}
