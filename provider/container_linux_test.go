package provider

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"crier.local/api"
)

func TestContainerIn(t *testing.T) {
	id, other := strings.Repeat("0123456789abcdef", 4), strings.Repeat("fedcba9876543210", 4)
	const pod = "pod1c7a5a4e-6d0b-4b0e-8a55-4e9b6a1f9b1c"
	tests := []struct{ name, cgroups, want string }{
		{"none", "", ""},
		{"version 2", "0::/docker/" + id + "\n", id},
		{"no newline", "0::/docker/" + id, id},
		{"version 1", "12:pids:/docker/" + id + "\n1:name=systemd:/docker/" + id + "\n", id},
		{"hybrid", "2:cpu,cpuacct:/\n1:name=systemd:/docker/" + id + "\n0::/\n", id},
		{"systemd's docker", "0::/system.slice/docker-" + id + ".scope\n", id},
		{"containerd", "0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod1c7a.slice/cri-containerd-" + id + ".scope\n", id},
		{"containerd without systemd", "11:cpu:/kubepods/burstable/" + pod + "/" + id + "\n", id},
		{"containerd, mixed", "11:cpu:/system.slice/containerd.service/kubepods-burstable-pod1c7a.slice:cri-containerd:" + id + "\n", id},
		{"CRI-O", "0::/kubepods.slice/kubepods-pod1c7a.slice/crio-" + id + ".scope\n", id},
		{"CRI-O, below", "0::/kubepods.slice/crio-" + id + ".scope/container\n", id},
		{"podman", "0::/machine.slice/libpod-" + id + ".scope/container\n", id},
		{"podman of a user", "0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" + id + ".scope\n", id},
		{"systemd within", "0::/docker/" + id + "/system.slice/crier.service\n", id},
		{"one in another", "0::/docker/" + other + "/docker/" + id + "\n", id},
		{"a sibling, from a cgroup namespace", "0::/../" + id + "\n", id},
		{"a sibling's scope", "0::/../cri-containerd-" + id + ".scope\n", id},
		{"the first that is named", "5:cpu:/docker/" + id + "\n4:pids:/docker/" + other + "\n", id},

		{"own cgroup namespace", "0::/\n", ""},
		{"a user's", "0::/user.slice/user-1000.slice/session-2.scope\n", ""},
		{"a service", "0::/system.slice/docker.service\n", ""},
		{"podman's monitor", "0::/machine.slice/libpod-conmon-" + id + ".scope\n", ""},
		{"a pod alone", "0::/kubepods/" + pod + "\n", ""},
		{"too short", "0::/docker/" + id[1:] + "\n", ""},
		{"too long", "0::/docker/0" + id + "\n", ""},
		{"capitals", "0::/docker/" + strings.ToUpper(id) + "\n", ""},
		{"no hexadecimal", "0::/docker/g" + id[1:] + "\n", ""},
		{"no path", id + "\n", ""},
		{"a controller's name", "1:name=" + id + ":/\n", ""},
	}
	for _, test := range tests {
		if got := containerIn([]byte(test.cgroups)); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

// TestContainerOfPeer puts a client into a cgroup that is named as a container's.
func TestContainerOfPeer(t *testing.T) {
	needRoot(t)
	if !hasPeerPidfd(t) {
		t.Skip("this kernel has no SO_PEERPIDFD")
	}
	_, w, e := listening(t, Options{})
	id, join := containerCgroup(t)
	playIn(t, os.Args[0], 0, []uint32{0}, join, "attach", api.EnvAddress+"="+e.String()).expect("attached")
	if got := receive(t, "the session", w.opened); got.Container != id {
		t.Errorf("identity %+v, want container %s", got, id)
	}
	play(t, "attach", api.EnvAddress+"="+e.String()).expect("attached")
	if got := receive(t, "the session", w.opened); got.Container == id {
		t.Errorf("another process has its container: %+v", got)
	}
}

// TestContainerOfTheDead: the pid of a process that has ended may be another's soon.
func TestContainerOfTheDead(t *testing.T) {
	needRoot(t)
	if !hasPeerPidfd(t) {
		t.Skip("this kernel has no SO_PEERPIDFD")
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "s"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	id, join := containerCgroup(t)
	client := playIn(t, os.Args[0], 0, []uint32{0}, join, "attach", api.EnvAddress+"=unix://"+listener.Addr().String())
	conn, err := listener.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got := new(census).containerOf(conn); got != id {
		t.Errorf("container %q, want %q", got, id)
	}
	client.kill()
	pid := client.cmd.Process.Pid // until it is waited for, nobody else's
	if err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid)); err != nil || containerIn(text) != id {
		t.Skipf("this kernel tells no cgroup of one that has ended: %s%v", text, err)
	}
	if got := new(census).containerOf(conn); got != "" {
		t.Errorf("a dead process is in container %q", got)
	}
}

// containerCgroup makes a cgroup with the name of a container's. join is what, put
// before a command, runs it in there.
func containerCgroup(t *testing.T) (id string, join []string) {
	t.Helper()
	random := make([]byte, 32)
	rand.Read(random)
	id = hex.EncodeToString(random)
	for _, root := range []string{"/sys/fs/cgroup/unified", "/sys/fs/cgroup", "/sys/fs/cgroup/systemd"} {
		dir := filepath.Join(root, "docker-"+id+".scope")
		if os.Mkdir(dir, 0o755) != nil {
			continue
		}
		t.Cleanup(func() { os.Remove(dir) })
		procs := filepath.Join(dir, "cgroup.procs")
		if _, err := os.Stat(procs); err == nil {
			return id, []string{"sh", "-c", `echo $$ >"$0" && exec "$@"`, procs}
		}
	}
	t.Skip("no cgroup can be made")
	return "", nil
}

// BenchmarkContainerOf is what an attachment costs more for the container's sake.
func BenchmarkContainerOf(b *testing.B) {
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(b.TempDir(), "s"), Net: "unix"})
	if err != nil {
		b.Fatal(err)
	}
	defer listener.Close()
	client, err := net.Dial("unix", listener.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	conn, err := listener.AcceptUnix()
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	var s census
	b.ReportAllocs()
	for b.Loop() {
		s.containerOf(conn)
	}
}
