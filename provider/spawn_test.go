package provider

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"

	"crier.local/api"
	"crier.local/client"
)

// noise is the service of the provider that tests spawn.
type noise struct{ log hclog.Logger }

var noiseSelector = api.Selector{UUID: "test/noise", Major: 1, Minor: 0}

const (
	methodPrint api.Method = iota // that many bytes, on standard output
	methodLog                     // a line with that number
	methodPid                     // returns the provider's
	methodHold                    // returns a resource that is notified once
)

func (n noise) Handle(_ context.Context, c *Call) (Result, error) {
	number, _ := strconv.Atoi(string(c.Args))
	switch c.Method {
	case methodPrint:
		fmt.Print(strings.Repeat("x", number))
	case methodLog:
		n.log.Named("noise").Warn("a line", "number", number, "text", "two words")
	case methodPid:
		return Result{Body: []byte(strconv.Itoa(os.Getpid()))}, nil
	case methodHold:
		r, err := c.Session.NewResource(nil, ResourceOptions{Notifiable: true})
		return Result{Resource: r}, err
	}
	return Result{}, nil
}

// SessionsClosed writes when the host is gone, which would be the end of a
// process that does not mind SIGPIPE.
func (n noise) SessionsClosed([]*Session, api.Reason) {
	n.log.Warn("sessions closed")
	fmt.Println("sessions closed")
}

// playPlugin is a provider that a host starts.
func playPlugin() error {
	log := hclog.New(&hclog.LoggerOptions{Name: "spawned", Level: hclog.Debug, Output: os.Stderr, JSONFormat: true})
	p := New(Options{Name: "spawned", Logger: log})
	if err := p.Provide(noiseSelector, noise{log}, ServiceOptions{}); err != nil {
		return err
	}
	return p.ServePlugin()
}

// playHost spawns a provider, says where it is, and waits to be killed.
func playHost() error {
	s, err := client.Spawn(context.Background(), roleCommand(os.Args[0], "plugin"), nil)
	if err != nil {
		return err
	}
	fmt.Println(s.Address())
	untilEOF()
	return s.Close()
}

// spawn starts a provider that this process owns, whose socket is in dir.
func spawn(t *testing.T, log hclog.Logger, env ...string) *client.Spawned {
	t.Helper()
	s, err := client.Spawn(within(t), roleCommand(os.Args[0], "plugin", env...), log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// guest is a client of a spawned provider.
type guest struct {
	t       *testing.T
	client  *client.Client
	session *client.Session
}

func visit(t *testing.T, e api.Endpoint) guest {
	t.Helper()
	c, err := client.Dial(within(t), client.Options{Address: e})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	s, err := c.Open(within(t), noiseSelector)
	if err != nil {
		t.Fatal(err)
	}
	return guest{t, c, s}
}

// ask calls a method with a number.
func (g guest) ask(m api.Method, number int) string {
	g.t.Helper()
	answer, err := g.session.Invoke(within(g.t), m, []byte(strconv.Itoa(number)))
	if err != nil {
		g.t.Fatal(err)
	}
	return string(answer)
}

// expectGone fails the test unless the provider says that it goes away for good.
func (g guest) expectGone() {
	g.t.Helper()
	if _, err := g.client.Attached(within(g.t), 1); !errors.Is(err, api.ErrGone) {
		g.t.Errorf("the client heard %v, want %v", err, api.ErrGone)
	}
}

func TestSpawn(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	s := spawn(t, nil, api.EnvRunDir+"="+dir)
	if got := filepath.Dir(s.Address().Address); got != dir {
		t.Errorf("the socket is in %s, want %s", got, dir)
	}
	first, second := visit(t, s.Address()), visit(t, s.Address())
	first.client.Close() // which must not end the provider
	second.ask(methodPid, 0)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := s.Wait(within(t)); err != nil {
		t.Errorf("the provider ended badly: %v", err)
	}
	second.expectGone()
	if left := names(t, dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestSpawnSweeps: the socket of a spawned provider that was killed goes with the
// next start.
func TestSpawnSweeps(t *testing.T) {
	dir := t.TempDir()
	left := func(name string, age time.Duration) {
		path := filepath.Join(dir, name)
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		l.SetUnlinkOnClose(false)
		l.Close()
		if err := os.Chtimes(path, time.Time{}, time.Now().Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	left("plugin1", time.Hour)
	left("plugin2", 0)
	left("other3", time.Hour)
	spawn(t, nil, api.EnvRunDir+"="+dir).Close()
	if got, want := names(t, dir), []string{"other3", "plugin2"}; !slices.Equal(got, want) {
		t.Errorf("left: %v, want %v", got, want)
	}
}

func TestSpawnHonoursSocketDir(t *testing.T) {
	dir := t.TempDir()
	s := spawn(t, nil, plugin.EnvUnixSocketDir+"="+dir, api.EnvRunDir+"=/nowhere")
	if got := filepath.Dir(s.Address().Address); got != dir {
		t.Errorf("the socket is in %s, want %s", got, dir)
	}
}

func TestSpawnFailures(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, env := range map[string]string{
		"no directory":  plugin.EnvUnixSocketDir + "=" + filepath.Join(file, "run"),
		"path too long": plugin.EnvUnixSocketDir + "=" + filepath.Join(t.TempDir(), strings.Repeat("x", 100)),
		"AutoMTLS":      "PLUGIN_CLIENT_CERT=x",
		"multiplexed":   "PLUGIN_MULTIPLEX_GRPC=true",
	} {
		t.Run(name, func(t *testing.T) {
			cmd := roleCommand(os.Args[0], "plugin", env)
			_, err := client.Spawn(within(t), cmd, nil)
			if err == nil || strings.Contains(err.Error(), "Unrecognized remote plugin message") {
				t.Fatalf("error %v, want the provider's own words", err)
			}
			if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != 1 {
				t.Errorf("the provider ended with %v, want status 1", cmd.ProcessState)
			}
		})
	}
	t.Run("no such program", func(t *testing.T) {
		if _, err := client.Spawn(within(t), exec.Command("/nowhere"), nil); err == nil {
			t.Error("no error")
		}
	})
	t.Run("says nothing", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		cmd := exec.Command("sleep", "60")
		if _, err := client.Spawn(ctx, cmd, nil); err == nil {
			t.Error("no error")
		}
	})
	t.Run("no host", func(t *testing.T) {
		if err := New(Options{}).ServePlugin(); err == nil || !strings.Contains(err.Error(), api.PluginCookieKey) {
			t.Errorf("error %v", err)
		}
	})
}

// journal is where a host's log goes.
type journal struct {
	mu    sync.Mutex
	text  bytes.Buffer
	lines chan map[string]any
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.text.Write(b)
	for {
		line, err := j.text.ReadBytes('\n')
		if err != nil {
			j.text.Write(line)
			return len(b), nil
		}
		var fields map[string]any
		if json.Unmarshal(line, &fields) == nil {
			j.lines <- fields
		}
	}
}

func TestLogLinesAtTheHost(t *testing.T) {
	j := &journal{lines: make(chan map[string]any, 1000)}
	log := hclog.New(&hclog.LoggerOptions{Name: "host", Level: hclog.Debug, Output: j, JSONFormat: true})
	s := spawn(t, log, api.EnvRunDir+"="+t.TempDir())
	visit(t, s.Address()).ask(methodLog, 42)
	for {
		line := receive(t, "the line", j.lines)
		if line["@message"] != "a line" {
			continue
		}
		want := map[string]any{"@level": "warn", "@module": "spawned.noise", "number": 42.0, "text": "two words"}
		for key, value := range want {
			if line[key] != value {
				t.Errorf("%s is %v, want %v, in %v", key, line[key], value, line)
			}
		}
		return
	}
}

func TestSignals(t *testing.T) {
	dir := t.TempDir()
	cmd := roleCommand(os.Args[0], "plugin", api.EnvRunDir+"="+dir)
	s, err := client.Spawn(within(t), cmd, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	g := visit(t, s.Address())
	for range 3 {
		cmd.Process.Signal(syscall.SIGINT)
		g.ask(methodPid, 0)
	}
	cmd.Process.Signal(syscall.SIGTERM)
	g.expectGone()
	if err := s.Wait(within(t)); err != nil {
		t.Errorf("the provider ended badly: %v", err)
	}
	if left := names(t, dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestHostIsKilled(t *testing.T) {
	adoptOrphans(t)
	dir := t.TempDir()
	host := play(t, "host", api.EnvRunDir+"="+dir)
	e, err := api.ParseEndpoint(host.line())
	if err != nil {
		t.Fatal(err)
	}
	g := visit(t, e)
	pid, err := strconv.Atoi(g.ask(methodPid, 0))
	if err != nil {
		t.Fatal(err)
	}
	host.kill()
	g.expectGone()
	expectExit(t, pid, 0)
	if left := names(t, dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// openDescriptors counts the descriptors that this process has open.
func openDescriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("cannot count descriptors here")
	}
	return len(entries)
}

func TestAttachingLeaksNothing(t *testing.T) {
	s := spawn(t, nil, api.EnvRunDir+"="+t.TempDir())
	visit(t, s.Address()).client.Close()
	before := openDescriptors(t)
	for range 20 {
		visit(t, s.Address()).client.Close()
	}
	if after := openDescriptors(t); after > before {
		t.Errorf("%d descriptors are open, %d before", after, before)
	}
	if !slices.Contains(names(t, filepath.Dir(s.Address().Address)), filepath.Base(s.Address().Address)) {
		t.Error("the socket is gone")
	}
}
