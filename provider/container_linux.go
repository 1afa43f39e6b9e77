package provider

import (
	"bytes"
	"net"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// census finds out where the processes on this host run. It looks at one at a time, so
// that thousands who attach at once leave no garbage behind. The zero census is ready.
type census struct {
	mu   sync.Mutex
	room [4096]byte // for a file of /proc; half of it suffices for cgroups of version 1
}

// containerOf returns the id of the container in which the process is that called
// connect(2) for the other end of c, as its cgroup tells; nothing if it is in none,
// has ended, or cannot be seen from here.
//
// A provider sees the processes of its own pid namespace and of those below: on the
// host all of them, in a container its own and those that share its pid namespace.
// Of the others the kernel tells nothing (Linux 6.18): their pid is 0, by the pidfd
// too, and asked for more than that a pidfd answers EREMOTE, or EACCES.
func (s *census) containerOf(c *net.UnixConn) string {
	pidfd, err := peerPidfd(c)
	if err != nil {
		return ""
	}
	defer unix.Close(pidfd)
	s.mu.Lock()
	defer s.mu.Unlock()
	cgroups := s.read(strconv.Itoa(s.number(pidfd)) + "/cgroup")
	if hasEnded(int32(pidfd)) { // its number may be another's by now
		return ""
	}
	return containerIn(cgroups)
}

// number returns the number of a process in /proc, which is its pid unless what is
// mounted there is another pid namespace's; 0 or less if it is not there.
func (s *census) number(pidfd int) int {
	_, after, _ := bytes.Cut(s.read("self/fdinfo/"+strconv.Itoa(pidfd)), []byte("\nPid:"))
	line, _, _ := bytes.Cut(after, []byte("\n"))
	number, _ := strconv.Atoi(string(bytes.TrimSpace(line)))
	return number
}

// read returns the start of a file in /proc, valid until the next one is read; nothing
// if it cannot be read.
func (s *census) read(name string) []byte {
	fd, err := unix.Open("/proc/"+name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	n, err := unix.Read(fd, s.room[:])
	if err != nil {
		return nil
	}
	return s.room[:n]
}

// containerIn returns the id that a process's cgroups name, in the text of
// /proc/PID/cgroup: of containers within each other the innermost one's.
func containerIn(cgroups []byte) string {
	for line := range bytes.Lines(cgroups) { // NUMBER:CONTROLLERS:/PATH, one per hierarchy
		path := bytes.TrimSuffix(line, []byte("\n"))
		for slash := bytes.LastIndexByte(path, '/'); slash >= 0; slash = bytes.LastIndexByte(path, '/') {
			if id := containerID(string(path[slash+1:])); id != "" {
				return strings.Clone(id) // without what is around it
			}
			path = path[:slash]
		}
	}
	return ""
}

// containerID returns the id in the name of a container's cgroup: ID, or as systemd
// has it docker-ID.scope, cri-containerd-ID.scope and so on. The process that looks
// after a container of podman's or CRI-O's, conmon, is not in it.
func containerID(name string) string {
	const digits = 64
	name = strings.TrimSuffix(name, ".scope")
	start := len(name) - digits
	if start < 0 || strings.Trim(name[start:], "0123456789abcdef") != "" {
		return ""
	}
	of := name[:start]
	if of != "" && !strings.HasSuffix(of, "-") && !strings.HasSuffix(of, ":") || strings.HasSuffix(of, "conmon-") {
		return ""
	}
	return name[start:]
}
