package api

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestRunDirs(t *testing.T) {
	t.Setenv("TMPDIR", "/var/tmp")
	own := filepath.Join("/var/tmp", fmt.Sprintf("crier-%d", os.Getuid()))
	for runtimeDir, want := range map[string][]string{
		"":               {"/run/crier", own},
		"/run/user/1000": {"/run/user/1000/crier", "/run/crier", own},
		"relative":       {"/run/crier", own},
	} {
		t.Setenv("XDG_RUNTIME_DIR", runtimeDir)
		if got := RunDirs(); !slices.Equal(got, want) {
			t.Errorf("XDG_RUNTIME_DIR=%q: %q, want %q", runtimeDir, got, want)
		}
	}
}

// The file's form is read by clients of other versions and in other languages.
func TestAnnouncementIsPinned(t *testing.T) {
	const text = `{"name":"ping/A","version":{"major":1,"minor":2,"patch":5},"epoch":"00","tags":["yada"],` +
		`"addresses":["unix://ping.sock"],"services":[{"uuid":"ping","major":7,"minor":9,"priority":128,"tags":["A"]}]}`
	want := Announcement{
		Name: "ping/A", Version: Version{1, 2, 5}, Epoch: "00", Tags: []string{"yada"},
		Addresses: []string{"unix://ping.sock"},
		Services:  []AnnouncedService{{UUID: "ping", Major: 7, Minor: 9, Priority: PriorityNormal, Tags: []string{"A"}}},
	}
	got, err := json.Marshal(want)
	if err != nil || string(got) != text {
		t.Errorf("%s, %v\nwant %s", got, err, text)
	}
	if s := want.Services[0].Selector(); s != (Selector{"ping", 7, 9}) {
		t.Errorf("selector %s", s)
	}
}
