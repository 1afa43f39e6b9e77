package main

import (
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// fileMounts returns the places on which something is mounted.
func fileMounts() map[string]mountPoint {
	mounts := map[string]mountPoint{}
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return mounts
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 4 {
			mounts[mountText(f[4])] = mountPoint{is: true, deleted: strings.HasSuffix(f[3], "//deleted")}
		}
	}
	return mounts
}

// mountText undoes how mountinfo writes what would part its fields.
func mountText(field string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(field)
}

// lockHolders returns the pids of those who hold a lock by flock(2) on a file, as
// far as they are of this pid namespace. It takes no lock for that: a provider
// that starts at that moment would find it taken, and give up. known is false if
// the kernel does not tell.
func lockHolders(file fs.FileInfo) (pids []int, known bool) {
	text, err := os.ReadFile("/proc/locks")
	stat, ok := file.Sys().(*syscall.Stat_t)
	if err != nil || !ok {
		return nil, false
	}
	id := fmt.Sprintf("%02x:%02x:%d", unix.Major(stat.Dev), unix.Minor(stat.Dev), stat.Ino)
	for line := range strings.Lines(string(text)) {
		// 1: FLOCK  ADVISORY  WRITE 1376 fe:00:762137 0 EOF
		f := strings.Fields(line)
		if len(f) < 6 || f[1] != "FLOCK" || f[5] != id {
			continue
		}
		if pid, err := strconv.Atoi(f[4]); err == nil && !slices.Contains(pids, pid) {
			pids = append(pids, pid)
		}
	}
	return pids, true
}

// locksTold reports whether /proc/locks gives files of the file system at path the
// numbers that stat(2) gives them.
func locksTold(path string) bool {
	var s unix.Statfs_t
	if unix.Statfs(path, &s) != nil {
		return false
	}
	switch s.Type {
	case unix.BTRFS_SUPER_MAGIC, unix.OVERLAYFS_SUPER_MAGIC, unix.FUSE_SUPER_MAGIC:
		return false
	}
	return true
}

// stopped reports whether a process is stopped, as by SIGSTOP.
func stopped(pid int32) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, ok := strings.Cut(string(text), ") ") // the name may hold anything but rarely this
	return ok && (strings.HasPrefix(rest, "T") || strings.HasPrefix(rest, "t"))
}

// openFilesOf returns the soft limit of descriptors of another process, if it can
// be read.
func openFilesOf(pid int32) (int, bool) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", pid))
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "Max open files"); ok {
			if f := strings.Fields(rest); len(f) > 0 {
				n, err := strconv.Atoi(f[0])
				return n, err == nil
			}
		}
	}
	return 0, false
}
