package check

import (
	"bytes"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	podutil "k8s.io/kubernetes/pkg/api/pod"
	"k8s.io/kubernetes/pkg/apis/apps"
	appsvalidation "k8s.io/kubernetes/pkg/apis/apps/validation"
	"k8s.io/kubernetes/pkg/apis/batch"
	_ "k8s.io/kubernetes/pkg/apis/batch/install" // the kinds of batch, and their defaults
	batchvalidation "k8s.io/kubernetes/pkg/apis/batch/validation"
	psapi "k8s.io/pod-security-admission/api"
	pspolicy "k8s.io/pod-security-admission/policy"
)

// create does to a deployment what the API server does before it stores one: what
// it says against it is an error, or a warning.
func create(t *testing.T, d *appsv1.Deployment) (field.ErrorList, []string) {
	t.Helper()
	legacyscheme.Scheme.Default(d)
	var internal apps.Deployment
	if err := legacyscheme.Scheme.Convert(d, &internal, nil); err != nil {
		t.Fatal(err)
	}
	template := &internal.Spec.Template
	podutil.DropDisabledTemplateFields(template, nil)
	return appsvalidation.ValidateDeployment(&internal, podutil.GetValidationOptionsFromPodTemplate(template, nil)),
		podutil.GetWarningsForPodTemplate(t.Context(), field.NewPath("spec", "template"), template, nil)
}

// TestServerTakesIt: the API server has nothing against the example.
func TestServerTakesIt(t *testing.T) {
	errs, warnings := create(t, readDeployment(t))
	if len(errs) > 0 || len(warnings) > 0 {
		t.Errorf("the API server says %v, and warns %q", errs, warnings)
	}
}

// TestServerTakesJob: nor against the same pod in a job, as on the page.
func TestServerTakesJob(t *testing.T) {
	j := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "crier-sidecar", Namespace: metav1.NamespaceDefault}}
	d := readDeployment(t)
	j.Spec.Template = d.Spec.Template
	j.Spec.Selector, j.Spec.ManualSelector = d.Spec.Selector, new(true) // else the server makes one
	j.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyNever
	legacyscheme.Scheme.Default(j)
	var internal batch.Job
	if err := legacyscheme.Scheme.Convert(j, &internal, nil); err != nil {
		t.Fatal(err)
	}
	options := batchvalidation.JobValidationOptions{
		PodValidationOptions: podutil.GetValidationOptionsFromPodTemplate(&internal.Spec.Template, nil),
	}
	if errs := batchvalidation.ValidateJob(&internal, options); len(errs) > 0 {
		t.Errorf("the API server says %v", errs)
	}
}

// TestServerRefuses breaks the example, to see that it would be noticed.
func TestServerRefuses(t *testing.T) {
	tests := []struct{ name, old, new, want string }{
		{"unknown field", "restartPolicy: Always", "restartPolice: Always", "unknown field"},
		{"field given twice", "fsGroup: 20000", "fsGroup: 20000\n        fsGroup: 20001", "already set"},
		{"sidecar that is none", "restartPolicy: Always", "restartPolicy: Sometimes", "restartPolicy"},
		{"volume that is not there", "mountPath: /run/crier}", "mountPath: /run/crier, subPath: ..}", "subPath"},
		{"wrong kind of gid", "fsGroup: 20000", "fsGroup: -1", "fsGroup"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			text := bytes.Replace(source(t), []byte(test.old), []byte(test.new), 1)
			object, _, err := strict.Decode(text, nil, nil)
			if err == nil {
				d := object.(*appsv1.Deployment)
				d.Namespace = metav1.NamespaceDefault
				errs, _ := create(t, d)
				err = errs.ToAggregate()
			}
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one about %q", err, test.want)
			}
		})
	}
}

// TestPodSecurity: the pod is one that the strictest of Kubernetes' own security
// standards lets in.
func TestPodSecurity(t *testing.T) {
	evaluator, err := pspolicy.NewEvaluator(pspolicy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	restricted := psapi.LevelVersion{Level: psapi.LevelRestricted, Version: psapi.LatestVersion()}
	against := func(pod *corev1.Pod) string {
		verdict := pspolicy.AggregateCheckResults(evaluator.EvaluatePod(restricted, &pod.ObjectMeta, &pod.Spec))
		return verdict.ForbiddenDetail()
	}
	pod := readPod(t)
	if words := against(pod); words != "" {
		t.Errorf("forbidden: %s", words)
	}
	provider(t, pod).SecurityContext.Capabilities = nil
	if words := against(pod); !strings.Contains(words, "capabilities") {
		t.Errorf("with capabilities it is forbidden because of %q", words)
	}
}
