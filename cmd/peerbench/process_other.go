//go:build !linux

package main

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func dieWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{} }

func holdThread() {}

// sleepUntil sleeps until the host's monotonic clock says t, in nanoseconds.
func sleepUntil(t int64) {
	var now unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) == nil {
		time.Sleep(time.Duration(t - now.Nano()))
	}
}
