package main

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

const checkKernel = "kernel"

// feature is something of the kernel that Crier makes use of.
type feature struct {
	name  string
	err   error
	since string
	loss  string // what Crier does without
}

// kernel tells what the kernel can tell of processes.
func (d *doctor) kernel() {
	var name unix.Utsname
	release := "unknown"
	if unix.Uname(&name) == nil {
		release = unix.ByteSliceToString(name.Release[:])
	}
	features, err := kernelFeatures()
	if err != nil {
		d.skip(checkKernel, "Linux %s; it cannot be tried out: %v", release, err)
		return
	}
	more, has := details{"release": release}, []string{}
	for _, f := range features {
		more[strings.ToLower(f.name)] = f.err == nil
		if f.err == nil {
			has = append(has, f.name)
		}
	}
	if len(has) == len(features) {
		d.ok(checkKernel, more, "Linux %s has %s", release, strings.Join(has, ", "))
		return
	}
	for _, f := range features {
		if f.err != nil {
			d.warn(checkKernel, fmt.Sprintf("Linux %s or newer has it; in a container, its seccomp profile has to let it through", f.since),
				more, "Linux %s: no %s here (%v): %s", release, f.name, f.err, f.loss)
		}
	}
}

// kernelFeatures tries what Crier uses, between two sockets of its own.
func kernelFeatures() ([]feature, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	defer unix.Close(pair[0])
	defer unix.Close(pair[1])
	peer, peerErr := unix.GetsockoptInt(pair[0], unix.SOL_SOCKET, unix.SO_PEERPIDFD)
	if peerErr == nil {
		unix.Close(peer)
	}
	own, ownErr := unix.PidfdOpen(os.Getpid(), 0)
	if ownErr == nil {
		unix.Close(own)
	}
	_, groupsErr := unix.GetsockoptString(pair[0], unix.SOL_SOCKET, unix.SO_PEERGROUPS)
	if groupsErr == unix.ERANGE { // there are more than a string holds
		groupsErr = nil
	}
	return []feature{
		{"SO_PEERPIDFD", peerErr, "6.5", "a child process that inherited the socket keeps its dead parent in the room"},
		{"pidfd_open", ownErr, "5.3", "a spawned provider does not notice that the program that started it was killed"},
		{"SO_PEERGROUPS", groupsErr, "4.13", "--allow-gid counts for primary groups alone"},
	}, nil
}
