package client

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"crier.local/api"
)

// TestSleeperIsWoken: who listens without an announcement is connected to, once, and
// then has the time that there is to announce itself.
func TestSleeperIsWoken(t *testing.T) {
	t.Setenv(api.EnvAddress, "")
	dir := t.TempDir()
	path := filepath.Join(dir, "a.sock")
	var visits, early atomic.Int64
	rise := make(chan struct{})
	listen(t, path, func(net.Conn) {
		if visits.Add(1) == 1 {
			close(rise)
		}
	})
	found := begin(func() (api.Endpoint, error) {
		return find(context.Background(), Options{RunDirs: []string{dir}, Find: wanted.Restrict(), Wait: time.Minute})
	})
	select {
	case <-rise:
	case <-time.After(time.Minute):
		t.Fatal("nobody came")
	}
	<-time.After(20 * pollInterval) // as long as a service may take to start, and many looks of who waits
	early.Store(visits.Load())
	dead(one("a", offers(1, 2, api.PriorityNormal))).announce(t, dir)
	if got := must(t, <-found); got != api.UnixEndpoint(path) {
		t.Errorf("found %s, want %s", got, path)
	}
	if early.Load() != 1 {
		t.Errorf("connected %d times to who was to be woken, want once", early.Load())
	}
}

// TestSleeperThatStaysSilent is told of.
func TestSleeperThatStaysSilent(t *testing.T) {
	t.Setenv(api.EnvAddress, "")
	dir := t.TempDir()
	path := filepath.Join(dir, "a.sock")
	visited := make(chan struct{}, 100)
	listen(t, path, func(net.Conn) { visited <- struct{}{} })
	for _, wait := range []time.Duration{-1, 20 * pollInterval} {
		_, err := find(within(t, time.Minute), Options{RunDirs: []string{dir}, Find: wanted.Restrict(), Wait: wait})
		wantErr(t, err, api.ErrNoProvider)
		for _, words := range []string{path + " listens but has not announced itself", "why it does not announce itself", api.EnvAddress} {
			if err == nil || !strings.Contains(err.Error(), words) {
				t.Errorf("error %v, want %q in it", err, words)
			}
		}
		select {
		case <-visited:
		case <-time.After(time.Minute):
			t.Fatal("nobody came")
		}
	}
	if n := len(visited); n != 0 {
		t.Errorf("%d visits more than one for each search", n)
	}
}

// TestLateSleeperIsWoken: a file that was left behind is a service's socket once
// somebody listens there again.
func TestLateSleeperIsWoken(t *testing.T) {
	t.Setenv(api.EnvAddress, "")
	dir := t.TempDir()
	path := filepath.Join(dir, "a.sock")
	abandon(t, path)
	found := begin(func() (api.Endpoint, error) {
		return find(within(t, time.Minute), Options{RunDirs: []string{dir}, Find: wanted.Restrict(), Wait: time.Minute})
	})
	<-time.After(10 * pollInterval) // many looks at what is left
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	listen(t, path, func(net.Conn) {
		once.Do(func() { dead(one("a", offers(1, 2, api.PriorityNormal))).announce(t, dir) })
	})
	if got := must(t, <-found); got != api.UnixEndpoint(path) {
		t.Errorf("found %s, want %s", got, path)
	}
}

// TestSecondSocket: a provider announces itself beside its first socket alone, but
// tells there of all it has.
func TestSecondSocket(t *testing.T) {
	t.Setenv(api.EnvAddress, "")
	dir := t.TempDir()
	second := filepath.Join(dir, "b.sock")
	listen(t, second, func(net.Conn) {})
	stranger := one("a", api.AnnouncedService{UUID: "test/other", Major: 1})
	stranger.addresses = []string{"unix://a.sock", "unix://b.sock"}
	stranger.announce(t, dir)
	_, err := find(within(t, time.Minute), Options{RunDirs: []string{dir}, Find: wanted.Restrict(), Wait: -1})
	wantErr(t, err, api.ErrNoProvider)
	if strings.Contains(err.Error(), "has not announced itself") || !strings.Contains(err.Error(), "crier serve") {
		t.Errorf("error %v", err)
	}
	if p := Places([]string{dir})[0]; len(p.Silent) != 0 {
		t.Errorf("said to be silent: %q", p.Silent)
	}
}

// abandon leaves a socket at path on which nobody listens.
func abandon(t *testing.T, path string) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
}

// TestNobodyElseIsWoken: only a search that finds nobody knocks, and only at what can
// be a provider's.
func TestNobodyElseIsWoken(t *testing.T) {
	t.Setenv(api.EnvAddress, "")
	dir := t.TempDir()
	var visits atomic.Int64
	visit := func(net.Conn) { visits.Add(1) }
	search := func() error {
		_, err := find(within(t, time.Minute), Options{RunDirs: []string{dir}, Find: wanted.Restrict(), Wait: -1})
		return err
	}
	listen(t, filepath.Join(dir, "other"), visit)
	listen(t, filepath.Join(dir, "b.sock.old"), visit)
	if err := os.WriteFile(filepath.Join(dir, "file.sock"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	abandon(t, filepath.Join(dir, "gone.sock"))
	datagrams, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "log.sock"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer datagrams.Close()
	stranger := dead(one("stranger", api.AnnouncedService{UUID: "test/other", Major: 1}))
	listen(t, stranger.announce(t, dir).Address, visit)
	if err := search(); !errors.Is(err, api.ErrNoProvider) || strings.Contains(err.Error(), "listens but") || !strings.Contains(err.Error(), "crier serve") {
		t.Errorf("error %v", err)
	}
	one("good", offers(1, 2, api.PriorityNormal)).announce(t, dir)
	listen(t, filepath.Join(dir, "a.sock"), visit)
	if err := search(); err != nil {
		t.Error(err)
	}
	if n := visits.Load(); n != 0 {
		t.Errorf("somebody else was connected to %d times", n)
	}
}
