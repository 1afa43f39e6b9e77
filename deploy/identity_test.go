package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
)

// TestIdentity has a provider in a container tell who is there: the users as they
// are, and no pids of processes that it does not see.
func TestIdentity(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	provider := s.serve()
	s.run("stranger", options{user: "10003:20000"}, "listen", "--name", "stranger").said.expect("^listening")
	s.run("member", options{user: "10004:30001", flags: []string{"--group-add", "20000"}}, "listen", "--name", "member").said.expect("^listening")
	sibling := s.run("sibling", options{flags: []string{"--pid", "container:" + provider.name}}, "listen", "--name", "sibling")
	sibling.said.expect("^listening")
	seats := s.who()
	for _, want := range []struct {
		name     string
		uid, gid int
		visible  bool
	}{{"stranger", 10003, 20000, false}, {"member", 10004, 30001, false}, {"sibling", clientUID, groupID, true}} {
		i := seats.find(want.name)
		if i < 0 {
			t.Fatalf("%s is not there: %+v", want.name, seats)
		}
		if is := seats[i]; is.UID != want.uid || is.GID != want.gid || (is.PID != 0) != want.visible {
			t.Errorf("%s is told to be %+v, want %+v", want.name, is, want)
		}
	}
	id := docker(t, "inspect", "--format", "{{.Id}}", sibling.name)
	if is := seats[seats.find("sibling")].Container; is != "" && is != id { // none where cgroups have a namespace
		t.Errorf("the sibling is told to be in container %s, want %s", is, id)
	}
	_, text := s.once(options{}, "who")
	t.Logf("the provider is in a container:\n%s", text)
}

// TestIdentityOnHost has the provider on the host: it sees the processes, and which
// containers they are in.
func TestIdentityOnHost(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 || runtime.GOOS != "linux" {
		t.Skip("not root on Linux: no provider for containers can be on the host")
	}
	s := newScene(t)
	dir := s.hostProvider()
	mounted := options{sealed: true, flags: []string{"--volume", dir + ":" + runDirectory}}
	listener := s.run("listener", mounted, "listen", "--name", "listener")
	listener.said.expect("^listening")
	process := listener.state().Pid
	if watchEnd(process) == nil {
		t.Skip("the engine is not on this host")
	}
	code, text := s.once(mounted, "who", "--json")
	seats := parseSeats(t, text)
	if i := seats.find("listener"); code != 0 || i < 0 || seats[i].PID != process || seats[i].UID != clientUID {
		t.Errorf("the listener is told to be %s want pid %d", text, process)
	} else if id := docker(t, "inspect", "--format", "{{.Id}}", listener.name); seats[i].Container != id {
		t.Errorf("the listener is told to be in container %q, want %s", seats[i].Container, id)
	}
	_, text = s.once(mounted, "who")
	t.Logf("the provider is on the host:\n%s", text)
}

// hostProvider starts a provider on the host, and returns the directory of its
// socket when it listens.
func (s *scene) hostProvider() (dir string) {
	s.t.Helper()
	top := s.t.TempDir()
	dir, crier := filepath.Join(top, "run"), filepath.Join(top, "crier")
	if err := compile(crier, runtime.GOARCH, "../cmd/crier"); err != nil {
		s.t.Fatal(err)
	}
	cmd := exec.Command(crier, "serve", "--run-dir", dir, "--allow-gid", "20000")
	provider := &container{s: s, name: "provider on the host"}
	provider.read(cmd)
	provider.said.expect("^listening on ")
	return dir
}
