//go:build !linux

package main

import (
	"io/fs"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

const checkKernel = "kernel"

// kernel says that this is no Linux.
func (d *doctor) kernel() {
	d.skip(checkKernel, "%s, not Linux: a child process that inherited the socket keeps its dead parent in the room, and there are no containers or cgroups to look at", runtime.GOOS)
}

// What only Linux tells of is not known: namespaces, what is mounted on a file, who
// holds a lock, and what another process does and has.
func surround() surroundings                           { return surroundings{} }
func fileMounts() map[string]mountPoint                { return nil }
func lockHolders(fs.FileInfo) (pids []int, known bool) { return nil, false }
func locksTold(string) bool                            { return false }
func stopped(int32) bool                               { return false }
func openFilesOf(int32) (int, bool)                    { return 0, false }

// volumeOf returns the file system that a file, at path, is on.
func volumeOf(path string, file fs.FileInfo) (volume, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(path, &s); err != nil {
		return volume{}, err
	}
	v := volume{
		kind: "a local file system", bounded: s.Blocks > 0, free: s.Bavail * uint64(s.Bsize), counted: s.Files > 0, files: s.Ffree,
	}
	if stat, ok := file.Sys().(*syscall.Stat_t); ok {
		v.device = uint64(stat.Dev)
	}
	return v, nil
}
