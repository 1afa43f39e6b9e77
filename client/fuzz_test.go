package client

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"crier.local/api"
)

// FuzzAnnouncement: whatever lies in a run directory, reading it is an error, or
// it is an announcement with an address that can be used; and that one, written
// again, is read as the same.
func FuzzAnnouncement(f *testing.F) {
	for _, text := range []string{
		"", "{}", "[]", "null", `{"addresses":["unix://crier.sock"]}`, `{"addresses":["unix:///run/crier.sock","tcp://h:1"]}`,
		`{"name":"town","version":{"Major":1,"Minor":2,"Patch":3},"epoch":"00","tags":["x"],"addresses":["unix://a/../b"],` +
			`"services":[{"uuid":"u","major":1,"minor":2,"priority":128,"tags":["y"]}]} trailing`,
		`{"addresses":["unix://` + strings.Repeat("x", 200) + `"]}`, `{"addresses":["tcp://a"]}`, `{"addresses":["unix://\u0000"]}`,
		`{"services":[{"major":-1}],"addresses":["unix://s"]}`, `{"services":[{"major":4294967296}]}`, `{"name":"\ud800","addresses":["unix://s"]}`,
		`{"addresses":"unix://s"}`, `{"name":"\u202e\u001b[31m","addresses":["unix://s"]}`, strings.Repeat("[", 20_000),
		`{"NAME":"a","name":"b","addresses":["unix://../../etc/s"]}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		dir := t.TempDir()
		found, err := readText(t, filepath.Join(dir, "first"), text)
		if err != nil {
			return
		}
		if err := found.Address.Validate(); err != nil {
			t.Errorf("the address of %+v: %v", found, err)
		}
		again, err := json.Marshal(found.Announcement)
		if err != nil {
			t.Fatal(err)
		}
		second, err := readText(t, filepath.Join(dir, "second"), again)
		if err != nil {
			t.Fatalf("%s is refused: %v", again, err)
		}
		found.File, second.File = "", ""
		if !sameFound(found, second) {
			t.Errorf("%+v is read again as %+v", found, second)
		}
	})
}

// sameFound compares what was found; no list is an empty list.
func sameFound(a, b Found) bool {
	for _, f := range []*Found{&a, &b} {
		f.Tags = append([]string{}, f.Tags...)
		for i := range f.Services {
			f.Services[i].Tags = append([]string{}, f.Services[i].Tags...)
		}
		f.Services = append([]api.AnnouncedService{}, f.Services...)
	}
	return reflect.DeepEqual(a, b)
}

func readText(t *testing.T, path string, text []byte) (Found, error) {
	t.Helper()
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return readAnnouncement(path)
}
