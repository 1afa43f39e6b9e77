package deploy

import (
	"debug/elf"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// declared is what an image says of itself and of how it is run.
type declared struct {
	Architecture string
	Size         int
	Config       struct {
		User        string
		Labels      map[string]string
		Healthcheck struct{ Test []string }
	}
}

func inspect(t testing.TB, name string) (d declared) {
	t.Helper()
	if err := json.Unmarshal([]byte(docker(t, "image", "inspect", "--format", "{{json .}}", name)), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// program runs the image's crier, away from everything.
func program(t testing.TB, name string, args ...string) string {
	t.Helper()
	return docker(t, append([]string{"run", "--rm", "--network", "none", name}, args...)...)
}

// TestImage holds the image to what is promised of it.
func TestImage(t *testing.T) {
	engine(t)
	d := inspect(t, image)
	t.Logf("the image has %.1f MB", float64(d.Size)/1e6)
	if d.Size > 25e6 {
		t.Errorf("%d bytes are too many", d.Size)
	}
	if uid, _, _ := strings.Cut(d.Config.User, ":"); !regexp.MustCompile("^[1-9][0-9]*$").MatchString(uid) {
		t.Errorf("it runs as %q", d.Config.User)
	}
	if want := []string{"CMD", "/crier", "ping"}; !slices.Equal(d.Config.Healthcheck.Test, want) {
		t.Errorf("its health check is %q", d.Config.Healthcheck.Test)
	}
	var v struct{ Version string }
	if err := json.Unmarshal([]byte(program(t, image, "version", "--json")), &v); err != nil {
		t.Fatal(err)
	}
	if label := d.Config.Labels["org.opencontainers.image.version"]; label != v.Version {
		t.Errorf("labelled as version %q, the binary is %q", label, v.Version)
	}
}

// TestStamps builds an image and its binary with a version and a commit.
func TestStamps(t *testing.T) {
	t.Parallel()
	engine(t)
	const commit = "c0ffee0000000000000000000000000000000000"
	name := variant(t, "stamped", "amd64", []string{"-X main.commit=" + commit}, "--build-arg", "COMMIT="+commit, "--build-arg", "VERSION=7.8.9")
	labels := inspect(t, name).Config.Labels
	if got := labels["org.opencontainers.image.revision"]; got != commit {
		t.Errorf("labelled with commit %q", got)
	}
	if got := labels["org.opencontainers.image.version"]; got != "7.8.9" {
		t.Errorf("labelled with version %q", got)
	}
	if text := program(t, name, "version"); !strings.Contains(text, "\ncommit "+commit+"\n") {
		t.Errorf("crier version prints %q", text)
	}
}

// TestImageARM64 builds the image for another processor.
func TestImageARM64(t *testing.T) {
	t.Parallel()
	engine(t)
	name := variant(t, "arm64", "arm64", nil)
	if got := inspect(t, name).Architecture; got != "arm64" {
		t.Errorf("it is for %s", got)
	}
	if got := machine(t, name); got != elf.EM_AARCH64 {
		t.Errorf("its binary is for %v", got)
	}
	if _, err := os.Stat("/proc/sys/fs/binfmt_misc/qemu-aarch64"); err != nil {
		t.Logf("not run: %v", err)
		return
	}
	if text := program(t, name, "version"); !strings.Contains(text, "linux/arm64") {
		t.Errorf("crier version prints %q", text)
	}
}

// variant builds an image that differs from that of this tree. It is removed when
// the test ends.
func variant(t testing.TB, name, arch string, ldflags []string, buildArgs ...string) string {
	t.Helper()
	context := t.TempDir()
	if err := compile(filepath.Join(context, "deploy", "bin", "crier"), arch, "../cmd/crier", ldflags...); err != nil {
		t.Fatal(err)
	}
	name = image + "-" + name
	if err := buildImage(name, arch, "Dockerfile", context, buildArgs...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { docker(t, "rmi", "--force", name) })
	return name
}

// machine returns the processor that an image's binary is for.
func machine(t testing.TB, name string) elf.Machine {
	t.Helper()
	id := docker(t, "create", name)
	t.Cleanup(func() { docker(t, "rm", id) })
	file := filepath.Join(t.TempDir(), "crier")
	docker(t, "cp", id+":/crier", file)
	f, err := elf.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return f.Machine
}

// TestStagesAgree compares what the two stages of the Dockerfile that end in an
// image say. They differ in where the binary comes from.
func TestStagesAgree(t *testing.T) {
	text := string(read(t, "Dockerfile"))
	prebuilt, source := stage(t, text, "prebuilt"), stage(t, text, "crier")
	if prebuilt != source {
		t.Errorf("stage prebuilt:\n%s\nstage crier:\n%s", prebuilt, source)
	}
}

// stage returns what follows a stage's FROM and COPY.
func stage(t testing.TB, dockerfile, name string) string {
	t.Helper()
	m := regexp.MustCompile(`(?m)^FROM scratch AS ` + name + `\nCOPY .* /crier\n((?:[^\n#].*\n)+)`).FindStringSubmatch(dockerfile)
	if m == nil {
		t.Fatalf("no stage %s", name)
	}
	return m[1]
}

// TestHealth has Docker find out that a provider does not answer, and that it
// does again.
func TestHealth(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	often := asProvider
	often.flags = []string{"--health-interval", "200ms", "--health-timeout", "5s", "--health-retries", "1"}
	provider := s.run("provider", often, "serve")
	provider.becomes("healthy")
	docker(t, "kill", "--signal", "STOP", provider.name)
	provider.becomes("unhealthy")
	docker(t, "kill", "--signal", "CONT", provider.name)
	provider.becomes("healthy")
}

// becomes waits for what Docker finds of the container's health.
func (c *container) becomes(health string) {
	c.s.t.Helper()
	c.until(health, func(s state) bool { return s.Health.Status == health })
}

// until waits for a state of the container, which what names.
func (c *container) until(what string, reached func(state) bool) {
	c.s.t.Helper()
	until(c.s.t, func() bool { return reached(c.state()) },
		func() string { return fmt.Sprintf("%s is not %s: %+v", c.name, what, c.state()) })
}
