package load

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// Clock tells the time of the host's monotonic clock, in nanoseconds: that of one
// process can be compared with that of another on the same host. It may be copied,
// and used concurrently.
type Clock struct {
	base   time.Time
	offset int64 // the host's time at base
}

// calibrations is how often the two clocks are compared; the closest counts.
const calibrations = 16

// NewClock compares this process's clock with the host's, once.
func NewClock() (Clock, error) {
	var c Clock
	closest := time.Hour
	for range calibrations {
		var host unix.Timespec
		before := time.Now()
		if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &host); err != nil {
			return Clock{}, fmt.Errorf("the host's clock: %w", err)
		}
		if took := time.Since(before); took < closest {
			closest = took
			c = Clock{base: before.Add(took / 2), offset: host.Nano()}
		}
	}
	return c, nil
}

// Now returns the time, which is above 0. It makes no system call.
func (c Clock) Now() int64 { return c.offset + int64(time.Since(c.base)) }

const (
	// pauseError is how late a pause may end, for the kernel's timers and the way to
	// a processor.
	pauseError = 120 * time.Microsecond
	// shortWait is a wait that is not worth burning that much of.
	shortWait = 500 * time.Microsecond
	// timerError is how late a timer of the Go runtime may fire, which counts in
	// milliseconds where nothing else keeps it awake.
	timerError = 2 * time.Millisecond
)

// Wait waits until Now is t, or returns ctx's error, which may take it 2 ms to notice.
// It is exact to a few microseconds, for which it burns the last tenth of a
// millisecond; waits of less than half a millisecond are only slept, and may end
// that late.
func (c Clock) Wait(ctx context.Context, t int64) error {
	left := func() time.Duration { return time.Duration(t - c.Now()) }
	exact := left() >= shortWait
	if long := left() - timerError; long > 0 {
		timer := time.NewTimer(long)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	runtime.Gosched() // to those who have something to do, while this thread is awake
	short := left()
	if exact {
		short -= pauseError
	}
	if short > 0 {
		pause(short)
	}
	for exact && left() > 0 {
		runtime.Gosched()
	}
	return ctx.Err()
}
