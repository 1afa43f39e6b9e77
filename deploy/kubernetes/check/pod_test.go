package check

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/kubernetes/pkg/securitycontext"
)

// pod is the pod of the example on a Docker engine: what a kubelet would have made
// for it, as far as Docker has the same. It has no network at all.
type pod struct {
	t      *testing.T
	spec   *corev1.Pod
	image  string
	name   string         // begins the names of all that belongs to it
	starts map[string]int // by container
}

// newPod makes the image and the volumes. What is left of the pod at the end of
// the test is removed.
func newPod(t *testing.T, spec *corev1.Pod) *pod {
	t.Helper()
	if _, err := run("docker", "version", "--format", "{{.Server.Version}}"); err != nil {
		if os.Getenv("CRIER_TEST_DOCKER") == "required" {
			t.Fatalf("no Docker engine: %v", err)
		}
		t.Skipf("no Docker engine: %v", err)
	}
	name := fmt.Sprintf("crier-kube-%d", os.Getpid())
	p := &pod{t: t, spec: spec, image: name, name: name, starts: map[string]int{}}
	t.Cleanup(p.clear)
	dir, err := workshop()
	if err != nil {
		t.Fatal(err)
	}
	p.docker("build", "--quiet", "--file", crier+"/deploy/Dockerfile", "--target", "prebuilt", "--tag", p.image, dir)
	for _, v := range spec.Spec.Volumes {
		p.docker("volume", "create", "--driver", "local", "--label", "pod="+p.name,
			"--opt", "type=tmpfs", "--opt", "device=tmpfs", "--opt", "o="+p.tmpfs(v.EmptyDir), p.name+"-"+v.Name)
	}
	return p
}

// tmpfs returns how a kubelet mounts an emptyDir in memory: everybody may write
// there, what is made there is the group's, and only who made it may remove it.
func (p *pod) tmpfs(v *corev1.EmptyDirVolumeSource) string {
	return fmt.Sprintf("size=%d,uid=0,gid=%d,mode=3777", v.SizeLimit.Value(), *p.spec.Spec.SecurityContext.FSGroup)
}

func (p *pod) clear() {
	for _, kind := range []struct{ list, remove []string }{
		{[]string{"ps", "--all"}, []string{"rm", "--force"}},
		{[]string{"volume", "ls"}, []string{"volume", "rm"}},
	} {
		for _, id := range strings.Fields(p.docker(append(kind.list, "--quiet", "--filter", "label=pod="+p.name)...)) {
			p.docker(append(kind.remove, id)...)
		}
	}
	_, _ = run("docker", "rmi", "--force", p.image)
}

func (p *pod) docker(args ...string) string {
	p.t.Helper()
	text, err := run("docker", args...)
	if err != nil {
		p.t.Error(err)
	}
	return text
}

// container returns the name of c, as it was started last.
func (p *pod) container(c *corev1.Container) string {
	return fmt.Sprintf("%s-%s-%d", p.name, c.Name, p.starts[c.Name])
}

// start starts c, anew each time as a kubelet does.
func (p *pod) start(c *corev1.Container) *actor {
	p.t.Helper()
	p.starts[c.Name]++
	args := append([]string{"run", "--name", p.container(c), "--label", "pod=" + p.name, "--network", "none", "--no-healthcheck"}, p.flags(c)...)
	if len(c.Command) > 0 {
		p.t.Fatalf("%s has a command; only words for the image's are known here", c.Name)
	}
	return play(p.t, p.container(c), exec.Command("docker", append(append(args, p.image), c.Args...)...))
}

// flags returns what makes Docker's container the one that c describes.
func (p *pod) flags(c *corev1.Container) []string {
	if c.Image != "crier" {
		p.t.Fatalf("%s is of image %s, which is not known here", c.Name, c.Image)
	}
	flags := append(p.identity(c), "--memory", strconv.FormatInt(c.Resources.Limits.Memory().Value(), 10))
	for _, e := range c.Env {
		flags = append(flags, "--env", e.Name+"="+e.Value)
	}
	for _, m := range c.VolumeMounts {
		flags = append(flags, "--mount", fmt.Sprintf("type=volume,source=%s-%s,target=%s,volume-nocopy", p.name, m.Name, m.MountPath))
	}
	return flags
}

// identity returns who c is, and what it may.
func (p *pod) identity(c *corev1.Container) []string {
	context := securitycontext.DetermineEffectiveSecurityContext(p.spec, c)
	flags := []string{
		"--user", fmt.Sprintf("%d:%d", *context.RunAsUser, *context.RunAsGroup),
		"--group-add", strconv.FormatInt(*p.spec.Spec.SecurityContext.FSGroup, 10),
		fmt.Sprintf("--read-only=%t", *context.ReadOnlyRootFilesystem),
	}
	for _, capability := range context.Capabilities.Drop {
		flags = append(flags, "--cap-drop", string(capability))
	}
	if securitycontext.AddNoNewPrivileges(context) {
		flags = append(flags, "--security-opt", "no-new-privileges")
	}
	return flags
}

// probe waits until a probe of c succeeds.
func (p *pod) probe(c *corev1.Container, probe *corev1.Probe) {
	p.t.Helper()
	within(p.t, func() error {
		_, err := run("docker", append([]string{"exec", p.container(c)}, probe.Exec.Command...)...)
		return err
	})
}

// stop ends c as a kubelet does: asks, and kills when the pod's grace is over. To
// all of the example, being asked is a good end.
func (p *pod) stop(c *corev1.Container, a *actor) {
	p.t.Helper()
	p.docker("stop", "--time", strconv.FormatInt(*p.spec.Spec.TerminationGracePeriodSeconds, 10), p.container(c))
	if code := a.exit(); code != done {
		p.t.Errorf("%s ended with %d; it wrote:\n%s", a.name, code, strings.Join(a.heard, "\n"))
	}
}
