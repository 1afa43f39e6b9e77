package deploy

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// watchEnd sends when a container's process has ended, as the kernel says. It
// returns nil if the process cannot be seen: with an engine on another host, or in
// a virtual machine, or if this user may not.
func watchEnd(pid int) <-chan time.Time {
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil || filepath.Base(exe) != "crier" {
		return nil
	}
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil
	}
	ended := make(chan time.Time, 1)
	go func() {
		defer unix.Close(pidfd)
		for {
			_, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, -1)
			if err != unix.EINTR {
				ended <- time.Now()
				return
			}
		}
	}()
	return ended
}
