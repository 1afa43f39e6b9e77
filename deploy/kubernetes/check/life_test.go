package check

import (
	"bufio"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/kubernetes/pkg/securitycontext"
)

// TestLife leads the pod through its life, in containers: the provider first, the
// others when its probe says so; somebody uninvited; the provider killed and started
// again; and the end, the others first.
func TestLife(t *testing.T) {
	p := newPod(t, readPod(t))
	sidecar := provider(t, p.spec)
	served := p.start(sidecar)
	p.probe(sidecar, sidecar.StartupProbe)
	talker, listener := p.named("talker"), p.named("listener")
	listening := p.start(listener)
	listening.expect(signs[listener.Name])
	talking := p.start(talker)
	talking.expect(signs[talker.Name])
	listening.expect(`^hello from talker`)
	for _, c := range containers(p.spec) {
		for _, probe := range probes(c) {
			p.probe(c, probe)
		}
	}
	p.checkWho()
	p.checkUninvited(listener)

	killed := time.Now()
	p.docker("kill", "--signal", "KILL", p.container(sidecar))
	served.exit()
	again := time.Now()
	served = p.start(sidecar)
	listening.expect(`^the provider was restarted`)
	listening.expect(`^hello from talker`)
	t.Logf("heard from the talker again %v after the provider was killed, %v after it was started again",
		time.Since(killed).Round(time.Millisecond), time.Since(again).Round(time.Millisecond))
	p.probe(sidecar, sidecar.StartupProbe)
	p.checkWho()

	p.stop(talker, talking)
	listening.expect(`^talker left: closed$`)
	p.stop(listener, listening)
	p.stop(sidecar, served)
}

// named returns a container of the pod.
func (p *pod) named(name string) *corev1.Container {
	p.t.Helper()
	for i := range p.spec.Spec.Containers {
		if c := &p.spec.Spec.Containers[i]; c.Name == name {
			return c
		}
	}
	p.t.Fatalf("there is no container %s", name)
	return nil
}

// checkWho checks that the provider knows everybody as the user of their container.
func (p *pod) checkWho() {
	p.t.Helper()
	within(p.t, p.compareWho)
}

func (p *pod) compareWho() error {
	text, err := run("docker", "exec", p.container(provider(p.t, p.spec)), entrypoint, "who", "--json")
	if err != nil {
		return err
	}
	users := map[string]int64{}
	for in := bufio.NewScanner(strings.NewReader(text)); in.Scan(); {
		var seat struct {
			Name string
			UID  int64
		}
		if err := json.Unmarshal(in.Bytes(), &seat); err != nil {
			return err
		}
		users[seat.Name] = seat.UID
	}
	for i := range p.spec.Spec.Containers {
		c := &p.spec.Spec.Containers[i]
		want := *securitycontext.DetermineEffectiveSecurityContext(p.spec, c).RunAsUser
		if users[c.Name] != want {
			return fmt.Errorf("%s is uid %d to the provider, want %d, of:\n%s", c.Name, users[c.Name], want, text)
		}
	}
	return nil
}

// checkUninvited has somebody try who is like c, and reaches the socket, but is not in the
// group.
func (p *pod) checkUninvited(c *corev1.Container) {
	p.t.Helper()
	const denied = 77
	other := c.DeepCopy()
	other.Name, other.SecurityContext.RunAsUser = "uninvited", new(int64(20009))
	groups := p.spec.Spec.SecurityContext.FSGroup
	p.spec.Spec.SecurityContext.FSGroup = new(int64(20009))
	a := p.start(other)
	p.spec.Spec.SecurityContext.FSGroup = groups
	a.expect(`does not admit uid 20009`)
	if code := a.exit(); code != denied {
		p.t.Errorf("who is not in the group ended with %d, want %d", code, denied)
	}
}
