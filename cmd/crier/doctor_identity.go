package main

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
)

const checkIdentity = "identity"

// surroundings is what the system tells of where this process is.
type surroundings struct {
	proc          bool // /proc is there
	users         userMap
	hostProcesses bool   // the pid namespace is that of the machine
	container     string // its id; empty if the process is in none, or it does not show
}

// userMap says how the uids that this process sees relate to those outside.
type userMap struct {
	full bool // they are the same
	// outside is this process's uid there, if it has one and another one.
	outside *uint32
}

// identity tells as whom a provider sees this process.
func (d *doctor) identity() {
	uid, gid := os.Getuid(), os.Getgid()
	groups, err := os.Getgroups()
	if err != nil {
		groups = nil
	}
	slices.Sort(groups)
	groups = slices.DeleteFunc(slices.Compact(groups), func(g int) bool { return g == gid })
	s := surround()
	more := details{"uid": uid, "gid": gid, "groups": append([]int{}, groups...), "pid": os.Getpid(), "proc": s.proc}
	words := []string{fmt.Sprintf("uid %d, gid %d", uid, gid)}
	if len(groups) > 0 {
		words = append(words, "groups "+strings.Trim(strings.ReplaceAll(fmt.Sprint(groups), " ", ","), "[]"))
	}
	words = append(words, fmt.Sprintf("pid %d", os.Getpid()))
	if s.proc {
		words = append(words, s.words(more)...)
	}
	found := strings.Join(words, ", ")
	switch {
	case uid == unknownID && s.proc && !s.users.full:
		d.warn(checkIdentity, "run it as a uid that the namespace maps, or let the provider admit a group: crier serve --allow-gid",
			more, "%s; no provider admits that uid, which stands for whoever has none here", found)
	case !s.proc && runtime.GOOS == "linux":
		d.warn(checkIdentity, "mount proc on /proc", more,
			"%s; /proc is not mounted, so that namespaces, locks and limits cannot be seen", found)
	default:
		d.ok(checkIdentity, more, "%s", found)
	}
}

// words says where this process is, and adds it to more.
func (s surroundings) words(more details) []string {
	var words []string
	more["pid_namespace_of_host"], more["user_map_full"] = s.hostProcesses, s.users.full
	if s.hostProcesses {
		words = append(words, "the machine's pids")
	} else {
		words = append(words, "a pid namespace of its own")
	}
	switch {
	case s.users.full:
		words = append(words, "the machine's uids")
	case s.users.outside != nil:
		more["uid_outside"] = *s.users.outside
		words = append(words, fmt.Sprintf("a user namespace, outside of which this is uid %d", *s.users.outside))
	default:
		words = append(words, "a user namespace that maps part of the uids")
	}
	if s.container == "" {
		return append(words, "no container")
	}
	more["container"] = s.container
	return append(words, "container "+s.container[:min(12, len(s.container))])
}
