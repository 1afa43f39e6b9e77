package provider

import (
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// vigil watches processes, by their pidfds, with one goroutine for all: thousands
// of clients that do nothing cost none each. Nothing wakes up before one ends. The
// zero vigil is ready; its goroutine lasts while there is somebody to be watched.
type vigil struct {
	mu      sync.Mutex
	epoll   *os.File // nil while nobody is watched
	watched map[int32]*watched
}

// watched is a process. The vigil's lock guards it.
type watched struct {
	died func()
	told chan struct{} // closed once died has returned; nil before it is called
}

// watch calls died, once, when the process of pidfd has ended; it must not call
// stop. stop ends the watch; died is not running any more then. The vigil takes over
// pidfd.
func (v *vigil) watch(pidfd int, died func()) (stop func(), err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.epoll == nil {
		if err := v.begin(); err != nil {
			unix.Close(pidfd)
			return nil, err
		}
	}
	w := &watched{died: died}
	v.watched[int32(pidfd)] = w
	if err := v.control(unix.EPOLL_CTL_ADD, pidfd); err != nil {
		v.forgetLocked(pidfd)
		return nil, err
	}
	return func() { v.stop(pidfd, w) }, nil
}

// begin starts the goroutine, which waits in the runtime's poller for epoll, since
// a blocked epoll_wait would hold a thread.
func (v *vigil) begin() error {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("epoll_create1", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // else os.NewFile does not poll it
		unix.Close(fd)
		return os.NewSyscallError("fcntl", err)
	}
	file := os.NewFile(uintptr(fd), "epoll")
	raw, err := file.SyscallConn()
	if err != nil {
		file.Close()
		return err
	}
	v.epoll, v.watched = file, map[int32]*watched{}
	go func() {
		events := make([]unix.EpollEvent, 16)
		for n := 0; raw.Read(func(fd uintptr) bool { n = ended(int(fd), events); return n > 0 }) == nil; {
			for _, e := range events[:n] {
				v.tell(file, e.Fd)
			}
		}
	}()
	return nil
}

// ended fills in those that have ended, and returns how many these are.
func ended(epoll int, events []unix.EpollEvent) int {
	for {
		n, err := unix.EpollWait(epoll, events, 0)
		if err != unix.EINTR {
			return max(0, n)
		}
	}
}

// control calls epoll_ctl. Each process is told of once.
func (v *vigil) control(op, pidfd int) error {
	raw, err := v.epoll.SyscallConn()
	if err != nil {
		return err
	}
	event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLONESHOT, Fd: int32(pidfd)}
	if failed := raw.Control(func(fd uintptr) { err = unix.EpollCtl(int(fd), op, pidfd, &event) }); failed != nil {
		return failed
	}
	return os.NewSyscallError("epoll_ctl", err)
}

func (v *vigil) tell(epoll *os.File, pidfd int32) {
	v.mu.Lock()
	w := v.watched[pidfd]
	if v.epoll != epoll || w == nil || w.told != nil || !hasEnded(pidfd) { // the number may be another's by now
		v.mu.Unlock()
		return
	}
	w.told = make(chan struct{})
	v.mu.Unlock()
	defer close(w.told)
	w.died()
}

// hasEnded reports whether a pidfd is readable, that is its process a zombie or gone.
func hasEnded(pidfd int32) bool {
	fds := []unix.PollFd{{Fd: pidfd, Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, 0)
		if err != unix.EINTR {
			return n > 0
		}
	}
}

func (v *vigil) stop(pidfd int, w *watched) {
	v.mu.Lock()
	if v.watched[int32(pidfd)] == w {
		v.forgetLocked(pidfd)
	}
	told := w.told
	v.mu.Unlock()
	if told != nil {
		<-told
	}
}

// forgetLocked closes pidfd, by which epoll forgets it, and ends the goroutine
// after the last.
func (v *vigil) forgetLocked(pidfd int) {
	delete(v.watched, int32(pidfd))
	unix.Close(pidfd)
	if len(v.watched) == 0 {
		v.epoll.Close()
		v.epoll = nil
	}
}
