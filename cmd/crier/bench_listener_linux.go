package main

import (
	"net"

	"golang.org/x/sys/unix"

	"crier.local/api"
)

// listenerOf returns the pid of the process that listens on a unix socket, 0 if it
// cannot be known here.
func listenerOf(e api.Endpoint) (pid int) {
	if e.Network != "unix" {
		return 0
	}
	c, err := net.Dial(e.Network, e.Address)
	if err != nil {
		return 0
	}
	defer c.Close()
	raw, err := c.(*net.UnixConn).SyscallConn()
	if err != nil {
		return 0
	}
	_ = raw.Control(func(fd uintptr) {
		if peer, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pid = int(peer.Pid)
		}
	})
	return pid
}
