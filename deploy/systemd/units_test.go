package systemd

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// maxExposure is what `systemd-analyze security` may say of the service at most.
const maxExposure = 2.0

// analyze runs systemd-analyze, or skips the test where there is none.
func analyze(t *testing.T, args ...string) (stdout, stderr string) {
	t.Helper()
	path, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("there is no systemd-analyze (Debian's package systemd has it)")
	}
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), "SYSTEMD_COLORS=0", "SYSTEMD_PAGER=", "SYSTEMD_EMOJI=0")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Errorf("systemd-analyze %s: %v\n%s", strings.Join(args, " "), err, &errs)
	}
	return out.String(), errs.String()
}

var overall = regexp.MustCompile(`Overall exposure level for crier\.service: ([0-9.]+)`)

// checkExposure fails the test if a table of `systemd-analyze security` says too much.
func checkExposure(t *testing.T, table string) {
	t.Helper()
	found := overall.FindStringSubmatch(table)
	if found == nil {
		t.Fatalf("no exposure is told:\n%s", table)
	}
	exposure, err := strconv.ParseFloat(found[1], 64)
	if err != nil || exposure > maxExposure {
		t.Errorf("exposure %s, error %v, want at most %v:\n%s", found[1], err, maxExposure, table)
	}
	t.Logf("exposure %s", found[1])
}

func TestSecurity(t *testing.T) {
	table, _ := analyze(t, "security", "--offline=true", "crier.service")
	checkExposure(t, table)
}

// TestVerify has systemd read the units. The program need not be installed for that:
// any other is in its place.
func TestVerify(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, name := range []string{"crier.socket", "crier.service"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		text = bytes.ReplaceAll(text, []byte("/usr/local/bin/crier"), []byte(self))
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	out, errs := analyze(t, "verify", "--recursive-errors=yes", "--man=no", filepath.Join(dir, "crier.socket"), filepath.Join(dir, "crier.service"))
	for line := range strings.Lines(out + errs) {
		if strings.Contains(line, "crier.") { // not the machine's own units
			t.Errorf("systemd-analyze verify: %s", line)
		}
	}
}
