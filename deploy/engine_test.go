// Package deploy tests what this directory offers on a real Docker engine. Where
// there is none the tests skip.
package deploy

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// image is the image of this tree, built at most once.
var image = fmt.Sprintf("crier-test-%d", os.Getpid())

func TestMain(m *testing.M) {
	code := m.Run()
	for _, name := range []string{toolImage, image} {
		if _, err := try("image", "inspect", name); err == nil {
			_, _ = try("rmi", "-f", name)
		}
	}
	os.Exit(code)
}

// engine skips t unless there is a Docker engine, and returns once the image is
// built. CRIER_TEST_DOCKER=required makes an absent engine a failure.
func engine(t testing.TB) {
	t.Helper()
	if _, err := try("version", "--format", "{{.Server.Version}}"); err != nil {
		if os.Getenv("CRIER_TEST_DOCKER") == "required" {
			t.Fatalf("no Docker engine: %v", err)
		}
		t.Skipf("no Docker engine: %v", err)
	}
	if err := built(); err != nil {
		t.Fatal(err)
	}
}

var built = sync.OnceValue(func() error {
	context, err := os.MkdirTemp("", "crier-image")
	if err != nil {
		return err
	}
	defer os.RemoveAll(context)
	if err := compile(filepath.Join(context, "deploy", "bin", "crier"), "amd64", "../cmd/crier"); err != nil {
		return err
	}
	return buildImage(image, "amd64", "Dockerfile", context)
})

// compile builds a static binary for an image, with more flags for the linker.
func compile(to, arch, pkg string, ldflags ...string) error {
	flags := strings.Join(append([]string{"-s", "-w"}, ldflags...), " ")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", flags, "-o", to, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
	return output(cmd)
}

// buildImage builds a Dockerfile's prebuilt target from a context.
func buildImage(name, arch, file, context string, args ...string) error {
	args = append([]string{
		"build", "--quiet", "--platform", "linux/" + arch, "--file", file, "--target", "prebuilt", "--tag", name,
	}, args...)
	_, err := try(append(args, context)...)
	return err
}

// read returns what is in a file.
func read(t testing.TB, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// until returns once reached reports true; if it never does, the test fails with what
// there is instead.
func until(t testing.TB, reached func() bool, instead func() string) {
	t.Helper()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	late := time.After(patience)
	for !reached() {
		select {
		case <-look.C:
		case <-late:
			t.Fatal(instead())
		}
	}
}

// output runs cmd and returns what it said if it failed.
func output(cmd *exec.Cmd) error {
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, text)
	}
	return nil
}

// docker runs a command of Docker's that must work, and returns its output.
func docker(t testing.TB, args ...string) string {
	t.Helper()
	text, err := try(args...)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// try runs a command of Docker's, and returns its output without the last newline.
func try(args ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.Command("docker", args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("docker %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return strings.TrimRight(stdout.String(), "\n"), nil
}
