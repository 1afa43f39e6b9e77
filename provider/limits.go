package provider

import (
	"time"

	"golang.org/x/sys/unix"
)

// Limits bound what a provider takes on. A field that is 0 has its default.
type Limits struct {
	Message      int           // bytes of a message; 1 MiB
	HardTop      int           // bytes of arguments that end the stream; 16 MiB
	Resources    int           // per process; 65,536
	Calls        int           // of a process that run at once; 16
	WaitingCalls int           // of a process that wait to run; 64
	Processes    int           // attached at once; 10,000, or what descriptors allow
	ProcessQueue int64         // bytes held for a process; 64 MiB
	TotalQueue   int64         // bytes held for all; 256 MiB, or a quarter of the cgroup's limit
	Drain        time.Duration // how long Close waits for queues to empty; 5 s
}

func (l Limits) withDefaults() Limits {
	l.Message = orDefault(l.Message, 1<<20)
	l.HardTop = orDefault(l.HardTop, 16<<20)
	l.Resources = orDefault(l.Resources, 65536)
	l.Calls = orDefault(l.Calls, 16)
	l.WaitingCalls = orDefault(l.WaitingCalls, 64)
	l.Processes = orDefault(l.Processes, defaultProcesses())
	l.ProcessQueue = orDefault(l.ProcessQueue, 64<<20)
	l.TotalQueue = orDefault(l.TotalQueue, defaultTotalQueue())
	l.Drain = orDefault(l.Drain, 5*time.Second)
	return l
}

// defaultProcesses leaves 64 descriptors to the program, and counts two for each
// process: its socket and its pidfd.
func defaultProcesses() int {
	const most = 10000
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil || limit.Cur > 2*most+64 {
		return most
	}
	return max(1, (int(limit.Cur)-64)/2)
}

func orDefault[T int | int64 | uint32 | time.Duration](v, byDefault T) T {
	if v == 0 {
		return byDefault
	}
	return v
}
