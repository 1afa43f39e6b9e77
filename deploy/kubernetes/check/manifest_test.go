package check

import (
	"os"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	_ "k8s.io/kubernetes/pkg/apis/apps/install" // the kinds of apps, and their defaults
	_ "k8s.io/kubernetes/pkg/apis/core/install" // the kinds of the core, and their defaults
)

// manifest is what a user applies.
const manifest = "../sidecar.yaml"

// strict decodes as the API server does when told to refuse fields that it does
// not know, or that are given twice.
var strict = serializer.NewCodecFactory(legacyscheme.Scheme, serializer.EnableStrict).UniversalDeserializer()

func source(t *testing.T) []byte {
	t.Helper()
	text, err := os.ReadFile(manifest)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// readDeployment returns the example, with everything filled in that Kubernetes
// fills in.
func readDeployment(t *testing.T) *appsv1.Deployment {
	t.Helper()
	object, _, err := strict.Decode(source(t), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	d, ok := object.(*appsv1.Deployment)
	if !ok {
		t.Fatalf("%s is a %T, want a Deployment", manifest, object)
	}
	d.Namespace = metav1.NamespaceDefault
	legacyscheme.Scheme.Default(d)
	return d
}

// readPod returns a pod of the example.
func readPod(t *testing.T) *corev1.Pod {
	t.Helper()
	template := readDeployment(t).Spec.Template
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "crier-sidecar", Namespace: metav1.NamespaceDefault, Labels: template.Labels},
		Spec:       template.Spec,
	}
}

// provider returns the sidecar.
func provider(t *testing.T, pod *corev1.Pod) *corev1.Container {
	t.Helper()
	if n := len(pod.Spec.InitContainers); n != 1 {
		t.Fatalf("the pod has %d init containers, want the provider alone", n)
	}
	return &pod.Spec.InitContainers[0]
}

// containers returns all containers in the order in which they are started.
func containers(pod *corev1.Pod) []*corev1.Container {
	var all []*corev1.Container
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			all = append(all, &list[i])
		}
	}
	return all
}

// probes returns the probes that c has, by what they are for.
func probes(c *corev1.Container) map[string]*corev1.Probe {
	all := map[string]*corev1.Probe{"startup": c.StartupProbe, "readiness": c.ReadinessProbe, "liveness": c.LivenessProbe}
	for name, probe := range all {
		if probe == nil {
			delete(all, name)
		}
	}
	return all
}
