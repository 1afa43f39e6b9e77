package faults

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"

	"golang.org/x/sys/unix"
)

// heirTime is how many seconds a process lives that an actor leaves behind, if
// nobody ends it before.
const heirTime = "120"

// fork leaves a process behind that has inherited the sockets of this one.
func (t *troupe) fork(order) error {
	pid, err := bequeath()
	if err != nil {
		t.out.record(Record{At: AtSaid, Error: err.Error()})
		return nil
	}
	t.out.record(Record{At: AtSaid, Reason: "forked", Count: uint64(pid)})
	return nil
}

func bequeath() (int, error) {
	sockets, err := ownSockets()
	if err != nil {
		return 0, err
	}
	heir := exec.Command("sleep", heirTime)
	heir.ExtraFiles = sockets
	if err := heir.Start(); err != nil {
		return 0, err
	}
	for _, s := range sockets {
		s.Close()
	}
	go func() { _ = heir.Wait() }() // if it does not outlive this process after all
	return heir.Process.Pid, nil
}

// ownSockets returns copies of the sockets that this process has open.
func ownSockets() ([]*os.File, error) {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return nil, err
	}
	var sockets []*os.File
	for _, entry := range entries {
		fd, _ := strconv.Atoi(entry.Name())
		var stat unix.Stat_t
		if unix.Fstat(fd, &stat) != nil || stat.Mode&unix.S_IFMT != unix.S_IFSOCK {
			continue
		}
		copied, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return nil, fmt.Errorf("copy descriptor %d: %w", fd, err)
		}
		sockets = append(sockets, os.NewFile(uintptr(copied), "socket"))
	}
	if len(sockets) == 0 {
		return nil, errors.New("no socket is open")
	}
	return sockets, nil
}
