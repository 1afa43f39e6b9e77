package main

import (
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// watchReader calls gone if f is a pipe or a socket and its reading end is
// closed. release ends the watch and waits for it.
func watchReader(f *os.File, gone func()) (release func()) {
	info, err := f.Stat()
	if err != nil || info.Mode()&(os.ModeNamedPipe|os.ModeSocket) == 0 {
		return func() {}
	}
	wakeRead, wake, err := os.Pipe()
	if err != nil {
		return func() {} // then the next write finds out
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer wakeRead.Close()
		fds := []unix.PollFd{{Fd: int32(f.Fd())}, {Fd: int32(wakeRead.Fd())}}
		for {
			if _, err := unix.Poll(fds, -1); err == unix.EINTR {
				continue
			}
			if fds[0].Revents != 0 && fds[1].Revents == 0 {
				gone()
			}
			return
		}
	}()
	return sync.OnceFunc(func() {
		wake.Close()
		<-done
	})
}
