package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"crier.local/api"
)

// announced is a provider of the test's: an announcement, and somebody who
// listens unless it is dead.
type announced struct {
	name     string
	version  api.Version
	tags     []string
	services []api.AnnouncedService
	dead     bool
	// addresses are what it tells, if not where it listens.
	addresses []string
}

var wanted = api.Selector{UUID: "test/discovery", Major: 1, Minor: 2}

func offers(major, minor uint32, priority api.Priority, tags ...string) api.AnnouncedService {
	return api.AnnouncedService{UUID: wanted.UUID, Major: major, Minor: minor, Priority: priority, Tags: tags}
}

// announce puts a into dir and returns its address.
func (a announced) announce(t testing.TB, dir string) api.Endpoint {
	t.Helper()
	path := filepath.Join(dir, a.name+".sock")
	if !a.dead {
		listen(t, path, func(net.Conn) {})
	}
	if a.addresses == nil {
		a.addresses = []string{"unix://" + filepath.Base(path)}
	}
	text, err := json.Marshal(api.Announcement{
		Name: a.name, Version: a.version, Tags: a.tags, Epoch: "epoch of " + a.name + dir,
		Addresses: a.addresses, Services: a.services,
	})
	if err != nil {
		t.Fatal(err)
	}
	// As providers do: nobody may read half.
	hidden := filepath.Join(dir, "."+a.name)
	if err := os.WriteFile(hidden, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(hidden, path+api.AnnouncementSuffix); err != nil {
		t.Fatal(err)
	}
	return api.UnixEndpoint(path)
}

// one is a provider of one service.
func one(name string, s api.AnnouncedService, tags ...string) announced {
	return announced{name: name, version: api.Version{Major: 1, Minor: 2, Patch: 3}, tags: tags, services: []api.AnnouncedService{s}}
}

func dead(a announced) announced {
	a.dead = true
	return a
}

func TestDiscovery(t *testing.T) {
	const low, normal, high = api.PriorityUnpreferred, api.PriorityNormal, api.PriorityPreferred
	other := api.AnnouncedService{UUID: "test/other", Major: 1, Minor: 2, Priority: high}
	tests := []struct {
		name      string
		providers []announced
		restrict  func(*api.Restricted)
		found     string // the provider's name, or
		err       error
		says      string
	}{
		{name: "nobody", err: api.ErrNoProvider, says: "crier serve"},
		{name: "one", providers: []announced{one("a", offers(1, 2, normal))}, found: "a"},
		{name: "newer minor", providers: []announced{one("a", offers(1, 7, normal))}, found: "a"},
		{name: "another service", providers: []announced{one("a", other)}, err: api.ErrNoProvider},
		{name: "dead", providers: []announced{dead(one("a", offers(1, 2, normal)))}, err: api.ErrNoProvider, says: "service:a@1.2.3"},
		{name: "dead and living", providers: []announced{dead(one("a", offers(1, 2, high))), one("b", offers(1, 2, low))}, found: "b"},
		{name: "older minor", providers: []announced{one("a", offers(1, 1, normal))}, err: api.ErrVersion,
			says: "service:a@1.2.3 does not provide service:test/discovery@1.2.x, but @1.1"},
		{name: "another major", providers: []announced{one("a", offers(2, 0, normal))}, err: api.ErrVersion,
			says: "service:a@1.2.3 does not provide service:test/discovery@1.x, but @2.0"},
		{name: "dead of another version", providers: []announced{dead(one("a", offers(2, 0, normal)))}, err: api.ErrNoProvider},
		{name: "version before priority", providers: []announced{one("a", offers(1, 1, high)), one("b", offers(1, 2, low))}, found: "b"},
		{name: "priority", providers: []announced{one("a", offers(1, 2, normal)), one("b", offers(1, 2, high)), one("c", offers(1, 2, low))}, found: "b"},
		{name: "priority between the named ones", providers: []announced{one("a", offers(1, 2, normal)), one("b", offers(1, 2, normal+1))}, found: "b"},
		{name: "equal priority", providers: []announced{one("a", offers(1, 2, normal)), one("b", offers(1, 3, normal)), one("c", offers(1, 2, low))},
			err: api.ErrAmbiguous, says: "service:a@1.2.3 at"},
		{name: "several majors of one", providers: []announced{{name: "a", services: []api.AnnouncedService{offers(2, 0, high), offers(1, 2, normal)}}}, found: "a"},
		{name: "one service twice", providers: []announced{{name: "a", services: []api.AnnouncedService{offers(1, 3, normal), offers(1, 2, normal)}}}, found: "a"},
		{name: "restriction before priority", providers: []announced{one("a", offers(1, 2, normal)), one("b", offers(1, 2, high))},
			restrict: func(r *api.Restricted) { r.AllowName("a", api.Any, api.Any) }, found: "a"},
		{name: "restriction before version", providers: []announced{one("a", offers(1, 1, normal)), one("b", offers(1, 2, high))},
			restrict: func(r *api.Restricted) { r.AllowName("a", api.Any, api.Any) }, err: api.ErrVersion},
		{name: "denied", providers: []announced{one("a", offers(1, 2, high)), one("b", offers(1, 2, low))},
			restrict: func(r *api.Restricted) { r.DenyName("a", 1, 2) }, found: "b"},
		{name: "all denied", providers: []announced{one("a", offers(1, 2, high))},
			restrict: func(r *api.Restricted) { r.DenyName("a", 1, api.Any) }, err: api.ErrNoProvider},
		{name: "tag of the provider", providers: []announced{one("a", offers(1, 2, high)), one("b", offers(1, 2, low), "x")},
			restrict: func(r *api.Restricted) { r.AllowTags("x") }, found: "b"},
		{name: "tag of the service", providers: []announced{one("a", offers(1, 2, high)), one("b", offers(1, 2, low, "x"))},
			restrict: func(r *api.Restricted) { r.AllowTags("x") }, found: "b"},
		{name: "tag of another service of it", providers: []announced{{name: "a", services: []api.AnnouncedService{
			{UUID: "test/other", Major: 1, Tags: []string{"x"}}, offers(1, 2, normal)}}},
			restrict: func(r *api.Restricted) { r.AllowTags("x") }, err: api.ErrNoProvider},
		{name: "contradiction", providers: []announced{one("a", offers(1, 2, high))},
			restrict: func(r *api.Restricted) { r.AllowTags("x").DenyTags("x") }, says: "cannot allow and deny the same tag"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv(api.EnvAddress, "")
			dir := t.TempDir()
			addresses := map[string]api.Endpoint{}
			for _, a := range test.providers {
				addresses[a.name] = a.announce(t, dir)
			}
			restricted := wanted.Restrict()
			if test.restrict != nil {
				test.restrict(restricted)
			}
			got, err := find(within(t, 10*time.Second), Options{RunDirs: []string{dir}, Find: restricted, Wait: -1})
			if got != addresses[test.found] {
				t.Errorf("found %s, want %s", got, addresses[test.found])
			}
			if test.err != nil {
				wantErr(t, err, test.err)
			}
			if test.found != "" && err != nil || test.found == "" && err == nil || !strings.Contains(fmt.Sprint(err), test.says) {
				t.Errorf("error %v, want %q in it", err, test.says)
			}
			if errors.Is(err, api.ErrNoProvider) && !strings.Contains(err.Error(), dir) {
				t.Errorf("error %q does not say where it looked", err)
			}
		})
	}
}

// TestDiscoveryWaits: the first acceptable provider to appear is taken; one of
// another version is not waited for.
func TestDiscoveryWaits(t *testing.T) {
	t.Setenv(api.EnvAddress, "")
	dir := filepath.Join(t.TempDir(), "run")
	o := Options{RunDirs: []string{dir}, Find: wanted.Restrict(), Wait: 10 * time.Second}
	found := begin(func() (api.Endpoint, error) { return find(context.Background(), o) })
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	want := one("late", offers(1, 2, api.PriorityNormal)).announce(t, dir)
	if got := must(t, <-found); got != want {
		t.Errorf("found %s, want %s", got, want)
	}

	other := t.TempDir()
	one("old", offers(1, 0, api.PriorityNormal)).announce(t, other)
	_, err := find(within(t, 5*time.Second), Options{RunDirs: []string{other}, Find: wanted.Restrict(), Wait: time.Hour})
	wantErr(t, err, api.ErrVersion)

	ctx, cancel := context.WithCancelCause(context.Background())
	o.RunDirs = []string{t.TempDir()}
	waiting := begin(func() (api.Endpoint, error) { return find(ctx, o) })
	tired := errors.New("tired of waiting")
	cancel(tired)
	wantErr(t, (<-waiting).err, tired)
}

func TestFindAsGiven(t *testing.T) {
	dir := t.TempDir()
	discovered := one("discovered", offers(1, 2, api.PriorityNormal)).announce(t, dir)
	byEnv := one("by-env", offers(1, 2, api.PriorityNormal)).announce(t, t.TempDir())
	given := one("given", offers(1, 2, api.PriorityNormal)).announce(t, t.TempDir())
	tests := []struct {
		name string
		o    Options
		env  string
		want api.Endpoint
		says string
	}{
		{"address before all", Options{Address: given, RunDirs: []string{dir}}, byEnv.String(), given, ""},
		{"environment before discovery", Options{RunDirs: []string{dir}}, byEnv.String(), byEnv, ""},
		{"discovery", Options{RunDirs: []string{dir}}, "", discovered, ""},
		{"malformed environment", Options{}, "here", api.Endpoint{}, "CRIER_ADDRESS"},
		{"malformed address", Options{Address: api.UnixEndpoint("here")}, "", api.Endpoint{}, "must be absolute"},
		{"nobody at the address", Options{Address: api.UnixEndpoint(filepath.Join(dir, "x"))}, "", api.Endpoint{}, "nobody listens on unix://" + dir},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv(api.EnvAddress, test.env)
			test.o.Find, test.o.Wait = wanted.Restrict(), -1
			got, err := find(within(t, 10*time.Second), test.o)
			if got != test.want || (test.says == "") != (err == nil) || !strings.Contains(fmt.Sprint(err), test.says) {
				t.Errorf("found %s, error %v, want %s, %q", got, err, test.want, test.says)
			}
		})
	}
	t.Run("directory of the environment", func(t *testing.T) {
		t.Setenv(api.EnvAddress, "")
		t.Setenv(api.EnvRunDir, dir)
		if got, err := find(within(t, 10*time.Second), Options{Find: wanted.Restrict(), Wait: -1}); got != discovered {
			t.Errorf("found %s, error %v, want %s", got, err, discovered)
		}
	})
	t.Run("address that comes to life", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "late.sock")
		found := begin(func() (api.Endpoint, error) {
			return find(context.Background(), Options{Address: api.UnixEndpoint(path), Wait: 10 * time.Second})
		})
		listen(t, path, func(net.Conn) {})
		must(t, <-found)
	})
}

// TestMalformedAnnouncements: whatever else lies in a run directory is passed
// over, and told of once.
func TestMalformedAnnouncements(t *testing.T) {
	t.Setenv(api.EnvAddress, "")
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name+api.AnnouncementSuffix), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("empty", "")
	write("garbage", "\x00\x01")
	write("truncated", `{"name":"x","addresses":["unix://x"]`)
	write("huge", `{"name":"`+strings.Repeat("x", maxAnnouncement)+`"}`)
	write("homeless", `{"name":"x"}`)
	write("lost", `{"name":"x","addresses":["pigeon://roof"]}`)
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"+api.AnnouncementSuffix), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "dir"+api.AnnouncementSuffix), 0o700); err != nil {
		t.Fatal(err)
	}
	want := one("good", offers(1, 2, api.PriorityNormal)).announce(t, dir)
	var log strings.Builder
	s := newScan([]string{dir}, hclog.New(&hclog.LoggerOptions{Output: &log}))
	for range 2 {
		if got, err := s.choose(within(t, 10*time.Second), wanted.Restrict()); got != want {
			t.Errorf("found %s, error %v, want %s", got, err, want)
		}
	}
	if n := strings.Count(log.String(), "ignoring an announcement"); n != 8 {
		t.Errorf("%d lines are logged, want one for each of 8 files:\n%s", n, &log)
	}
}

// TestRunDirectoriesThatEverybodyCanMake: the one in $TMPDIR counts only if it
// is this user's own.
func TestRunDirectoriesThatEverybodyCanMake(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a directory to another user")
	}
	tmp := t.TempDir()
	if err := os.Chmod(tmp, 0o777); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", tmp)
	t.Setenv("XDG_RUNTIME_DIR", "")
	t.Setenv(api.EnvAddress, "")
	t.Setenv(api.EnvRunDir, "")
	dir := filepath.Join(tmp, fmt.Sprintf("crier-%d", os.Getuid()))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	one("a", offers(1, 2, api.PriorityNormal)).announce(t, dir)
	o := Options{Find: wanted.Restrict(), Wait: -1}
	search := func() error {
		_, err := find(within(t, 10*time.Second), o)
		return err
	}
	if err := search(); err != nil {
		t.Errorf("one's own: %v", err)
	}
	for what, change := range map[string]func() error{
		"another's":       func() error { return errors.Join(os.Chown(dir, 1000, -1), os.Chmod(dir, 0o700)) },
		"open to a group": func() error { return errors.Join(os.Chown(dir, 0, -1), os.Chmod(dir, 0o770)) },
	} {
		if err := change(); err != nil {
			t.Fatal(err)
		}
		if err := search(); !errors.Is(err, api.ErrNoProvider) || !strings.Contains(err.Error(), "not this user's own") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestSilentHosts: the time that dead addresses of other hosts take does not add up,
// and keeps nobody from the provider beside them.
func TestSilentHosts(t *testing.T) {
	t.Setenv(api.EnvAddress, "")
	dir := t.TempDir()
	address := "tcp://" + silentPort(t)
	const hosts = 40
	for i := range hosts {
		a := dead(one(fmt.Sprintf("a%d", i), offers(1, 2, api.PriorityPreferred)))
		a.addresses = []string{address}
		a.announce(t, dir)
	}
	want := one("b", offers(1, 2, api.PriorityNormal)).announce(t, dir)
	ctx := within(t, hosts*probeTime/4)
	if got := must(t, <-begin(func() (api.Endpoint, error) {
		return find(ctx, Options{RunDirs: []string{dir}, Find: wanted.Restrict(), Wait: -1})
	})); got != want {
		t.Errorf("found %s, want %s", got, want)
	}
	found, err := Providers(ctx, []string{dir})
	if err != nil || len(found) != hosts+1 || found[0].Live || !found[hosts].Live {
		t.Errorf("%d providers, error %v", len(found), err)
	}
}

// silentPort returns the address of a TCP port that answers nobody: the kernel drops
// those who come when nobody accepts.
func silentPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	raw, err := l.(*net.TCPListener).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var listenErr error
	if err := raw.Control(func(fd uintptr) { listenErr = syscall.Listen(int(fd), 0) }); err != nil || listenErr != nil {
		t.Fatal(err, listenErr)
	}
	for {
		conn, err := net.DialTimeout("tcp", l.Addr().String(), probeTime)
		if err != nil {
			return l.Addr().String()
		}
		t.Cleanup(func() { conn.Close() })
	}
}

func TestProviders(t *testing.T) {
	first, second := t.TempDir(), t.TempDir()
	one("b", offers(1, 2, api.PriorityNormal), "x").announce(t, first)
	dead(one("c", offers(1, 2, api.PriorityNormal))).announce(t, first)
	address := one("a", offers(3, 1, api.PriorityPreferred)).announce(t, second)
	found, err := Providers(within(t, 10*time.Second), []string{first, "/nowhere", second, second})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range found {
		got = append(got, fmt.Sprint(f.String(), " ", f.Live))
	}
	if want := "service:a@1.2.3 true service:b@1.2.3 true service:c@1.2.3 false"; strings.Join(got, " ") != want {
		t.Errorf("providers %v, want %s", got, want)
	}
	if a := found[0]; a.Address != address || a.Services[0].Selector().Major != 3 || !strings.HasPrefix(a.File, second) {
		t.Errorf("the first is %+v", a)
	}
	file := filepath.Join(first, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	found, err = Providers(within(t, 10*time.Second), []string{file, second})
	if err == nil || !strings.Contains(err.Error(), file) || len(found) != 1 {
		t.Errorf("%d providers, error %v, want one, and the directory that is none", len(found), err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Providers(ctx, []string{first}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}
