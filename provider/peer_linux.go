package provider

import (
	"fmt"
	"net"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"crier.local/api"
)

// peerIdentity returns what the kernel recorded about the process that called
// connect(2) for the other end of c.
func peerIdentity(c *net.UnixConn) (api.Identity, error) {
	var id api.Identity
	err := onSocket(c, func(fd int) error {
		cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
		if err != nil {
			return err
		}
		id = api.Identity{UID: cred.Uid, GID: cred.Gid, PID: cred.Pid}
		id.Groups, err = peerGroups(fd)
		return err
	})
	if err != nil {
		return api.Identity{}, fmt.Errorf("peer credentials: %w", err)
	}
	return id, nil
}

// peerGroups reads SO_PEERGROUPS, for which x/sys has no function. A kernel
// without it (before 4.13) leaves the primary group alone to be matched.
func peerGroups(fd int) ([]uint32, error) {
	groups := make([]uint32, 32)
	for {
		size := uint32(4 * len(groups))
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_PEERGROUPS,
			uintptr(unsafe.Pointer(&groups[0])), uintptr(unsafe.Pointer(&size)), 0)
		switch errno {
		case 0:
			return groups[:size/4], nil
		case unix.ERANGE: // size says how much is needed
			groups = make([]uint32, size/4)
		case unix.ENOPROTOOPT:
			return nil, nil
		default:
			return nil, errno
		}
	}
}

// watchPeer calls died once the process at the other end of c has ended, even if
// another process inherited the socket and keeps it open. The process is the one
// that called connect(2). stop ends the watch; died is not running any more then.
// A kernel without SO_PEERPIDFD (before 6.5) watches nothing.
func watchPeer(v *vigil, c *net.UnixConn, died func()) (stop func(), err error) {
	pidfd, err := peerPidfd(c)
	switch err {
	case nil:
		if stop, err = v.watch(pidfd, died); err == nil {
			return stop, nil
		}
		return nil, fmt.Errorf("%w: cannot watch the process: %w", api.ErrTooMany, err)
	case unix.ESRCH: // it has ended, and is waited for already
		died()
	case unix.ENOPROTOOPT, unix.EINVAL, unix.ENODATA: // an older kernel, or nobody to watch
	default:
		return nil, fmt.Errorf("%w: cannot watch the process: %w", api.ErrTooMany, err)
	}
	return func() {}, nil
}

// peerPidfd returns a pidfd of the process at the other end of c.
func peerPidfd(c *net.UnixConn) (pidfd int, err error) {
	err = onSocket(c, func(fd int) (err error) {
		pidfd, err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PEERPIDFD)
		return err
	})
	return pidfd, err
}

// watchProcess calls died once the process pid has ended.
func watchProcess(pid int, died func()) (stop func()) {
	pidfd, err := unix.PidfdOpen(pid, 0)
	switch err {
	case nil:
		if stop, err := new(vigil).watch(pidfd, died); err == nil {
			return stop
		}
	case unix.ESRCH:
		died()
	}
	return func() {}
}

// fullIdentityMap reports whether this process sees every user as it is, so
// that 65534 is a user and not one whom the kernel cannot show.
func fullIdentityMap() bool {
	text, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return false
	}
	var inside, outside, length uint64
	n, err := fmt.Sscan(string(text), &inside, &outside, &length)
	return err == nil && n == 3 && inside == 0 && outside == 0 && length == 1<<32-1
}
