package main

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// warnBarred tells of those who are admitted, but cannot enter dir, in which the
// socket is.
func (s *server) warnBarred(dir string) {
	for _, uid := range s.uids {
		s.warn(dir, fmt.Sprintf("uid %d", uid), func(mode uint32, info *syscall.Stat_t) bool {
			// Who is in the group is not known here.
			return uid == 0 || mode&0o011 != 0 || info.Uid == uid && mode&0o100 != 0
		})
	}
	for _, gid := range s.gids {
		s.warn(dir, fmt.Sprintf("gid %d", gid), func(mode uint32, info *syscall.Stat_t) bool {
			return mode&0o001 != 0 || info.Gid == gid && mode&0o010 != 0
		})
	}
}

// warn tells that who cannot enter dir, if a directory on the way there does not
// let them in.
func (s *server) warn(dir, who string, enters func(mode uint32, info *syscall.Stat_t) bool) {
	for at := dir; ; at = filepath.Dir(at) {
		info, err := os.Stat(at)
		if err != nil {
			return
		}
		if stat, ok := info.Sys().(*syscall.Stat_t); ok && !enters(uint32(info.Mode().Perm()), stat) {
			s.p.note("%s is admitted, but cannot enter %s (mode %04o)", who, at, info.Mode().Perm())
			s.p.note("prepare a directory that they may enter and name it with --address or --run-dir, or let the first --allow-gid be theirs")
			return
		}
		if at == filepath.Dir(at) {
			return
		}
	}
}
