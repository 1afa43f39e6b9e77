package provider

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"crier.local/api"
)

// apart puts a process into a pid namespace of its own, as its first.
func apart() []string {
	return []string{"unshare", "--pid", "--fork", "--kill-child", "--mount-proc"}
}

// needPidNamespaces skips the test where none can be made.
func needPidNamespaces(t *testing.T) {
	t.Helper()
	needRoot(t)
	if out, err := exec.Command(apart()[0], append(apart()[1:], "true")...).CombinedOutput(); err != nil {
		t.Skipf("no pid namespace can be made: %v %s", err, out)
	}
}

// TestDeathInAnotherPidNamespace kills a client that is not the first process of its
// pid namespace, and whose child there holds its socket.
func TestDeathInAnotherPidNamespace(t *testing.T) {
	needPidNamespaces(t)
	if !hasPeerPidfd(t) {
		t.Skip("this kernel has no SO_PEERPIDFD")
	}
	for _, test := range []struct {
		name             string
		provider, client []string
		seen             bool // its pid, by the provider
	}{
		{"below the provider's", nil, apart(), true},
		{"beside the provider's", apart(), apart(), false},
		{"above the provider's", apart(), nil, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			address := api.EnvAddress + "=" + api.UnixEndpoint(filepath.Join(t.TempDir(), "crier.sock")).String()
			teller := playIn(t, os.Args[0], 0, []uint32{0}, test.provider, "teller", address)
			teller.expect("listening")
			warden := playIn(t, os.Args[0], 0, []uint32{0}, test.client, "warden", "WARD=bequeath", address)
			warden.expect("idle")
			said := teller.line()
			if seen := strings.HasPrefix(said, "opened uid 0 pid ") && !strings.HasPrefix(said, "opened uid 0 pid 0"); seen != test.seen {
				t.Errorf("%q, want its pid to be seen: %t", said, test.seen)
			}
			warden.order()
			teller.expect("closed died")
		})
	}
}

// order writes a line to the standard input of the process.
func (a *actor) order() {
	a.t.Helper()
	if _, err := io.WriteString(a.stdin.(io.Writer), "\n"); err != nil {
		a.t.Fatal(err)
	}
}

// mapping maps so many ids of a user namespace, from the first, to those outside.
func mapping(inside, outside, count int) []syscall.SysProcIDMap {
	return []syscall.SysProcIDMap{{ContainerID: inside, HostID: outside, Size: count}}
}

// TestAccessFromPartialMaps is of providers whose user namespace knows some users,
// or knows them by other numbers.
func TestAccessFromPartialMaps(t *testing.T) {
	needRoot(t)
	const everybody = 1<<32 - 1
	tests := []struct {
		name       string
		uids, gids []syscall.SysProcIDMap // nil for no user namespace
		own        uint32                 // the provider's uid in there
		allow      string
		uid        uint32 // the client's, out here
		groups     []uint32
		want       string
	}{
		{"a known group", mapping(0, 0, 1), mapping(0, 0, 5000), 0, "ALLOW_GIDS=4242", 1000, []uint32{60000, 4242}, "opened uid 65534 *"},
		{"a known primary group", mapping(0, 0, 1), mapping(0, 0, 5000), 0, "ALLOW_GIDS=4242", 1000, []uint32{4242}, "opened uid 65534 *"},
		{"another known group", mapping(0, 0, 1), mapping(0, 0, 5000), 0, "ALLOW_GIDS=4242", 1000, []uint32{60000, 4243},
			"denied*does not admit uid 65534 (gid 65534), which is nobody, or a user whom its user namespace does not know*allow a group"},
		{"a group it does not know", mapping(0, 0, 1), mapping(0, 0, 5000), 0, "ALLOW_GIDS=4242", 1000, []uint32{60000, 104242}, "denied*uid 65534*"},
		{"a user by the number inside", mapping(0, 100000, 65536), mapping(0, 100000, 65536), 0, "ALLOW_UIDS=1000", 101000, []uint32{101000}, "opened uid 1000 *"},
		{"a user by the number outside", mapping(0, 100000, 65536), mapping(0, 100000, 65536), 0, "ALLOW_UIDS=1000", 1000, []uint32{1000}, "denied*uid 65534*"},
		{"root outside", mapping(0, 100000, 65536), mapping(0, 100000, 65536), 0, "", 0, []uint32{0}, "denied*uid 65534*"},
		{"its own user", mapping(0, 100000, 65536), mapping(0, 100000, 65536), 0, "", 100000, []uint32{100000}, "opened uid 0 *"},

		{"nobody, by nobody", nil, nil, unknownID, "", unknownID, []uint32{unknownID}, "opened uid 65534 *"},
		{"a user, by nobody", nil, nil, unknownID, "", 1000, []uint32{1000}, "denied*uid 1000*"},
		{"nobody, by nobody who knows all", mapping(0, 0, everybody), mapping(0, 0, everybody), unknownID, "", unknownID, []uint32{unknownID}, "opened uid 65534 *"},
		{"nobody, by nobody who knows few", mapping(unknownID, unknownID, 1), mapping(unknownID, unknownID, 1), unknownID, "", unknownID, []uint32{unknownID}, "denied*uid 65534*"},
		{"a stranger, by nobody who knows few", mapping(unknownID, unknownID, 1), mapping(unknownID, unknownID, 1), unknownID, "", 1000, []uint32{1000}, "denied*uid 65534*"},
	}
	binary := publicCopy(t)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := publicDir(t)
			if err := os.Chmod(dir, 0o777); err != nil { // whoever the provider is out here
				t.Fatal(err)
			}
			address := api.EnvAddress + "=" + api.UnixEndpoint(filepath.Join(dir, "crier.sock")).String()
			cmd := roleCommand(binary, "teller", test.allow, address)
			cmd.Dir = "/"
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: test.own, Gid: test.own, NoSetGroups: true}}
			if test.uids != nil {
				cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER
				cmd.SysProcAttr.UidMappings, cmd.SysProcAttr.GidMappings = test.uids, test.gids
			}
			if test.uids != nil && exec.Command("unshare", "--user", "true").Run() != nil {
				t.Skip("no user namespace can be made")
			}
			teller := start(t, cmd)
			teller.expect("listening")
			client := playIn(t, binary, test.uid, test.groups, nil, "attach", address)
			said := client.line()
			if said == "attached" {
				said = teller.line()
			}
			if !matches(said, test.want) {
				t.Errorf("%q, want %s", said, test.want)
			}
		})
	}
}

// matches reports whether text has the parts of pattern in this order, from its
// start to its end; * parts them.
func matches(text, pattern string) bool {
	parts := strings.Split(pattern, "*")
	for i, part := range parts {
		at := strings.Index(text, part)
		if at < 0 || i == 0 && at > 0 {
			return false
		}
		text = text[at+len(part):]
	}
	return text == "" || parts[len(parts)-1] == ""
}

// TestContainers is of processes in containers: which the provider sees, where, and
// how it learns that one has died.
func TestContainers(t *testing.T) {
	e := newEngine(t)
	tests := []struct {
		name             string
		provider, client []string // for docker run; no container if the first is nil
		want             string   // ID is that of the client's
	}{
		{"provider outside", nil, []string{}, "opened uid 1000 pid * container ID"},
		{"beside the provider's", []string{}, []string{}, "opened uid 1000 pid 0"},
		{"in the provider's pid namespace", []string{}, []string{"--pid=container:PROVIDER"}, "opened uid 1000 pid * container ID"},
		{"provider in the host's pid namespace", []string{"--pid=host", "--cgroupns=private"}, []string{"--cgroupns=private"}, "opened uid 1000 pid * container ID"},
		{"client outside", []string{}, nil, "opened uid 1000 pid 0"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := publicDir(t)
			if err := os.Chmod(dir, 0o777); err != nil {
				t.Fatal(err)
			}
			address := api.EnvAddress + "=" + api.UnixEndpoint(filepath.Join(dir, "crier.sock")).String()
			teller, _ := e.play(t, "provider", dir, test.provider, "teller", "ALLOW_UIDS=1000", address)
			teller.expect("listening")
			warden, id := e.play(t, "client", dir, test.client, "warden", "WARD=bequeath", address)
			warden.expect("idle")
			if said, want := teller.line(), strings.ReplaceAll(test.want, "ID", id()); !matches(said, want) {
				t.Errorf("%q, want %s", said, want)
			}
			warden.order()
			teller.expect("closed died")
		})
	}
}

// engine is a Docker engine, with an image that has nothing in it.
type engine struct{ image, binary string }

// newEngine skips the test where there is no engine; CRIER_TEST_DOCKER=required makes
// that a failure.
func newEngine(t *testing.T) *engine {
	t.Helper()
	needRoot(t)
	if out, err := exec.Command("docker", "version").CombinedOutput(); err != nil {
		if os.Getenv("CRIER_TEST_DOCKER") == "required" {
			t.Fatalf("no Docker engine: %v %s", err, out)
		}
		t.Skipf("no Docker engine: %v", err)
	}
	e := &engine{image: fmt.Sprintf("crier-test-provider-%d", os.Getpid()), binary: publicCopy(t)}
	load := exec.Command("docker", "import", "-", e.image)
	load.Stdin = bytes.NewReader(make([]byte, 1024)) // the end of an archive
	if out, err := load.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Cleanup(func() { exec.Command("docker", "rmi", e.image).Run() })
	return e
}

// play has user 1000, or if it is the provider root, play a role in a container; with
// nil for the words to docker run, outside. id returns the short id of the container.
func (e *engine) play(t *testing.T, who, dir string, words []string, role string, env ...string) (a *actor, id func() string) {
	t.Helper()
	uid := map[string]uint32{"provider": 0, "client": 1000}[who]
	if words == nil {
		return playIn(t, e.binary, uid, []uint32{uid}, nil, role, env...), func() string { return "none" }
	}
	name := e.image + "-" + who
	t.Cleanup(func() { exec.Command("docker", "rm", "--force", name).Run() })
	run := []string{"docker", "run", "--rm", "--interactive", "--network=none", "--name=" + name, fmt.Sprintf("--user=%d", uid), "--env=" + roleEnv}
	for _, v := range env {
		run = append(run, "--env="+v)
	}
	for _, path := range []string{dir, filepath.Dir(e.binary), "/usr", "/lib", "/lib64"} {
		if _, err := os.Stat(path); err == nil {
			run = append(run, "--volume="+path+":"+path)
		}
	}
	for _, word := range words {
		run = append(run, strings.ReplaceAll(word, "PROVIDER", e.image+"-provider"))
	}
	a = playIn(t, e.binary, 0, []uint32{0}, append(run, e.image), role)
	return a, func() string {
		out, err := exec.Command("docker", "inspect", "--format={{.Id}}", name).Output()
		if err != nil {
			t.Fatal(err)
		}
		return string(out[:12])
	}
}
