package provider

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"crier.local/api"
	"crier.local/client"
)

func readAnnouncement(t *testing.T, path string) api.Announcement {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var a api.Announcement
	if err := json.Unmarshal(text, &a); err != nil {
		t.Fatal(err)
	}
	return a
}

func TestAnnouncement(t *testing.T) {
	first, second := t.TempDir(), t.TempDir()
	p := New(Options{Name: "town", Version: api.Version{Major: 1, Minor: 2, Patch: 3}, Tags: []string{"x"}})
	defer p.Close()
	service := api.Selector{UUID: "test/announced", Major: 2, Minor: 1}
	if err := p.Provide(service, newWitness(), ServiceOptions{Priority: api.PriorityPreferred, Tags: []string{"y"}}); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Join(first, "a.sock"), filepath.Join(first, "b.sock"), filepath.Join(second, "c.sock")} {
		if _, err := p.Listen(api.UnixEndpoint(path)); err != nil {
			t.Fatal(err)
		}
	}
	want := api.Announcement{
		Name: "town", Version: api.Version{Major: 1, Minor: 2, Patch: 3}, Epoch: p.Epoch().String(), Tags: []string{"x"},
		Addresses: []string{"unix://a.sock", "unix://b.sock", "unix://" + filepath.Join(second, "c.sock")},
		Services:  []api.AnnouncedService{{UUID: service.UUID, Major: 2, Minor: 1, Priority: api.PriorityPreferred, Tags: []string{"y"}}},
	}
	if got := readAnnouncement(t, filepath.Join(first, "a.sock.crier.json")); !reflect.DeepEqual(got, want) {
		t.Errorf("announced %+v, want %+v", got, want)
	}
	found, err := client.Providers(within(t), []string{first, second})
	if err != nil || len(found) != 1 || !found[0].Live {
		t.Errorf("discovery shows %+v, error %v, want the one provider", found, err)
	}
	p.Close()
	for dir, want := range map[string][]string{first: {"a.sock.lock", "b.sock.lock"}, second: {"c.sock.lock"}} {
		if got := names(t, dir); !slices.Equal(got, want) {
			t.Errorf("left behind: %v, want %v", got, want)
		}
	}
}

func TestAnnouncedProviderIsFound(t *testing.T) {
	t.Setenv(api.EnvAddress, "")
	_, w, e := listening(t, Options{})
	c, err := client.Dial(within(t), client.Options{RunDirs: []string{filepath.Dir(e.Address)}, Find: witnessSelector.Restrict()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Open(within(t), witnessSelector); err != nil {
		t.Fatal(err)
	}
	receive(t, "the session", w.opened)
	if got := c.Provider().Address; got != e {
		t.Errorf("attached to %s, want %s", got, e)
	}
}

// TestStartSweeps: a provider that starts removes what others of its user left
// behind, and nothing else.
func TestStartSweeps(t *testing.T) {
	dir := t.TempDir()
	write := func(socket string) {
		path := filepath.Join(dir, socket+api.AnnouncementSuffix)
		if err := os.WriteFile(path, []byte("{}"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("dead.sock")
	write("abandoned.sock")
	os.WriteFile(filepath.Join(dir, "abandoned.sock.lock"), nil, 0o600)
	write("foreign.sock")
	if os.Geteuid() == 0 {
		os.Chown(filepath.Join(dir, "foreign.sock.crier.json"), 1000, -1)
	}
	write("stranger.sock")
	stranger, err := net.Listen("unix", filepath.Join(dir, "stranger.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	other := New(Options{})
	defer other.Close()
	if _, err := other.Listen(api.UnixEndpoint(filepath.Join(dir, "other.sock"))); err != nil {
		t.Fatal(err)
	}
	listeningIn(t, dir, Options{})
	var got []string
	for _, name := range names(t, dir) {
		if strings.HasSuffix(name, api.AnnouncementSuffix) {
			got = append(got, strings.TrimSuffix(name, api.AnnouncementSuffix))
		}
	}
	want := []string{"crier.sock", "foreign.sock", "other.sock", "stranger.sock"}
	if os.Geteuid() != 0 {
		want = slices.DeleteFunc(want, func(name string) bool { return name == "foreign.sock" })
	}
	if !slices.Equal(got, want) {
		t.Errorf("announced are %v, want %v", got, want)
	}
}

// TestKilledProviderIsReplaced: what a provider that was killed leaves behind
// keeps nobody from taking its place.
func TestKilledProviderIsReplaced(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	e := api.UnixEndpoint(filepath.Join(dir, "crier.sock"))
	a := play(t, "listen", "UMASK=022", api.EnvAddress+"="+e.String())
	a.expect("listening")
	a.kill()
	a.cmd.Wait()
	if _, err := client.Dial(within(t), client.Options{Address: e, Wait: -1}); !errors.Is(err, api.ErrNoProvider) {
		t.Errorf("error %v, want %v", err, api.ErrNoProvider)
	}
	found, err := client.Providers(context.Background(), []string{dir})
	if err != nil || len(found) != 1 || found[0].Live {
		t.Errorf("discovery shows %+v, error %v, want one dead provider", found, err)
	}
	listeningIn(t, dir, Options{})
	dial(t, e)
}

func TestDefaultEndpoint(t *testing.T) {
	tmp, run := t.TempDir(), t.TempDir()
	if err := os.Chmod(tmp, 0o1777); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", tmp)
	tests := []struct {
		name, provider, dir, xdg string
		want                     string // of the address, or of the error
	}{
		{"given", "town", run, "", "unix://" + run + "/town.sock"},
		{"user's runtime directory", "crier", "", run, "unix://" + run + "/crier/crier.sock"},
		{"name is a path", "../town", run, "", "has a slash"},
		{"no name", "", run, "", "is empty"},
		{"name has a control", "a\nb", run, "", "control or format character"},
		{"name has a space in front", " a", run, "", "starts or ends with a space"},
		{"name is too long", strings.Repeat("x", 65), run, "", "too long"},
		{"too long", "town", "/" + strings.Repeat("x", 100), "", "bytes"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv("XDG_RUNTIME_DIR", test.xdg)
			e, err := DefaultEndpoint(test.provider, test.dir)
			if e.String() != test.want && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("endpoint %s, error %v, want %s", e, err, test.want)
			}
		})
	}
}

func TestChooseRunDir(t *testing.T) {
	tmp, file := t.TempDir(), filepath.Join(t.TempDir(), "file")
	if err := errors.Join(os.Chmod(tmp, 0o1777), os.WriteFile(file, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	open := filepath.Join(tmp, "open")
	if err := errors.Join(os.Mkdir(open, 0o700), os.Chmod(open, 0o770)); err != nil {
		t.Fatal(err)
	}
	made := filepath.Join(tmp, "made")
	if got, err := chooseRunDir([]string{file, open, made}); got != made || err != nil {
		t.Errorf("chose %s, error %v, want %s", got, err, made)
	}
	if _, err := os.Stat(made); err == nil {
		t.Error("the directory is made before it is known for whom")
	}
	_, err := chooseRunDir([]string{file, open})
	if err == nil || !strings.Contains(err.Error(), file) || !strings.Contains(err.Error(), open) {
		t.Errorf("error %v, want one that names every place", err)
	}
}
