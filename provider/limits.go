package provider

import (
	"math"
	"time"

	"golang.org/x/sys/unix"
)

// Limits bound what a provider takes on. A field that is 0 has its default.
type Limits struct {
	Message      int           // bytes of a message; 1 MiB
	HardTop      int           // bytes of arguments that end the stream; 16 MiB, or what the cgroup's memory allows
	Resources    int           // per process; 65,536
	Calls        int           // of a process that run at once; 16
	WaitingCalls int           // of a process that wait to run; 64
	Processes    int           // attached at once; 10,000, or what descriptors and the cgroup's memory allow
	ProcessQueue int64         // bytes held for a process; 64 MiB
	TotalQueue   int64         // bytes held for all; 256 MiB, or a quarter of the cgroup's limit
	Drain        time.Duration // how long Close waits for queues to empty; 5 s
}

func (l Limits) withDefaults() Limits {
	l.Message = orDefault(l.Message, 1<<20)
	l.HardTop = orDefault(l.HardTop, hardTopFor(l.Message, MemoryLimit()))
	l.Resources = orDefault(l.Resources, 65536)
	l.Calls = orDefault(l.Calls, 16)
	l.WaitingCalls = orDefault(l.WaitingCalls, 64)
	l.Processes = orDefault(l.Processes, defaultProcesses())
	l.ProcessQueue = orDefault(l.ProcessQueue, 64<<20)
	l.TotalQueue = orDefault(l.TotalQueue, defaultTotalQueue())
	l.Drain = orDefault(l.Drain, 5*time.Second)
	return l
}

// hardTopFor returns how large arguments may be with so much memory, 0 for any. A
// whole one is held for each process that sends one, before it can be looked at.
func hardTopFor(message int, memory int64) int {
	const most, least = 16 << 20, 64 << 10 // least: above a message
	if memory == 0 {
		return most
	}
	return int(min(most, max(int64(message)+least, memory/64)))
}

const (
	// reserve is how many descriptors are left to those who have no place yet, and
	// to the program.
	reserve = 64
	// ownUse is how many of them are the program's: standard files, poller,
	// listeners, locks, watches, and what it opens for a moment.
	ownUse = 24
	// perProcess is for the socket of an attached process and its pidfd.
	perProcess = 2
	// mostProcesses is how many there may be where all is plenty.
	mostProcesses = 10000
	// processMemory is what a process takes that reads nothing of a flood: its
	// goroutines, and buffers filled to the brim.
	processMemory = 256 << 10
)

// defaultProcesses is as many as descriptors allow, with the reserve left, and
// memory.
func defaultProcesses() int { return processesFor(descriptors(), MemoryLimit()) }

// processesFor returns how many processes go with so many descriptors and so much
// memory, 0 for any.
func processesFor(descriptors int, memory int64) int {
	n := min(mostProcesses, (descriptors-reserve)/perProcess)
	if memory > 0 {
		n = min(n, int(min(mostProcesses, memory/processMemory)))
	}
	return max(1, n)
}

// silentPlaces returns how many connections that have not greeted may be there,
// so that they do not take the program's own descriptors when all places of
// processes are taken.
func silentPlaces(processes int) int {
	return max(1, min(maxSilent, descriptors()-ownUse-perProcess*processes))
}

// descriptors returns how many descriptors this process may have.
func descriptors() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil || limit.Cur > math.MaxInt32 {
		return math.MaxInt32
	}
	return int(limit.Cur)
}

// defaultTotalQueue is a quarter of the memory that this process may use, or
// 256 MiB if nothing limits it.
func defaultTotalQueue() int64 {
	limit := MemoryLimit()
	if limit == 0 {
		return 256 << 20
	}
	return max(1<<20, limit/4)
}

func orDefault[T int | int64 | uint32 | time.Duration](v, byDefault T) T {
	if v == 0 {
		return byDefault
	}
	return v
}
