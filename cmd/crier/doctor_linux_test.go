package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"crier.local/api"
	"crier.local/api/tlstest"
	"crier.local/provider"
	"crier.local/provider/notification"
)

// diagnosis is what a run of doctor --json said.
type diagnosis struct {
	t        *testing.T
	findings []finding
	code     int
}

// diagnose runs a command that ends in crier doctor --json.
func diagnose(t *testing.T, cmd *exec.Cmd) *diagnosis {
	t.Helper()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatalf("%v: %s", err, errs.Bytes())
	}
	d := &diagnosis{t: t, code: cmd.ProcessState.ExitCode()}
	for line := range bytes.Lines(out.Bytes()) {
		var f finding
		decoder := json.NewDecoder(bytes.NewReader(line))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&f); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		d.findings = append(d.findings, f)
	}
	if t.Failed() || len(d.findings) == 0 {
		t.Fatalf("exit code %d and no findings: %s", d.code, errs.Bytes())
	}
	return d
}

// expect checks that some finding of a check has a status and the words.
func (d *diagnosis) expect(check string, s status, words string) finding {
	d.t.Helper()
	for _, f := range d.findings {
		if f.Check == check && f.Status == s && strings.Contains(f.Found, words) {
			return f
		}
	}
	d.t.Fatalf("no %s of %s with %q in\n%s", s, check, words, d)
	return finding{}
}

func (d *diagnosis) ended(code int) {
	d.t.Helper()
	if d.code != code {
		d.t.Fatalf("exit code %d, want %d, of\n%s", d.code, code, d)
	}
}

func (d *diagnosis) String() string {
	var b strings.Builder
	for _, f := range d.findings {
		b.Write(sheetStyle{}.text(f))
	}
	return b.String()
}

func (d *diagnosis) complete() {
	d.t.Helper()
	for _, check := range checks() {
		if !slices.ContainsFunc(d.findings, func(f finding) bool { return f.Check == check }) {
			d.t.Errorf("nothing of %s in\n%s", check, d)
		}
	}
}

// openProvider listens in a directory that every user reaches, and admits some.
func openProvider(t *testing.T, path string, uids ...uint32) {
	t.Helper()
	p := provider.New(provider.Options{Name: "crier", AllowUIDs: uids})
	t.Cleanup(func() { p.Close() })
	if _, err := notification.Register(p, notification.Options{}, provider.ServiceOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Listen(api.UnixEndpoint(path)); err != nil {
		t.Fatal(err)
	}
}

func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "crier-doctor")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// snapshot lists what is below dir, with modes and times.
func snapshot(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err == nil {
			b.WriteString(path + " " + info.Mode().String() + " " + info.ModTime().Format(time.RFC3339Nano) + "\n")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// In a container that has nothing but the program, any user gets a whole sheet.
func TestDoctorFromScratch(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can make a root directory")
	}
	root := openDir(t)
	build := exec.Command("go", "build", "-o", filepath.Join(root, "crier"), ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	const uid = 54321
	run := filepath.Join(root, "run", "crier")
	scratch := func(args ...string) *exec.Cmd {
		cmd := exec.Command("/crier", append([]string{"doctor", "--json", "--wait", "0"}, args...)...)
		cmd.Dir, cmd.Env = "/", []string{}
		cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		return cmd
	}
	d := diagnose(t, scratch())
	d.complete()
	d.ended(exitUnavailable)
	d.expect(checkIdentity, statusWarn, "/proc is not mounted")
	d.expect(checkDirectory, statusSkip, "/tmp/crier-54321")
	d.expect(checkStart, statusWarn, "")

	if err := os.MkdirAll(run, 0o755); err != nil {
		t.Fatal(err)
	}
	openProvider(t, filepath.Join(run, "crier.sock"), uid)
	before := snapshot(t, run)
	d = diagnose(t, scratch())
	d.complete()
	d.ended(exitDone)
	d.expect(checkSocket, statusOK, "listens")
	d.expect(checkLock, statusSkip, "does not tell")
	d.expect(checkStart, statusSkip, "permission denied")
	d.expect(checkAdmission, statusOK, "lets uid 54321 in")
	if after := snapshot(t, run); after != before {
		t.Errorf("it has changed\n%sinto\n%s", before, after)
	}
}

// mounted runs crier doctor after a script, with mounts that nobody else sees.
func mounted(t *testing.T, script string, args ...string) *exec.Cmd {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can mount")
	}
	if out, err := exec.Command("unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt").CombinedOutput(); err != nil {
		t.Skipf("nothing can be mounted here: %v: %s", err, out)
	}
	script += "\nshift 0; exec crier doctor --json --wait 0 \"$@\""
	return exec.Command("unshare", append([]string{"--mount", "sh", "-ec", script, "sh"}, args...)...)
}

// The socket file is mounted, not its directory: that works until the provider
// starts again.
func TestDoctorMountedSocket(t *testing.T) {
	dir := openDir(t)
	path, there := filepath.Join(dir, "crier.sock"), filepath.Join(dir, "there")
	inside := filepath.Join(there, "crier.sock")
	if err := os.Mkdir(there, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(inside, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	first, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	mount := "mount --bind " + path + " " + inside
	d := diagnose(t, mounted(t, mount+"; rm "+path, "--address", "unix://"+inside))
	d.expect(checkSocket, statusWarn, "will be a dead one")
	d.ended(exitTryAgain) // it says nothing: the connections wait to be accepted

	first.Close()
	openProvider(t, path)
	d = diagnose(t, mounted(t, mount, "--address", "unix://"+inside))
	d.expect(checkSocket, statusWarn, "the socket file itself is mounted here")
	d.ended(exitDone)

	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "left.sock"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	left.SetUnlinkOnClose(false)
	left.Close()
	mount = "mount --bind " + left.Addr().String() + " " + inside + "; rm " + left.Addr().String()
	d = diagnose(t, mounted(t, mount, "--address", "unix://"+inside))
	f := d.expect(checkSocket, statusFail, "made a new one since")
	if want := "mount the directory of the socket on " + there; !strings.HasPrefix(f.Fix, want) {
		t.Errorf("fix %q, want %q", f.Fix, want)
	}
	d.ended(exitUnavailable)
}

// A volume that is full: a provider can neither listen nor be found there.
func TestDoctorFullVolume(t *testing.T) {
	full := "mount -t tmpfs -o size=64k none /mnt; mkdir -m 700 /mnt/crier; "
	d := diagnose(t, mounted(t, full+"! cat /dev/zero > /mnt/filler", "--run-dir", "/mnt/crier"))
	d.expect(checkVolume, statusFail, "/mnt/crier is full: 0 bytes free")
	d.ended(exitConfig)
	few := "mount -t tmpfs -o size=1m,nr_inodes=4 none /mnt; mkdir -m 700 /mnt/crier; "
	d = diagnose(t, mounted(t, few, "--run-dir", "/mnt/crier"))
	d.expect(checkVolume, statusFail, "/mnt/crier takes no more files")
	d = diagnose(t, mounted(t, "mount -t tmpfs none /mnt; mkdir -m 700 /mnt/crier; mount -o remount,ro none /mnt", "--run-dir", "/mnt/crier"))
	d.expect(checkVolume, statusOK, "read-only")
	f := d.expect(checkStart, statusWarn, "may not write")
	if !strings.Contains(f.Fix, "read-only") {
		t.Errorf("fix %q", f.Fix)
	}
}

// Who holds a lock is seen without taking it.
func TestDoctorLock(t *testing.T) {
	dir := openDir(t)
	path := filepath.Join(dir, "crier.sock")
	lock, err := os.Create(path + ".lock")
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if !locksTold(dir) {
		t.Skip("the kernel does not tell of locks on this file system")
	}
	doctor := func() *diagnosis {
		return diagnose(t, exec.Command("crier", "doctor", "--json", "--wait", "0", "--address", "unix://"+path))
	}
	doctor().expect(checkLock, statusOK, "is free")
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	doctor().expect(checkLock, statusWarn, "but nobody listens")
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_UN); err != nil {
		t.Fatal(err)
	}
	openProvider(t, path)
	d := doctor()
	d.expect(checkLock, statusOK, "who listens")
	d.ended(exitDone)
	if err := os.Rename(path+".lock", path+".lock.old"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".lock", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	found := false
	for _, f := range doctor().findings { // the provider takes its place there again, soon
		found = found || f.Check == checkLock && (f.Status == statusWarn || f.Status == statusOK)
	}
	if !found {
		t.Error("nothing is said of the lock")
	}
}

// Certificates that last are all right; files that do not are in doctor_tls.txtar.
func TestDoctorLastingCertificates(t *testing.T) {
	dir := openDir(t)
	authority, err := tlstest.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	lasting := tlstest.Pair{NotAfter: time.Now().Add(renewAhead + time.Hour)}
	files, err := authority.Issue("lasting", lasting)
	if err != nil {
		t.Fatal(err)
	}
	p := provider.New(provider.Options{Name: "crier", TLS: files})
	t.Cleanup(func() { p.Close() })
	if _, err := notification.Register(p, notification.Options{}, provider.ServiceOptions{}); err != nil {
		t.Fatal(err)
	}
	e, err := p.Listen(api.Endpoint{Network: "tcp", Address: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	d := diagnose(t, exec.Command("crier", "doctor", "--json", "--address", e.String(),
		"--tls-ca", files.CA, "--tls-cert", files.Cert, "--tls-key", files.Key))
	d.ended(exitDone)
	d.expect(checkTLS, statusOK, "lasting.pem: for lasting, valid until")
	d.expect(checkTLS, statusOK, "the provider's is for 127.0.0.1, also as lasting")
	future, err := authority.Issue("future", tlstest.Pair{NotBefore: time.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	d = diagnose(t, exec.Command("crier", "doctor", "--json", "--address", e.String(),
		"--tls-ca", future.CA, "--tls-cert", future.Cert, "--tls-key", future.Key))
	d.ended(exitDenied)
	d.expect(checkTLS, statusFail, "but not before")
}

// A provider whose service is older than this program: what is newer does not work.
func TestDoctorOlderService(t *testing.T) {
	path := filepath.Join(openDir(t), "crier.sock")
	p := provider.New(provider.Options{Name: "old"})
	t.Cleanup(func() { p.Close() })
	older := api.Selector{UUID: api.NotificationUUID, Major: api.NotificationSelector.Major}
	if err := p.Provide(older, deafHandler{}, provider.ServiceOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Listen(api.UnixEndpoint(path)); err != nil {
		t.Fatal(err)
	}
	d := diagnose(t, exec.Command("crier", "doctor", "--json", "--address", "unix://"+path))
	f := d.expect(checkVersion, statusWarn, "but service 1.0: what is newer in this program does not work with it")
	if f.Fix != "upgrade the provider" {
		t.Errorf("fix %q", f.Fix)
	}
	d.expect(checkClock, statusSkip, "the provider's cannot be asked")
	d.complete()
	d.ended(exitDone)
}

// deafHandler is of a service that has no methods.
type deafHandler struct{}

func (deafHandler) Handle(context.Context, *provider.Call) (provider.Result, error) {
	return provider.Result{}, api.ErrNoMethod
}

// Hosts that do not answer take no time from the sockets that are looked at after them.
func TestDoctorSilentHosts(t *testing.T) {
	dir := openDir(t)
	path := filepath.Join(dir, "z.sock")
	openProvider(t, path)
	address := silentPort(t)
	for i := range 4 {
		text := fmt.Sprintf(`{"name":"a%d","epoch":"%d","addresses":["tcp://%s"],"services":[{"uuid":%q,"major":1,"minor":1,"priority":9}]}`,
			i, i, address, api.NotificationUUID)
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint("a", i, api.AnnouncementSuffix)), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	d := diagnose(t, exec.Command("crier", "doctor", "--json", "--wait", "0", "--run-dir", dir))
	d.expect(checkSocket, statusWarn, address+" of a3@0.0.0: dial tcp")
	d.expect(checkSocket, statusOK, path+" of crier@")
	d.expect(checkChoice, statusOK, path)
	d.ended(exitDone)
}

// Whoever listens may be no provider.
func TestDoctorStranger(t *testing.T) {
	path := filepath.Join(openDir(t), "web.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		for conn, err := l.Accept(); err == nil; conn, err = l.Accept() {
			conn.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
			conn.Close()
		}
	}()
	defer func() { l.Close(); <-served }()
	d := diagnose(t, exec.Command("crier", "doctor", "--json", "--wait", "0", "--address", "unix://"+path))
	f := d.expect(checkAnswer, statusFail, "cannot find service")
	if !strings.Contains(f.Fix, "it is no provider that listens there") {
		t.Errorf("fix %q", f.Fix)
	}
	d.ended(exitUnavailable)
}

// silentPort returns the address of a port whose queue of connections is full: the
// kernel answers nobody there.
func silentPort(t *testing.T) string {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	name := &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}
	if err := errors.Join(unix.Bind(fd, name), unix.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	got, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	address := fmt.Sprintf("127.0.0.1:%d", got.(*unix.SockaddrInet4).Port)
	for {
		conn, err := net.DialTimeout("tcp", address, time.Second)
		if err != nil {
			return address
		}
		t.Cleanup(func() { conn.Close() })
	}
}
