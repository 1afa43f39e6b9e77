package check

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// The binary of Crier, where it is in the image; and the module that it is built from.
const (
	entrypoint = "/crier"
	crier      = "../../.."
)

// How a provider ends when it is told to, and how the programs that stand in for
// an application do; in a container, as its first process, they are done too.
const (
	done       = 0
	terminated = 128 + int(syscall.SIGTERM)
)

// signs are what the containers write when they are in the room.
var signs = map[string]string{
	"talker":   `^My name is talker$`,
	"listener": `^listening in lobby as listener$`,
}

// workshop is where the binary is built, at most once. TestMain removes it.
var workshop = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "crier-kube")
	if err != nil {
		return "", err
	}
	binary := filepath.Join(dir, "deploy", "bin", "crier")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary, "./cmd/crier")
	cmd.Dir, cmd.Env = crier, append(os.Environ(), "CGO_ENABLED=0")
	_, err = output(cmd)
	return dir, err
})

func TestMain(m *testing.M) {
	code := m.Run()
	if dir, err := workshop(); err == nil {
		os.RemoveAll(dir)
	}
	os.Exit(code)
}

// TestWords runs the commands of the example on this host, without containers:
// Crier has to know their words.
func TestWords(t *testing.T) {
	dir, err := workshop()
	if err != nil {
		t.Fatal(err)
	}
	h := &host{binary: filepath.Join(dir, "deploy", "bin", "crier"), runDir: t.TempDir()}
	pod := readPod(t)
	sidecar := provider(t, pod)
	served := play(t, sidecar.Name, h.command(sidecar, sidecar.Args))
	for _, c := range containers(pod) {
		for name, probe := range probes(c) {
			if probe.Exec.Command[0] != entrypoint {
				t.Fatalf("%s of %s runs %q", name, c.Name, probe.Exec.Command)
			}
			within(t, func() error {
				_, err := output(h.command(c, probe.Exec.Command[1:]))
				return err
			})
		}
	}
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		a := play(t, c.Name, h.command(c, c.Args))
		a.expect(signs[c.Name])
		terminate(t, a, terminated)
	}
	terminate(t, served, done)
}

// terminate ends a as Kubernetes begins to.
func terminate(t *testing.T, a *actor, want int) {
	t.Helper()
	if err := a.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := a.exit(); code != want {
		t.Errorf("%s ended with %d, want %d; it wrote:\n%s", a.name, code, want, strings.Join(a.heard, "\n"))
	}
}

// host is this host in the place of a pod.
type host struct{ binary, runDir string }

// command returns the command that c would run with args in the image, in its
// environment; only the run directory is another.
func (h *host) command(c *corev1.Container, args []string) *exec.Cmd {
	cmd := exec.Command(h.binary, args...)
	for _, e := range c.Env {
		cmd.Env = append(cmd.Env, e.Name+"="+strings.ReplaceAll(e.Value, runDirectory, h.runDir))
	}
	return cmd
}
