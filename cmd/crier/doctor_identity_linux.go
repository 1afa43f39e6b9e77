package main

import (
	"fmt"
	"os"
	"regexp"
	"strings"

	"crier.local/provider"
)

// The namespaces that a machine starts with have these names, everywhere.
const machinePIDs = "pid:[4026531836]"

// surround looks at where this process is.
func surround() surroundings {
	var s surroundings
	pids, err := os.Readlink("/proc/self/ns/pid")
	s.proc = err == nil
	s.hostProcesses = pids == machinePIDs
	if text, err := os.ReadFile("/proc/self/uid_map"); err == nil {
		s.users = parseUserMap(string(text), os.Getuid())
	}
	s.container = ownContainer()
	return s
}

// parseUserMap reads lines of a first uid here, the first outside, and how many.
func parseUserMap(text string, uid int) userMap {
	var m userMap
	for line := range strings.Lines(text) {
		var inside, outside, length uint64
		if _, err := fmt.Sscan(line, &inside, &outside, &length); err != nil {
			continue
		}
		m.full = m.full || inside == 0 && outside == 0 && length == 1<<32-1
		if here := uint64(uid); here >= inside && here < inside+length && inside != outside {
			there := uint32(outside + here - inside)
			m.outside = &there
		}
	}
	return m
}

// ownContainer returns the id of the container that this process is in, as far as its
// cgroup, or the files that Docker and its kin mount, tell; else nothing.
func ownContainer() string {
	if cgroups, err := os.ReadFile("/proc/self/cgroup"); err == nil {
		if id := provider.ContainerIn(cgroups); id != "" {
			return id
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return ""
	}
	id := regexp.MustCompile(`/(?:overlay-)?containers/([0-9a-f]{64})/\S* /etc/(?:hostname|hosts|resolv\.conf) `).FindSubmatch(mounts)
	if id == nil {
		return ""
	}
	return string(id[1])
}
