package main

import (
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

func holdThread() { runtime.LockOSThread() }

// sleepUntil sleeps until the host's monotonic clock says t, in nanoseconds. Other
// than Go's timers it is exact to some 30 µs: the thread, whichever it is, asks not to
// be woken up to 50 µs later than need be. Interruptions end it early.
func sleepUntil(t int64) {
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
	at := unix.NsecToTimespec(t)
	_ = unix.ClockNanosleep(unix.CLOCK_MONOTONIC, unix.TIMER_ABSTIME, &at, nil)
}
