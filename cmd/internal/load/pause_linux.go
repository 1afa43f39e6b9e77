package load

import (
	"time"

	"golang.org/x/sys/unix"
)

// pause sleeps in the kernel, whose timers are finer than those of the Go runtime.
func pause(d time.Duration) {
	ts := unix.NsecToTimespec(int64(d))
	_ = unix.Nanosleep(&ts, nil) // a signal may cut it short, and the caller looks at the clock
}
