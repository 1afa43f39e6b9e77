package systemd

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience bounds the wait for what should come soon.
const patience = time.Minute

// machine is a systemd that runs as the first process of namespaces of its own, on this
// machine's files. What it writes is gone with it.
type machine struct {
	t    *testing.T
	init int // its pid, seen from here
	log  *bytes.Buffer
}

// systemUnits are those that every systemd has and this one needs.
var systemUnits = []string{
	"basic.target", "shutdown.target", "sockets.target", "sysinit.target", "umount.target",
	"systemd-journald.service", "systemd-journald.socket", "systemd-journald-dev-log.socket",
}

const testTarget = `[Unit]
Requires=basic.target systemd-journald.service
After=basic.target systemd-journald.service
`

// boot starts a machine on which program is /src/crier and the repository's deploy
// directory is /src/deploy, or skips the test where that is impossible.
func boot(t *testing.T, program string) *machine {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can boot a systemd")
	}
	for _, tool := range []string{"/lib/systemd/systemd", "systemctl", "unshare", "nsenter", "setpriv", "pivot_root"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("no systemd can be booted: %v (Debian's packages systemd, util-linux and mount have it)", err)
		}
	}
	layer, files := t.TempDir(), t.TempDir()
	furnish(t, files, program)
	group := newGroup(t)
	defer group.Close()
	m := &machine{t: t, log: &bytes.Buffer{}}
	cmd := exec.Command("unshare", "--mount", "--pid", "--fork", "--uts", "--ipc", "--net", "--cgroup", "--kill-child",
		"sh", "testdata/boot.sh", layer, files)
	cmd.Stdout, cmd.Stderr = m.log, m.log
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(group.Fd())}
	if err := cmd.Start(); err != nil {
		t.Skipf("no systemd can be booted: %v", err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		cmd.Wait()
	}()
	t.Cleanup(func() {
		cmd.Process.Kill() // and with it the first process, and so all
		<-ended
		if t.Failed() {
			t.Logf("the machine said:\n%s", m.log)
		}
	})
	m.awaitBoot(cmd.Process.Pid, ended)
	return m
}

func (m *machine) awaitBoot(unshare int, ended <-chan struct{}) {
	m.t.Helper()
	m.poll("the machine to boot", func() bool {
		select {
		case <-ended:
			m.t.Skipf("no systemd can be booted here: %s", m.log)
		default:
		}
		children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", unshare, unshare))
		m.init, _ = strconv.Atoi(strings.TrimSpace(string(children)))
		name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", m.init))
		if string(name) != "systemd\n" {
			return false
		}
		state, _ := m.command("root", "systemctl", "is-system-running").Output()
		return string(state) == "running\n"
	})
}

// furnish puts what the machine needs besides this machine's files into dir.
func furnish(t *testing.T, dir, program string) {
	t.Helper()
	units := filepath.Join(dir, "etc/systemd/system")
	src := filepath.Join(dir, "src")
	if err := errors.Join(os.MkdirAll(units, 0o755), os.Mkdir(src, 0o755), os.Mkdir(filepath.Join(src, "deploy"), 0o755),
		os.Chmod(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	copies := map[string]string{program: filepath.Join(src, "crier")}
	for _, name := range systemUnits {
		copies[filepath.Join("/lib/systemd/system", name)] = filepath.Join(units, name)
	}
	for from, to := range copies {
		text, err := os.ReadFile(from)
		if err != nil {
			t.Skipf("no systemd can be booted: %v", err)
		}
		mode := os.FileMode(0o644)
		if from == program {
			mode = 0o755
		}
		if err := os.WriteFile(to, text, mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.CopyFS(filepath.Join(src, "deploy/systemd"), os.DirFS(".")),
		os.CopyFS(filepath.Join(src, "deploy/tls"), os.DirFS("../tls")),
		os.WriteFile(filepath.Join(units, "crier-test.target"), []byte(testTarget), 0o644),
		os.WriteFile(filepath.Join(dir, "etc/machine-id"), []byte("c41e4000000000000000000000000001\n"), 0o444)); err != nil {
		t.Fatal(err)
	}
}

// newGroup makes a control group for a machine, which goes with the test.
func newGroup(t *testing.T) *os.File {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^\S+ \S+ \S+ / (\S+) .* - cgroup2 `).FindSubmatch(mounts)
	if found == nil {
		t.Skip("no systemd can be booted: no control groups of version 2 are mounted")
	}
	path := filepath.Join(string(found[1]), fmt.Sprintf("crier-test-%d", os.Getpid()))
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Skipf("no systemd can be booted: %v", err)
	}
	t.Cleanup(func() { removeGroup(t, path) })
	group, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return group
}

// removeGroup removes a control group and those below it, once their processes are
// gone.
func removeGroup(t *testing.T, path string) {
	for late := time.Now().Add(patience); ; {
		var dirs []string
		filepath.WalkDir(path, func(path string, d os.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append([]string{path}, dirs...)
			}
			return nil
		})
		for _, dir := range dirs {
			syscall.Rmdir(dir)
		}
		if _, err := os.Stat(path); err != nil {
			return
		}
		if time.Now().After(late) {
			t.Errorf("left behind: %s", path)
			return
		}
	}
}

// command returns a command on the machine, of one of its users.
func (m *machine) command(user, name string, args ...string) *exec.Cmd {
	inside := []string{"--target", strconv.Itoa(m.init), "--mount", "--pid", "--uts", "--ipc", "--net", "--cgroup", "--",
		"env", "-i", "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "SYSTEMD_PAGER=", "SYSTEMD_COLORS=0",
		"SYSTEMD_UNIT_PATH=/etc/systemd/system:/run/systemd/system"}
	if user != "root" {
		inside = append(inside, "setpriv", "--reuid", user, "--regid", user, "--init-groups")
	}
	return exec.Command("nsenter", append(append(inside, name), args...)...)
}

// run runs a command on the machine, which must end with a code, and returns what it
// printed.
func (m *machine) run(code int, user, name string, args ...string) string {
	m.t.Helper()
	var out bytes.Buffer
	cmd := m.command(user, name, args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		m.t.Fatal(err)
	}
	if got := cmd.ProcessState.ExitCode(); got != code {
		m.t.Errorf("%s: %s %s: exit code %d, want %d: %s", user, name, strings.Join(args, " "), got, code, &out)
	}
	return strings.TrimSpace(out.String())
}

// script runs lines of shell on the machine, as root in /src.
func (m *machine) script(lines string) string {
	m.t.Helper()
	return m.run(0, "root", "sh", "-c", "set -eu; cd /src; sudo() { \"$@\"; }; go() { :; }; CGO_ENABLED=0\n"+lines)
}

// property returns a property of the service.
func (m *machine) property(name string) string {
	m.t.Helper()
	return m.run(0, "root", "systemctl", "show", "--property", name, "--value", "crier.service")
}

// poll waits for what can only be asked.
func (m *machine) poll(what string, done func() bool) {
	m.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for late := time.After(patience); !done(); {
		select {
		case <-tick.C:
		case <-late:
			m.t.Fatalf("in vain for %s", what)
		}
	}
}
