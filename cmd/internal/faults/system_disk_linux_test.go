package faults_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"crier.local/api"
	"crier.local/cmd/internal/faults"
)

// misconfigured is the exit code for what an operator has to mend.
const misconfigured = 78

// smallDisk mounts a tiny file system, in a mount namespace that only this
// goroutine and the processes that it starts see, and makes it the place of
// temporary files. It skips the test where that is not permitted.
func smallDisk(t *testing.T) (dir string) {
	t.Helper()
	dir = shortDir(t)
	runtime.LockOSThread() // for good: the thread ends with the goroutine
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		t.Skip("cannot have a mount namespace: ", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Skip("cannot keep mounts private: ", err)
	}
	if err := unix.Mount("crier-faults", dir, "tmpfs", 0, "size=512k,nr_inodes=128,mode=700"); err != nil {
		t.Skip("cannot mount: ", err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) }) // on another thread, where there is nothing
	t.Setenv("TMPDIR", dir)
	return dir
}

// fill fills a disk with bytes; free removes them.
func (s *scene) fill(dir string) (free func()) {
	s.t.Helper()
	path := filepath.Join(dir, "filler")
	file, err := os.Create(path)
	s.must(err)
	defer file.Close()
	for err == nil {
		_, err = file.Write(make([]byte, 4096))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		s.must(err)
	}
	return func() { s.must(os.Remove(path)) }
}

// clutter leaves a disk without room for another file; clear makes room.
func (s *scene) clutter(dir string) (clear func()) {
	s.t.Helper()
	heap := filepath.Join(dir, "heap")
	err := os.Mkdir(heap, 0o700)
	for i := 0; err == nil; i++ {
		err = os.WriteFile(filepath.Join(heap, fmt.Sprint(i)), nil, 0o600)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		s.must(err)
	}
	return func() { s.must(os.RemoveAll(heap)) }
}

// onSmallDisk plays a scenario on a disk of its own.
func onSmallDisk(t *testing.T, scenario, transport string, play func(s *scene, disk string)) {
	t.Run(transport, func(t *testing.T) {
		crier(t) // is built elsewhere
		disk := smallDisk(t)
		s := newScene(t, scenario, faults.Setup{Transport: transport})
		play(s, disk)
		s.check()
	})
}

// TestDiskFills fills the disk of the run directory while a provider runs.
func TestDiskFills(t *testing.T) {
	for _, transport := range []string{faults.TransportUnix, faults.TransportTLS} {
		onSmallDisk(t, "disk full while running", transport, func(s *scene, disk string) {
			s.witness("r")
			s.talkers("r")
			late := s.actor() // has not attached yet
			free := s.fill(disk)
			clear := s.clutter(disk)
			took := s.served()
			s.connect(late, "late", "room=r")
			s.sends(late, "late")
			free()
			clear()
			s.n, s.recovery = 1, append(s.recovery, took)
			s.note = "nobody notices"
		})
	}
}

// TestDiskFullAtStart starts a provider where there is no room, which its socket
// does not take: it only cannot be announced, until there is.
func TestDiskFullAtStart(t *testing.T) {
	onSmallDisk(t, "disk full at the start", faults.TransportUnix, func(s *scene, disk string) {
		s.must(s.TermProvider(s.ctx))
		free := s.fill(disk)
		s.must(s.Start(s.ctx))
		s.served()
		s.witness("r")
		s.talkers("r")
		if s.logged("cannot announce the provider") == 0 {
			s.t.Error("no word about the announcement")
		}
		free()
		began := time.Now()
		s.poll(func() error {
			_, err := os.Stat(s.Address().Address + api.AnnouncementSuffix)
			return err
		})
		s.n, s.recovery = 1, append(s.recovery, time.Since(began))
		s.note = "works; announced as soon as there is room"
	})
}

// TestNoRoomForFiles starts a provider where not even a socket can be made.
func TestNoRoomForFiles(t *testing.T) {
	onSmallDisk(t, "no room for a file at the start", faults.TransportUnix, func(s *scene, disk string) {
		s.must(s.TermProvider(s.ctx))
		clear := s.clutter(disk)
		p, err := s.Server().Launch(s.ServeArgs()...)
		s.must(err)
		exit, _ := errors.AsType[*exec.ExitError](p.Reaped(s.ctx))
		if exit == nil || exit.ExitCode() != misconfigured || !strings.Contains(p.Words(), "no space left on device") {
			t.Errorf("%v, %q; want exit code %d and why", exit, p.Words(), misconfigured)
		}
		clear()
		s.must(s.Start(s.ctx))
		s.n, s.recovery = 1, append(s.recovery, s.served())
		s.note = fmt.Sprintf("exit code %d, with the reason", misconfigured)
	})
}

// TestLogOnFullDisk has the log go to a file on a disk that fills, and is freed.
func TestLogOnFullDisk(t *testing.T) {
	onSmallDisk(t, "log file on a full disk", faults.TransportUnix, func(s *scene, disk string) {
		s.must(s.TermProvider(s.ctx))
		log := filepath.Join(disk, "log")
		server := s.Server()
		server.Wrap = []string{"sh", "-c", `log=$0; exec "$@" 2>>"$log"`, log}
		p, err := server.Launch(s.ServeArgs()...)
		s.must(err)
		defer p.Kill()
		s.served()
		free := s.fill(disk)
		for range 100 { // more than the last block has room for
			s.must(p.Signal(syscall.SIGUSR1))
			s.pass(statePace)
		}
		took := s.served()
		free()
		s.poll(func() error {
			s.must(p.Signal(syscall.SIGUSR1))
			text, err := os.ReadFile(log)
			if err == nil && !strings.Contains(string(text), "lines are lost here") {
				err = errors.New("nothing tells of the lines that are lost")
			}
			return err
		})
		s.must(p.Term())
		if err := p.Reaped(s.ctx); err != nil {
			t.Error("the provider's end: ", err)
		}
		s.must(s.Start(s.ctx)) // one that can be checked
		s.n, s.recovery, s.note = 1, append(s.recovery, took), "the lines lost are counted, once there is room"
	})
}
