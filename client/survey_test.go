package client

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"crier.local/api"
)

func TestPlaces(t *testing.T) {
	dir := t.TempDir()
	alive := one("alive", offers(1, 2, api.PriorityNormal))
	alive.announce(t, dir)
	dead(one("dead", offers(1, 2, api.PriorityNormal))).announce(t, dir)
	if err := os.WriteFile(filepath.Join(dir, "bad"+api.AnnouncementSuffix), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	places := Places([]string{filepath.Join(dir, "none"), dir})
	if len(places) != 2 {
		t.Fatalf("%d places", len(places))
	}
	if p := places[0]; !errors.Is(p.Err, fs.ErrNotExist) || p.Found != nil {
		t.Errorf("of a directory that is not there: %+v", p)
	}
	p := places[1]
	if p.Err != nil || p.Dir != dir || len(p.Found) != 2 || p.Found[0].Name != "alive" || p.Found[1].Name != "dead" {
		t.Errorf("found %+v", p)
	}
	if p.Found[0].Live {
		t.Error("it has connected")
	}
	if len(p.Unusable) != 1 || !strings.Contains(p.Unusable[0].Error(), "bad"+api.AnnouncementSuffix) {
		t.Errorf("unusable: %v", p.Unusable)
	}
}

// The directories that everybody uses are trusted by the same rule as in discovery.
func TestPlacesUntrusted(t *testing.T) {
	everybodys := t.TempDir()
	if err := os.Chmod(everybodys, 0o777); err != nil {
		t.Fatal(err)
	}
	t.Setenv("XDG_RUNTIME_DIR", everybodys)
	t.Setenv(api.EnvRunDir, "")
	dir := filepath.Join(everybodys, "crier")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if p := Places(nil)[0]; p.Dir != dir || !errors.Is(p.Err, ErrUntrusted) {
		t.Errorf("%+v, want %v", p, ErrUntrusted)
	}
	if p := Places([]string{dir})[0]; p.Err != nil {
		t.Errorf("named by somebody: %v", p.Err)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if p := Places(nil)[0]; p.Err != nil {
		t.Errorf("this user's own: %v", p.Err)
	}
}

func TestFindIsWhatDialFinds(t *testing.T) {
	dir := t.TempDir()
	normal, preferred := one("normal", offers(1, 2, api.PriorityNormal)), one("preferred", offers(1, 2, api.PriorityPreferred))
	normal.announce(t, dir)
	want := preferred.announce(t, dir)
	o := Options{RunDirs: []string{dir}, Find: wanted.Restrict(), Wait: -1}
	if e, err := Find(t.Context(), o); e != want || err != nil {
		t.Errorf("%v, %v, want %v", e, err, want)
	}
	o.RunDirs = []string{filepath.Join(dir, "none")}
	if _, err := Find(t.Context(), o); !errors.Is(err, api.ErrNoProvider) {
		t.Errorf("%v, want %v", err, api.ErrNoProvider)
	}
}
