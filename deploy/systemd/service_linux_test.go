package systemd

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// build builds crier, as README.md says.
func build(t *testing.T) (program string) {
	t.Helper()
	program = filepath.Join(t.TempDir(), "crier")
	cmd := exec.Command("go", "build", "-o", program, "crier.local/cmd/crier")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return program
}

// instructions returns the lines of shell in README.md, in their order.
func instructions(t *testing.T) (install, admit, tls, pingTLS string) {
	t.Helper()
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	if len(found) != 4 {
		t.Fatalf("README.md has %d blocks of shell, want 4", len(found))
	}
	return found[0][1], found[1][1], found[2][1], found[3][1]
}

const (
	socket   = "/run/crier/crier.sock"
	address  = "unix://" + socket
	announce = socket + ".crier.json"
)

// service is the units on a machine, as README.md has them installed. Alice is in the
// group, bob is not.
type service struct{ *machine }

func install(t *testing.T, lines string) *service {
	t.Helper()
	s := &service{boot(t, build(t))}
	for _, user := range []string{"alice", "bob"} {
		s.run(0, "root", "useradd", "--no-create-home", user)
	}
	s.script(lines)
	return s
}

// of returns s for a part of a test.
func (s *service) of(t *testing.T) *service {
	m := *s.machine
	m.t = t
	return &service{&m}
}

func (s *service) active() bool { return s.property("ActiveState") == "active" }

// has reports whether a file is there on the machine.
func (s *service) has(path string) bool {
	return s.command("root", "test", "-e", path).Run() == nil
}

// ear is somebody who listens.
type ear struct {
	s  *service
	mu sync.Mutex
	// text is what was heard.
	text bytes.Buffer
}

func (e *ear) Write(b []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.text.Write(b)
}

func (e *ear) count(words string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return strings.Count(e.text.String(), words)
}

// listen returns an ear of alice's, who is attached until the part of the test ends.
func (s *service) listen() *ear {
	s.t.Helper()
	e := &ear{s: s}
	cmd := s.command("alice", "crier", "listen", "--json", "--name", "ear")
	cmd.Stdout, cmd.Stderr = e, e
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		s.run(0, "root", "pkill", "--exact", "--uid", "alice", "crier") // of the machine's processes
		cmd.Wait()
	})
	s.poll("the listener", func() bool { return e.count("listening in lobby as ear") == 1 })
	return e
}

// hears fails the test unless what is sent now arrives.
func (e *ear) hears(message string) {
	e.s.t.Helper()
	e.s.run(0, "alice", "crier", "send", "--require", "1", message)
	e.s.poll("the message", func() bool { return e.count(`"text":"`+message+`"`) == 1 })
}

// TestService runs the units under a real systemd.
func TestService(t *testing.T) {
	install_, admit, tls, pingTLS := instructions(t)
	s := install(t, install_)
	s.script(admit)
	for _, part := range []struct {
		name string
		test func(*service)
	}{
		{"the first client wakes it", (*service).testWaking},
		{"who is not in the group is refused", (*service).testRefusal},
		{"a user is admitted by name", (*service).testAdmission},
		{"hardening is in force", (*service).testHardening},
		{"stop leaves the socket", (*service).testStop},
		{"clients outlive a restart", (*service).testRestart},
		{"killed", (*service).testKill},
		{"the socket file goes", (*service).testSocketGone},
		{"stopped dead", (*service).testWatchdog},
	} {
		t.Run(part.name, func(t *testing.T) {
			s.of(t).run(0, "root", "systemctl", "reset-failed", "crier.service") // forgets how often it was started lately
			part.test(s.of(t))
		})
	}
	t.Run("TLS", func(t *testing.T) { s.of(t).testTLS(tls, pingTLS) })
	if t.Failed() {
		t.Log(s.of(t).run(0, "root", "journalctl", "--unit", "crier.service", "--no-pager", "--lines", "100"))
	}
}

func (s *service) testWaking() {
	if s.active() || !s.has(socket) {
		s.t.Fatal("before anybody came the service was active, or the socket was not there")
	}
	s.run(0, "alice", "crier", "send", "hi")
	if !s.active() || !s.has(announce) {
		s.t.Error("the service is not active, or not announced")
	}
	if status := s.property("StatusText"); status != "listening on "+address {
		s.t.Errorf("its status is %q", status)
	}
	if said := s.run(0, "alice", "crier", "ping"); !strings.Contains(said, address) {
		s.t.Errorf("said %s", said)
	}
}

func (s *service) testRefusal() {
	said := s.run(77, "bob", "crier", "send", "--address", address, "hi")
	if !strings.Contains(said, "denied") || !strings.Contains(said, "may not reach") {
		s.t.Errorf("said %s", said)
	}
	if said := s.run(77, "bob", "crier", "send", "--wait", "0", "hi"); !strings.Contains(said, "let this user into /run/crier") {
		s.t.Errorf("said %s", said)
	}
	s.run(0, "root", "chmod", "2755", "/run/crier") // now the rules decide
	defer s.run(0, "root", "chmod", "2750", "/run/crier")
	if said := s.run(77, "bob", "crier", "send", "hi"); !strings.Contains(said, "does not admit uid") {
		s.t.Errorf("said %s", said)
	}
	s.run(0, "alice", "crier", "send", "hi")
	if said := s.run(1, "alice", "rm", "-f", socket); !strings.Contains(said, "Permission denied") {
		s.t.Errorf("the group can take the socket away: %s", said)
	}
}

func (s *service) testAdmission() {
	s.script(`sed s/2750/2755/ /usr/lib/tmpfiles.d/crier.conf >/etc/tmpfiles.d/crier.conf
		mkdir -p /run/systemd/system/crier.service.d
		printf '[Service]\nExecStart=\nExecStart=/usr/local/bin/crier serve --allow-gid crier --allow-uid bob\n' >/run/systemd/system/crier.service.d/bob.conf
		systemd-tmpfiles --create crier.conf; systemctl daemon-reload; systemctl restart crier.service`)
	s.run(0, "bob", "crier", "send", "hi")
	s.script("rm -r /etc/tmpfiles.d/crier.conf /run/systemd/system/crier.service.d; systemd-tmpfiles --create crier.conf; systemctl daemon-reload; systemctl restart crier.service")
	s.run(77, "bob", "crier", "send", "hi")
}

func (s *service) testHardening() {
	pid := s.property("MainPID")
	status := s.run(0, "root", "cat", "/proc/"+pid+"/status")
	for _, want := range []string{`Seccomp:\s2`, `NoNewPrivs:\s1`, `CapBnd:\s0+\n`, `CapEff:\s0+\n`} {
		if !regexp.MustCompile(want).MatchString(status) {
			s.t.Errorf("no %s in\n%s", want, status)
		}
	}
	inside := func(args ...string) (string, error) { // with its mounts and network, as its user
		cmd := s.command("root", "nsenter", append([]string{"--target", pid, "--mount", "--net", "--",
			"setpriv", "--reuid", "crier", "--regid", "crier", "--clear-groups"}, args...)...)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	for _, place := range []string{"/", "/etc", "/var/tmp/..", "/sys/fs/cgroup"} {
		if out, err := inside("touch", place+"/x"); err == nil || !strings.Contains(out, "Read-only") {
			s.t.Errorf("could write to %s: %s", place, out)
		}
	}
	if out, err := inside("touch", "/run/crier/x"); err != nil {
		s.t.Errorf("cannot write to its own directory: %s", out)
	}
	s.run(0, "root", "rm", "/run/crier/x")
	if out, err := inside("ip", "-brief", "link"); err == nil && strings.Count(out, "\n") != 1 {
		s.t.Errorf("it has a network: %s", out)
	}
	if out, err := inside("cat", "/proc/1/cgroup"); err != nil { // of a process of another user
		s.t.Errorf("cannot tell the containers of clients: %s", out)
	}
	if limit := s.run(0, "root", "sh", "-c", "grep 'open files' /proc/"+pid+"/limits"); strings.Contains(limit, " 1024 ") {
		s.t.Errorf("the limit of descriptors was not raised: %s", limit)
	}
	checkExposure(s.t, s.run(0, "root", "systemd-analyze", "security", "crier.service"))
}

func (s *service) testStop() {
	s.run(0, "root", "systemctl", "stop", "crier.service") // nobody is attached, who would wake it at once
	if s.active() || !s.has(socket) || s.has(announce) {
		s.t.Error("it is still active, or the socket is gone, or the announcement is left")
	}
	s.run(0, "alice", "crier", "send", "again")
	if !s.active() {
		s.t.Error("the next client did not start it")
	}
	s.run(0, "root", "systemctl", "stop", "crier.socket", "crier.service")
	if s.has(socket) {
		s.t.Error("the socket is left")
	}
	s.run(69, "alice", "crier", "send", "--wait", "0", "nobody")
	s.run(0, "root", "systemctl", "start", "crier.socket")
}

func (s *service) testRestart() {
	e := s.listen()
	e.hears("before")
	s.run(0, "root", "systemctl", "restart", "crier.service")
	s.poll("the listener to come back", func() bool { return e.count(`"kind":"restarted"`) == 1 })
	e.hears("after")
	s.run(0, "root", "systemctl", "restart", "crier.socket") // and with it the service
	s.poll("the listener to come back", func() bool { return e.count(`"kind":"restarted"`) == 2 })
	e.hears("with another socket")
	if n := s.property("NRestarts"); n != "0" {
		s.t.Errorf("systemd had to restart it %s times", n)
	}
}

func (s *service) testKill() {
	e := s.listen()
	s.run(0, "root", "systemctl", "kill", "--signal", "KILL", "crier.service")
	s.poll("the listener to come back", func() bool { return e.count(`"kind":"restarted"`) == 1 })
	e.hears("still here")
}

// hurry makes systemd want signs of life so often that a test can wait for them.
func (s *service) hurry() {
	s.t.Helper()
	s.script("mkdir -p /run/systemd/system/crier.service.d; printf '[Service]\nWatchdogSec=8\n' >/run/systemd/system/crier.service.d/hurry.conf")
	s.run(0, "root", "systemctl", "daemon-reload")
	s.run(0, "root", "systemctl", "restart", "crier.socket")
	s.t.Cleanup(func() {
		s.script("rm -r /run/systemd/system/crier.service.d; systemctl daemon-reload; systemctl restart crier.socket")
	})
}

// testSocketGone: the provider is well, and not restarted, though nobody finds it.
func (s *service) testSocketGone() {
	s.hurry()
	e := s.listen()
	pid := s.property("MainPID")
	s.run(0, "root", "rm", socket)
	first := s.property("WatchdogTimestampMonotonic")
	signs := 0
	s.poll("signs of life", func() bool {
		if now := s.property("WatchdogTimestampMonotonic"); now != first {
			first = now
			signs++
		}
		return signs == 3 // more time than it may be silent for
	})
	if now := s.property("MainPID"); now != pid || e.count("restarted") != 0 {
		s.t.Errorf("the provider was restarted: pid %s, then %s", pid, now)
	}
	if said := s.run(0, "root", "journalctl", "--unit", "crier.service", "--no-pager", "_PID="+pid); strings.Count(said, "the socket file is gone") != 1 {
		s.t.Errorf("logged %s", said)
	}
	s.run(0, "root", "systemctl", "restart", "crier.socket")
	s.poll("the listener to come back", func() bool { return e.count(`"kind":"restarted"`) == 1 })
	e.hears("found again")
}

func (s *service) testWatchdog() {
	s.hurry()
	e := s.listen()
	pid := s.property("MainPID")
	s.run(0, "root", "kill", "-STOP", pid)
	s.poll("the listener to come back", func() bool { return e.count(`"kind":"restarted"`) == 1 })
	e.hears("awake")
	if now := s.property("MainPID"); now == pid {
		s.t.Errorf("the provider has the same pid, %s", pid)
	}
	if said := s.run(0, "root", "journalctl", "--no-pager", "--unit", "crier.service"); !strings.Contains(said, "SIGABRT") {
		s.t.Errorf("it is not in the journal that the provider was aborted:\n%s", said)
	}
}

func (s *service) testTLS(setUp, ping string) {
	if _, err := exec.LookPath("openssl"); err != nil {
		s.t.Skip("there is no openssl to make certificates with")
	}
	s.run(0, "root", "mkdir", "/etc/crier")
	s.script("OLDPWD=/src; " + setUp)
	if said := s.script(ping); !strings.Contains(said, "tcp://localhost:4000: ") {
		s.t.Errorf("said %s", said)
	}
	if status := s.property("StatusText"); status != fmt.Sprintf("listening on %s, tcp://[::]:4000", address) {
		s.t.Errorf("its status is %q", status)
	}
	s.run(77, "root", "sh", "-c", "cd /etc/crier/certs && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes "+
		"-subj /CN=mallory -keyout /tmp/mallory.key -out /tmp/mallory.pem 2>/dev/null && "+
		"crier ping --address tcp://localhost:4000 --tls-ca ca.pem --tls-cert /tmp/mallory.pem --tls-key /tmp/mallory.key")
	s.run(0, "alice", "crier", "ping")
}
