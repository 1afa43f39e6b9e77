package main

import (
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// volumeOf returns the file system that a file, at path, is on.
func volumeOf(path string, file fs.FileInfo) (volume, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(path, &s); err != nil {
		return volume{}, err
	}
	kind, remote := volumeKind(uint32(s.Type))
	device := deviceNumber(file)
	if s.Type == unix.FUSE_SUPER_MAGIC {
		kind = fuseKind(device)
		remote = !strings.HasSuffix(kind, "overlayfs") && kind != "fuse"
	}
	return volume{
		device: device, kind: kind, remote: remote, readOnly: s.Flags&unix.ST_RDONLY != 0,
		bounded: s.Blocks > 0, free: s.Bavail * uint64(s.Bsize),
		counted: s.Files > 0 && s.Type != unix.BTRFS_SUPER_MAGIC, files: s.Ffree,
	}, nil
}

// volumeKinds names kinds of file systems.
var volumeKinds = map[uint32]string{
	unix.TMPFS_MAGIC: "tmpfs", unix.RAMFS_MAGIC: "ramfs", unix.OVERLAYFS_SUPER_MAGIC: "overlayfs",
	unix.EXT4_SUPER_MAGIC: "ext4", unix.XFS_SUPER_MAGIC: "xfs", unix.BTRFS_SUPER_MAGIC: "btrfs", 0x2fc12fc1: "zfs",
	unix.NFS_SUPER_MAGIC: "nfs", unix.SMB_SUPER_MAGIC: "cifs", unix.SMB2_SUPER_MAGIC: "cifs", 0xff534d42: "cifs", unix.V9FS_MAGIC: "9p",
}

// volumeKind names a kind of file system, and tells whether its files are those of
// another machine, maybe the one that a virtual machine is on.
func volumeKind(magic uint32) (name string, remote bool) {
	name, known := volumeKinds[magic]
	if !known {
		return fmt.Sprintf("a file system of kind %#x", magic), false
	}
	return name, slices.Contains([]string{"nfs", "cifs", "9p"}, name)
}

// fuseKind returns the kind of a file system that a program serves, as in virtiofs,
// fuse.sshfs or fuse.fuse-overlayfs; fuse if that does not show.
func fuseKind(device uint64) string {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "fuse"
	}
	id := fmt.Sprintf("%d:%d", unix.Major(device), unix.Minor(device))
	for line := range strings.Lines(string(text)) {
		place, kind, _ := strings.Cut(line, " - ")
		p, k := strings.Fields(place), strings.Fields(kind)
		if len(p) > 2 && len(k) > 0 && p[2] == id {
			return k[0]
		}
	}
	return "fuse"
}

func deviceNumber(info fs.FileInfo) uint64 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return stat.Dev
	}
	return 0
}
