package provider

import (
	"io/fs"
	"math"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// MemoryLimit returns how many bytes of memory the cgroups of this process allow
// it, 0 if none of them limits it to less than the machine has. It counts what
// the cgroups allow now, does not block, and knows versions 1 and 2.
func MemoryLimit() int64 {
	limit := cgroupLimit(os.DirFS("/"))
	var machine unix.Sysinfo_t
	if err := unix.Sysinfo(&machine); err == nil && uint64(limit) >= uint64(machine.Totalram)*uint64(machine.Unit) {
		return 0
	}
	if limit == math.MaxInt64 {
		return 0
	}
	return limit
}

// cgroupLimit returns the tightest limit of the memory of the process's cgroups.
func cgroupLimit(root fs.FS) int64 {
	return tightest(root, memoryController, []string{"memory.max", "memory.high"}, []string{"memory.limit_in_bytes"})
}

// tightest returns the smallest limit in the files, which versions 2 and 1 name
// differently, of a controller's cgroup of this process, and of those that it is
// in, as far as they can be seen. It is [math.MaxInt64] if there is none.
func tightest(root fs.FS, controller string, version2, version1 []string) int64 {
	limit := int64(math.MaxInt64)
	own := cgroupPaths(root, controller)
	for _, m := range cgroupMounts(root, controller) {
		files := version2
		if m.controller != "" {
			files = version1
		}
		for _, dir := range m.dirs(own[m.controller]) {
			for _, file := range files {
				limit = min(limit, readLimit(root, path.Join(dir, file)))
			}
		}
	}
	return limit
}

// readLimit returns the number in a file; a "max", or no file, is no limit.
func readLimit(root fs.FS, file string) int64 {
	text, err := fs.ReadFile(root, file)
	if err != nil {
		return math.MaxInt64
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return math.MaxInt64
	}
	return n
}

// memoryController is what cgroups of version 1 call it. Version 2 has one
// hierarchy for all controllers, whose name is "".
const memoryController = "memory"

// cgroupPaths returns in which cgroup of version 2, and of the controller's
// hierarchy of version 1, this process is, from
// lines such as 4:memory:/system.slice/crier.service and 0::/user.slice.
func cgroupPaths(root fs.FS, controller string) map[string]string {
	paths := map[string]string{}
	for line := range fileLines(root, "proc/self/cgroup") {
		f := strings.SplitN(line, ":", 3)
		switch {
		case len(f) < 3:
		case f[1] == "":
			paths[""] = f[2]
		case slices.Contains(strings.Split(f[1], ","), controller):
			paths[controller] = f[2]
		}
	}
	return paths
}

// cgroupMount is a place at which a hierarchy can be seen, from its cgroup top on:
// in a container that is often the container's own.
type cgroupMount struct {
	controller string
	top        string
	point      string
}

// cgroupMounts reads lines such as
//
//	31 23 0:28 /docker/1a2b /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory
func cgroupMounts(root fs.FS, controller string) []cgroupMount {
	var mounts []cgroupMount
	for line := range fileLines(root, "proc/self/mountinfo") {
		place, kind, _ := strings.Cut(line, " - ")
		p, k := strings.Fields(place), strings.Fields(kind)
		if len(p) < 5 || len(k) < 3 {
			continue
		}
		switch m := (cgroupMount{top: p[3], point: p[4]}); {
		case k[0] == "cgroup2":
			mounts = append(mounts, m)
		case k[0] == "cgroup" && slices.Contains(strings.Split(k[2], ","), controller):
			m.controller = controller
			mounts = append(mounts, m)
		}
	}
	return mounts
}

// dirs returns the directories of the cgroup own and of those that it is in, as
// paths of an [fs.FS]. A cgroup that is not below the mount's top is one that a
// container does not see by its name: then the top is its own.
func (m cgroupMount) dirs(own string) []string {
	below, found := strings.CutPrefix(own, strings.TrimSuffix(m.top, "/"))
	if !found || below != "" && below[0] != '/' || strings.Contains(own, "..") {
		below = ""
	}
	point := strings.TrimPrefix(m.point, "/")
	dirs := []string{point}
	for b := path.Clean("/" + below); b != "/"; b = path.Dir(b) {
		dirs = append(dirs, point+b)
	}
	return dirs
}

// fileLines returns the lines of a file, none if it cannot be read.
func fileLines(root fs.FS, file string) func(yield func(string) bool) {
	text, _ := fs.ReadFile(root, file)
	return func(yield func(string) bool) {
		for line := range strings.Lines(string(text)) {
			if !yield(strings.TrimSuffix(line, "\n")) {
				return
			}
		}
	}
}
