package check

import (
	"slices"
	"strconv"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/kubernetes/pkg/securitycontext"
)

// runDirectory is where the page says that the provider's directory is.
const runDirectory = "/run/crier"

// TestVolume: every container has the directory of the socket, in memory and
// bounded, and knows where.
func TestVolume(t *testing.T) {
	pod := readPod(t)
	volume := pod.Spec.Volumes[0]
	empty := volume.EmptyDir
	if len(pod.Spec.Volumes) != 1 || empty == nil || empty.Medium != corev1.StorageMediumMemory || empty.SizeLimit == nil {
		t.Fatalf("volumes are %+v, want one in memory, with a limit", pod.Spec.Volumes)
	}
	whole := corev1.VolumeMount{Name: volume.Name, MountPath: runDirectory}
	for _, c := range containers(pod) {
		if len(c.VolumeMounts) != 1 || c.VolumeMounts[0] != whole {
			t.Errorf("%s mounts %+v, want the whole volume at %s", c.Name, c.VolumeMounts, runDirectory)
		}
		if !slices.Contains(c.Env, corev1.EnvVar{Name: "CRIER_RUN_DIR", Value: runDirectory}) {
			t.Errorf("%s does not know the directory: its environment is %+v", c.Name, c.Env)
		}
	}
}

// TestGroup: the group that every container is in is the one that the provider
// admits, and it is nobody's own.
func TestGroup(t *testing.T) {
	pod := readPod(t)
	group := pod.Spec.SecurityContext.FSGroup
	if group == nil {
		t.Fatal("there is no fsGroup")
	}
	args := provider(t, pod).Args
	at := slices.Index(args, "--allow-gid")
	if at < 0 || at+1 >= len(args) || args[at+1] != strconv.FormatInt(*group, 10) {
		t.Errorf("the provider's words are %q, and the group is %d", args, *group)
	}
	users := map[int64]string{}
	for _, c := range containers(pod) {
		context := securitycontext.DetermineEffectiveSecurityContext(pod, c)
		if context.RunAsUser == nil || context.RunAsGroup == nil {
			t.Fatalf("%s leaves its user and group to the image", c.Name)
		}
		if *context.RunAsGroup == 0 || *context.RunAsGroup == *group {
			t.Errorf("%s has group %d for its own", c.Name, *context.RunAsGroup)
		}
		if other := users[*context.RunAsUser]; other != "" {
			t.Errorf("%s and %s are the same user", c.Name, other)
		}
		users[*context.RunAsUser] = c.Name
	}
}

// TestConfined: no container can do, or take, more than it needs.
func TestConfined(t *testing.T) {
	pod := readPod(t)
	if token := pod.Spec.AutomountServiceAccountToken; token == nil || *token {
		t.Error("the pod has a token for the API server")
	}
	for _, c := range containers(pod) {
		context := securitycontext.DetermineEffectiveSecurityContext(pod, c)
		if context.ReadOnlyRootFilesystem == nil || !*context.ReadOnlyRootFilesystem {
			t.Errorf("%s can write on its root", c.Name)
		}
		if c.Resources.Limits.Memory().IsZero() || c.Resources.Requests.Memory().IsZero() || c.Resources.Requests.Cpu().IsZero() {
			t.Errorf("%s takes what it likes: %+v", c.Name, c.Resources)
		}
	}
}

// TestSidecar: the provider is there before the others start, and nothing but its
// own end makes Kubernetes restart it.
func TestSidecar(t *testing.T) {
	c := provider(t, readPod(t))
	if c.RestartPolicy == nil || *c.RestartPolicy != corev1.ContainerRestartPolicyAlways {
		t.Error("the provider is not a sidecar: the others would wait for its end")
	}
	const day = 24 * 60 * 60
	switch start := c.StartupProbe; {
	case start == nil:
		t.Error("the others do not wait for the provider")
	case start.PeriodSeconds*start.FailureThreshold < day:
		t.Error("a provider that is full again after a restart fails its startup probe, and would be killed")
	}
	if c.LivenessProbe != nil {
		t.Error("a full provider fails its liveness probe, and would be killed")
	}
	const pingTime = 5 // seconds: 2 to find a provider, 3 for its answer
	for name, probe := range probes(c) {
		if probe.Exec == nil || probe.TimeoutSeconds <= pingTime {
			t.Errorf("%s probe %+v, want one that lets ping end by itself", name, probe)
		}
	}
}
