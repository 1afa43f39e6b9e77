package provider

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"crier.local/api"
)

// playIn is play as another user, after the words of wrap, which may start the
// process in namespaces of its own.
func playIn(t testing.TB, binary string, uid uint32, gids []uint32, wrap []string, role string, env ...string) *actor {
	t.Helper()
	cmd := roleCommand(binary, role, env...)
	if len(wrap) > 0 {
		path, err := exec.LookPath(wrap[0])
		if err != nil {
			t.Skipf("there is no %s", wrap[0])
		}
		cmd.Path, cmd.Args = path, append(slices.Clone(wrap), cmd.Args...)
	}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: gids[0], Groups: gids[1:]}}
	return start(t, cmd)
}

// needRoot skips the test where users and namespaces cannot be chosen.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can start processes of other users")
	}
}

// TestAccessTable: who reaches the socket is the directory's affair, and who of
// those may attach is the rules'; the umask has no say in either.
func TestAccessTable(t *testing.T) {
	needRoot(t)
	const member, group, stranger = 1000, 4242, 1001
	directories := []struct {
		name  string
		mode  fs.FileMode // 0: the provider makes it
		gid   int
		allow string
		want  map[string]string // by client
	}{
		{"made, for itself", 0, 0, "ALLOW_UIDS=1000", map[string]string{
			"root": "attached", "member": "denied*may not reach", "group": "denied*may not reach", "stranger": "denied*may not reach"}},
		{"made, for a group", 0, 0, "ALLOW_GIDS=4242", map[string]string{
			"root": "attached", "member": "denied*may not reach", "group": "attached", "stranger": "denied*may not reach"}},
		{"prepared for a group", 0o770 | fs.ModeSetgid, group, "ALLOW_GIDS=4242", map[string]string{
			"root": "attached", "member": "denied*may not reach", "group": "attached", "stranger": "denied*may not reach"}},
		{"prepared for all", 0o755, 0, "ALLOW_UIDS=1000", map[string]string{
			"root": "attached", "member": "attached", "group": "denied*does not admit uid 1001", "stranger": "denied*does not admit uid 1001"}},
		{"prepared for all to write", 0o777 | fs.ModeSticky, 0, "ALLOW_GIDS=4242", map[string]string{
			"root": "attached", "member": "denied*does not admit uid 1000", "group": "attached", "stranger": "denied*does not admit uid 1001"}},
	}
	clients := []struct {
		name string
		uid  uint32
		gids []uint32
	}{
		{"root", 0, []uint32{0}},
		{"member", member, []uint32{member}},
		{"group", stranger, []uint32{stranger, group}},
		{"stranger", stranger, []uint32{stranger}},
	}
	binary := publicCopy(t)
	for _, umask := range []string{"000", "022", "077", "777"} {
		for _, d := range directories {
			t.Run(umask+"/"+d.name, func(t *testing.T) {
				dir := filepath.Join(publicDir(t), "run")
				if d.mode != 0 {
					if err := errors.Join(os.Mkdir(dir, 0o700), os.Chown(dir, -1, d.gid), os.Chmod(dir, d.mode)); err != nil {
						t.Fatal(err)
					}
				}
				address := api.EnvAddress + "=" + api.UnixEndpoint(filepath.Join(dir, "crier.sock")).String()
				play(t, "listen", "UMASK="+umask, d.allow, address).expect("listening")
				for _, c := range clients {
					said := playIn(t, binary, c.uid, c.gids, nil, "attach", address).line()
					head, tail, _ := strings.Cut(d.want[c.name], "*")
					if !strings.HasPrefix(said, head) || !strings.Contains(said, tail) {
						t.Errorf("%s: %q, want %s", c.name, said, d.want[c.name])
					}
				}
			})
		}
	}
}

// TestAccessFromNamespaces: a user is who the kernel says, seen from the provider.
// Whoever it cannot show is nobody.
func TestAccessFromNamespaces(t *testing.T) {
	needRoot(t)
	binary := publicCopy(t)
	own, mapped := []string{"unshare", "--user"}, []string{"unshare", "--user", "--map-root-user"}
	if err := exec.Command(own[0], append(own[1:], "true")...).Run(); err != nil {
		t.Skip("no user namespace can be made")
	}
	tests := []struct {
		name             string
		provider, client []string // what puts them into namespaces
		allow            string
		uid              uint32
		want             string
	}{
		{"client unmapped, admitted", nil, own, "ALLOW_UIDS=1000", 1000, "attached"},
		{"client unmapped, not admitted", nil, own, "ALLOW_UIDS=65534", 1000, "denied*does not admit uid 1000"},
		{"client is root in there", nil, mapped, "ALLOW_UIDS=0", 1000, "denied*does not admit uid 1000"},
		{"root unmapped", nil, own, "", 0, "attached"},
		{"provider sees nobody", mapped, nil, "ALLOW_UIDS=1000", 1000, "denied*does not admit uid 65534"},
		{"provider admits nobody's number", mapped, nil, "ALLOW_UIDS=65534", 1000, "denied*does not admit uid 65534"},
		{"provider admits nobody's group", mapped, nil, "ALLOW_GIDS=65534", 1000, "denied*does not admit uid 65534"},
		{"provider sees root", mapped, nil, "", 0, "attached"},
		{"both in namespaces", mapped, own, "ALLOW_UIDS=65534", 1000, "denied*does not admit uid 65534"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			address := api.EnvAddress + "=" + api.UnixEndpoint(filepath.Join(publicDir(t), "crier.sock")).String()
			playIn(t, binary, 0, []uint32{0}, test.provider, "listen", "UMASK=022", test.allow, address).expect("listening")
			said := playIn(t, binary, test.uid, []uint32{test.uid}, test.client, "attach", address).line()
			head, tail, _ := strings.Cut(test.want, "*")
			if !strings.HasPrefix(said, head) || !strings.Contains(said, tail) {
				t.Errorf("%q, want %s", said, test.want)
			}
		})
	}
}

// pidNamespaceEnv is set where TestPidReuse has pids to itself.
const pidNamespaceEnv = "CRIER_TEST_PID_NAMESPACE"

// TestPidReuse gives the pid of a client that is dead to another one, in a pid
// namespace of its own. The old one's child still holds its socket.
func TestPidReuse(t *testing.T) {
	if os.Getenv(pidNamespaceEnv) == "" {
		needRoot(t)
		cmd := exec.Command("unshare", "--pid", "--fork", "--kill-child", "--mount-proc", os.Args[0], "-test.run=^TestPidReuse$", "-test.v")
		cmd.Env = append(os.Environ(), pidNamespaceEnv+"=1")
		out, err := cmd.CombinedOutput()
		if err != nil && strings.Contains(string(out), "unshare:") {
			t.Skipf("no pid namespace can be made: %s", out)
		}
		if err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		t.Logf("%s", out)
		return
	}
	if !hasPeerPidfd(t) {
		t.Skip("this kernel has no SO_PEERPIDFD")
	}
	p, w, e := listening(t, Options{})
	address := api.EnvAddress + "=" + e.String()
	old := play(t, "bequeath", address)
	old.expect("idle")
	pid := old.cmd.Process.Pid
	if id := receive(t, "the session", w.opened); int(id.PID) != pid {
		t.Fatalf("the first one has pid %d, shown as %d", pid, id.PID)
	}
	old.kill()
	if reason := receive(t, "the end of the old session", w.closed); reason != api.ReasonDied {
		t.Errorf("the old session ended because of %v", reason)
	}
	old.cmd.Wait()
	heir := playWithPid(t, pid, "attach", address)
	heir.expect("attached")
	if id := receive(t, "the session of the heir", w.opened); int(id.PID) != pid {
		t.Errorf("the heir is shown as pid %d, want %d", id.PID, pid)
	}
	if all := p.snapshot(); len(all) != 1 || len(all[0].sessions) != 1 {
		t.Errorf("%d processes are attached, want the heir alone", len(all))
	}
	old.stdin.Close() // the child, and with it the old socket, goes: nobody is hit by that
	bystander := dial(t, e)
	receive(t, "the session of another one", w.opened)
	bystander.Close()
	receive(t, "the end of another one", w.closed)
	select {
	case reason := <-w.closed:
		t.Errorf("the heir's session ended because of %v, while it lives", reason)
	default:
	}
	heir.kill()
	if reason := receive(t, "the end of the heir's session", w.closed); reason != api.ReasonDied {
		t.Errorf("the heir's session ended because of %v", reason)
	}
}

// playWithPid starts processes until one has the pid.
func playWithPid(t *testing.T, pid int, role string, env ...string) *actor {
	t.Helper()
	for range 200 {
		if err := os.WriteFile("/proc/sys/kernel/ns_last_pid", fmt.Append(nil, pid-1), 0); err != nil {
			t.Skipf("pids cannot be chosen: %v", err)
		}
		a := play(t, role, env...)
		if a.cmd.Process.Pid == pid {
			return a
		}
		a.kill()
		a.cmd.Wait()
	}
	t.Skip("the pid is not to be had")
	return nil
}

// TestDirectoryOfAStranger puts another user's directory in the place of the
// provider's: whoever owns the directory decides who comes in.
func TestDirectoryOfAStranger(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can make a directory of another user's")
	}
	h := openPremises(t, Options{})
	other := h.dir + ".other"
	if err := errors.Join(os.Mkdir(other, 0o777), os.Chown(other, 4242, -1)); err != nil {
		t.Fatal(err)
	}
	if err := unix.Renameat2(unix.AT_FDCWD, other, unix.AT_FDCWD, h.dir, unix.RENAME_EXCHANGE); err != nil {
		t.Skip("directories cannot be exchanged here:", err)
	}
	line := h.log.expect(t, "its directory belongs to uid 4242 now")
	if !strings.Contains(line, "[ERROR]") {
		t.Errorf("logged %s", line)
	}
	h.checkAttached()
	if files, err := os.ReadDir(h.dir); err != nil || len(files) > 0 {
		t.Errorf("in the stranger's directory are %v, %v", files, err)
	}
	if err := os.Remove(h.dir); err != nil {
		t.Fatal(err)
	}
	h.log.expect(t, healed)
	h.check()
}

// TestRefusalIsLogged: whoever runs a provider learns who was refused.
func TestRefusalIsLogged(t *testing.T) {
	needRoot(t)
	log := newChronicle()
	_, _, e := listeningIn(t, publicDir(t), Options{Name: "mine", Logger: log.logger()})
	playAs(t, 1000, []uint32{1000}, "attach", api.EnvAddress+"="+e.String()).expect("denied*")
	line := log.expect(t, "refused a client")
	for _, words := range []string{"uid 1000", "does not admit", e.Address} {
		if !strings.Contains(line, words) {
			t.Errorf("the log does not say %q: %s", words, line)
		}
	}
}
