package deploy

import (
	"path/filepath"
	"regexp"
	"runtime"
	"testing"
)

// ordersImage builds the sidecar's application. The image is removed when the test
// ends.
func ordersImage(t testing.TB) string {
	t.Helper()
	context, name := t.TempDir(), image+"-orders"
	if err := compile(filepath.Join(context, "deploy", "bin", "orders"), runtime.GOARCH, "./sidecar/app"); err != nil {
		t.Fatal(err)
	}
	if err := buildImage(name, runtime.GOARCH, "sidecar/Dockerfile", context); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { docker(t, "rmi", "--force", name) })
	return name
}

// TestSidecar has an application hand out work over the provider beside it. The
// work of a worker that is killed is given to the other; after a restart of the
// provider all goes on.
func TestSidecar(t *testing.T) {
	t.Parallel()
	engine(t)
	orders := ordersImage(t)
	forEachCompose(t, func(t *testing.T, tool []string) {
		c := newComposition(t, tool, "sidecar/compose.yaml", "ORDERS_IMAGE="+orders)
		c.up()
		desk, worker1, worker2 := c.service("desk"), c.service("worker1"), c.service("worker2")

		desk.said.expect("order [0-9]+: to worker2$")
		order := halt(desk, worker2, "worker2")
		worker2.kill()
		left := desk.said.expect("worker2 left: died$")
		next := desk.said.expect("order " + order + ": to worker1$")
		t.Logf("order %s is handed out again %v after the desk was told", order, next.at.Sub(left.at))
		desk.said.expect("order " + order + ": done by worker1$")

		provider := c.service("crier")
		provider.restart()
		desk.said.expect("worker1 is here$")
		desk.said.expect("order [0-9]+: done by worker1$")

		c.compose("stop")
		for name, ended := range map[string]*container{"desk": desk, "worker1": worker1, "crier": provider} {
			if code := ended.wait(); code != 0 {
				t.Errorf("%s ended with %d", name, code)
			}
		}
	})
}

// halt stops a worker in the middle of an order, for good, and returns which.
func halt(desk, worker *container, name string) string {
	worker.s.t.Helper()
	docker(worker.s.t, "kill", "--signal", "STOP", worker.name)
	for range 2 { // what it had said by then has been heard
		desk.said.expect("done by worker1$")
	}
	told := regexp.MustCompile("order ([0-9]+): to "+name+"\n").FindAllStringSubmatch(desk.said.String(), -1)
	return told[len(told)-1][1]
}
