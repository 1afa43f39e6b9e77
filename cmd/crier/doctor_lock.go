package main

import (
	"fmt"
	"io/fs"
	"os"
	"slices"
)

const checkLock = "lock"

// locks tells of the lock of each socket. Providers take it before they listen,
// and the file stays for ever.
func (d *doctor) locks() {
	told := false
	for _, s := range d.sockets {
		if s.endpoint.Network == "unix" && (s.asked || s.announced != nil) {
			told = d.lock(s) || told
		}
	}
	if !told {
		d.skip(checkLock, "there is none to look at")
	}
}

// lock tells of the lock of s, if there is one.
func (d *doctor) lock(s *socketState) bool {
	path := s.endpoint.Address + ".lock"
	info, err := os.Lstat(path)
	switch {
	case err != nil && s.live():
		d.skip(checkLock, "%s: there is none; a provider that another program started, or systemd listens for, needs none", path)
		return true
	case err != nil:
		return false
	case info.Mode().Type() != 0:
		d.grave(checkLock, exitConfig, "remove it", details{"path": path}, "%s is %s; no provider can take it for its lock", path, kindOf(info))
		return true
	}
	pids, known := lockHolders(info)
	if !known || !locksTold(path) {
		d.skip(checkLock, "%s: the system does not tell who holds it", path)
		return true
	}
	d.held(s, path, info, pids)
	return true
}

// held tells whether those who hold the lock of s and those who listen are the same.
func (d *doctor) held(s *socketState, path string, info fs.FileInfo, pids []int) {
	more := details{"path": path, "holders": append([]int{}, pids...)}
	listens := int32(0) // nobody who can be seen
	if s.listener != nil {
		listens = s.listener.PID
	}
	switch {
	case s.dead() && len(pids) > 0:
		d.warn(checkLock, fmt.Sprintf("if it stays so, look at %s; the lock ends with who holds it", pidsText(pids)), more,
			"%s is held by %s, but nobody listens: a provider that starts, ends, or hangs", path, pidsText(pids))
	case s.dead():
		d.ok(checkLock, more, "%s is free, as far as processes can be seen here", path)
	case len(pids) == 0 && s.live() && listens > 0 && !adopted(listens):
		d.warn(checkLock, "start that provider again, before another one takes its address", more,
			"%s is held by nobody, though pid %d listens: somebody has replaced it, or opened the socket for the provider, which needs none then", path, listens)
	case len(pids) == 0:
		d.skip(checkLock, "%s: whoever holds it is in another pid namespace, and does not show here", path)
	case listens > 0 && !slices.Contains(pids, int(listens)) && !adopted(listens):
		d.warn(checkLock, "end one of the two", more, "%s is held by %s, but pid %d listens", path, pidsText(pids), listens)
	case adopted(listens):
		d.ok(checkLock, more, "%s is held by %s, for whom systemd listens", path, pidsText(pids))
	default:
		d.ok(checkLock, more, "%s is held by %s, who listens", path, pidsText(pids))
	}
}

// adopted reports whether a process listens for others, as systemd does.
func adopted(pid int32) bool { return commandOf(pid) == "systemd" }

func pidsText(pids []int) string {
	if len(pids) == 1 {
		return fmt.Sprintf("pid %d%s", pids[0], commandText(int32(pids[0])))
	}
	return "pids " + fmt.Sprint(pids)
}
