package main

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// cpuTime returns the CPU time, user and system, that a process has taken, to the
// nanosecond.
func cpuTime(pid int) (time.Duration, error) {
	// This is what clock_getcpuclockid(3) makes of a pid.
	const processClock = 2
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|processClock), &t); err != nil {
		return 0, fmt.Errorf("CPU time of %d: %w", pid, err)
	}
	return time.Duration(t.Nano()), nil
}

// residentBytes returns the memory of a process: its own, and its share of what it
// has in common with others (PSS).
func residentBytes(pid int) (int64, error) {
	kilobytes, err := field(fmt.Sprintf("/proc/%d/smaps_rollup", pid), "Pss:")
	return kilobytes << 10, err
}

// wakeUps returns how often the threads of a process have been put on a processor
// after they had waited.
func wakeUps(pid int) (int64, error) {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil {
		return 0, err
	}
	sum := int64(0)
	for _, status := range tasks {
		n, err := field(status, "voluntary_ctxt_switches:")
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

// field returns the number behind a word in a file of /proc.
func field(path, word string) (n int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if rest, found := strings.CutPrefix(lines.Text(), word); found {
			_, err := fmt.Sscan(rest, &n)
			return n, err
		}
	}
	return 0, fmt.Errorf("%s: no %s", path, word)
}
