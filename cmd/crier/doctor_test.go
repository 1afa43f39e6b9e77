package main

import (
	"slices"
	"strings"
	"testing"
)

func TestWrap(t *testing.T) {
	for _, c := range []struct {
		text  string
		width int
		want  []string
	}{
		{"", 10, []string{""}},
		{"as long as it likes", 0, []string{"as long as it likes"}},
		{"broken between words", 10, []string{"broken", "between", "words"}},
		{"ten letter s", 10, []string{"ten letter", "s"}},
		{"a unix:///long/path b", 8, []string{"a", "unix:///long/path", "b"}},
		{"größe in runes", 8, []string{"größe in", "runes"}},
	} {
		if got := wrap(c.text, c.width); !slices.Equal(got, c.want) {
			t.Errorf("wrap(%q, %d) = %q, want %q", c.text, c.width, got, c.want)
		}
	}
}

func TestSheetStyle(t *testing.T) {
	f := finding{Check: "lock", Status: statusFail, Found: "\x1b[2Jsomebody else holds it", Fix: "end the other one"}
	want := strings.Join([]string{
		"FAIL  lock         \\x1b[2Jsomebody else",
		"                   holds it",
		"                   fix: end the other one",
		"",
	}, "\n")
	if got := (sheetStyle{width: 44}).text(f); string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := (sheetStyle{colour: true}).text(f); !strings.HasPrefix(string(got), "\x1b[1;31mFAIL\x1b[0m  lock") {
		t.Errorf("got %q", got)
	}
}

func TestEditDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"", "", 0},
		{"abc", "abc", 0},
		{"abc", "", 3},
		{"CRIER_WIAT", "CRIER_WAIT", 2},
		{"CRIER_ROMM", "CRIER_ROOM", 1},
		{"kitten", "sitting", 3},
	} {
		if got := editDistance(c.a, c.b); got != c.want {
			t.Errorf("from %q to %q: %d, want %d", c.a, c.b, got, c.want)
		}
	}
}

func TestByteText(t *testing.T) {
	for n, want := range map[uint64]string{
		0: "0 bytes", 1: "1 byte", 1023: "1023 bytes", 1024: "1.0 KiB", 64 << 20: "64 MiB", 3 << 40: "3.0 TiB", 5 << 50: "5120 TiB",
	} {
		if got := byteText(n); got != want {
			t.Errorf("byteText(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestBarrier(t *testing.T) {
	dir := t.TempDir()
	if got := barrier(dir); got != dir {
		t.Errorf("%s does not bar %s", got, dir)
	}
	for _, path := range []string{dir + "/none", dir + "/none/below"} {
		if got := barrier(path); got != dir+"/none" {
			t.Errorf("barrier(%q) = %q", path, got)
		}
	}
}

func TestShellWord(t *testing.T) {
	for text, want := range map[string]string{
		"/run/crier": "/run/crier", "a b": "'a b'", "it's": `'it'\''s'`, "a;b": "'a;b'",
	} {
		if got := shellWord(text); got != want {
			t.Errorf("shellWord(%q) = %s, want %s", text, got, want)
		}
	}
}

// Help names every check, and no other.
func TestDoctorHelp(t *testing.T) {
	var named []string
	for line := range strings.Lines(doctorHelp) {
		if f := strings.Fields(line); strings.HasPrefix(line, "  ") && len(f) > 1 {
			named = append(named, f[0])
		}
	}
	if want := checks(); !slices.Equal(named, want) {
		t.Errorf("help names %q, want %q", named, want)
	}
}

// checks are those that help names.
func checks() []string {
	return []string{
		checkEnvironment, checkIdentity, checkDirectory, checkVolume, checkSocket, checkLock, checkStart, checkChoice, checkTLS,
		checkAdmission, checkVersion, checkAnswer, checkClock, checkKernel, checkDescriptors, checkMemory, checkTasks,
	}
}
