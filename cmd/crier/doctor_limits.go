package main

import (
	"fmt"
	"math"

	"golang.org/x/sys/unix"

	"crier.local/provider"
)

const (
	checkDescriptors = "descriptors"
	checkMemory      = "memory"
	checkTasks       = "tasks"
	// fewTasks is how many threads a program may come to have that does little.
	fewTasks = 32
)

// limits tells what a provider started here would have.
func (d *doctor) limits() {
	d.descriptors()
	d.memory()
	d.tasks()
}

// descriptors tells for how many processes there are descriptors. Programs in Go
// raise their soft limit to the hard one when they start, so that is what counts.
func (d *doctor) descriptors() {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		d.skip(checkDescriptors, "the limit cannot be read: %v", err)
		return
	}
	soft := int(min(limit.Cur, math.MaxInt32))
	places := provider.ProcessesFor(soft, 0)
	more := details{"soft": soft, "hard": int(min(limit.Max, math.MaxInt32)), "places": places}
	found := fmt.Sprintf("at most %d: %s for client processes in a provider started here", soft, count(places, "place"))
	if theirs, pid, ok := d.providersDescriptors(); ok {
		more["provider_soft"] = theirs
		found += fmt.Sprintf("; the one that there is (pid %d) may have %d", pid, theirs)
		places = min(places, provider.ProcessesFor(theirs, 0))
	}
	if places < fewPlaces {
		d.warn(checkDescriptors, "raise the limit of open files: ulimit -n, LimitNOFILE= in a unit, --ulimit nofile= of docker run", more, "%s", found)
		return
	}
	d.ok(checkDescriptors, more, "%s", found)
}

// providersDescriptors returns the limit of the provider that there is, if it
// can be read, and its pid.
func (d *doctor) providersDescriptors() (soft int, pid int32, ok bool) {
	for _, s := range d.sockets {
		if s.endpoint == d.target && s.listener != nil && s.listener.PID > 0 && !adopted(s.listener.PID) {
			soft, ok = openFilesOf(s.listener.PID)
			return soft, s.listener.PID, ok
		}
	}
	return 0, 0, false
}

// memory tells for how many processes, and how much in queues, there is memory.
func (d *doctor) memory() {
	limit, limits := provider.MemoryLimit(), provider.DefaultLimits()
	places := provider.ProcessesFor(math.MaxInt32, limit)
	more := details{
		"cgroup_bytes": limit, "queue_bytes": limits.TotalQueue, "process_queue_bytes": limits.ProcessQueue,
		"hard_top_bytes": limits.HardTop, "places": places,
	}
	held := fmt.Sprintf("a provider started here holds up to %s in queues", byteText(uint64(limits.TotalQueue)))
	switch {
	case limit == 0:
		d.ok(checkMemory, more, "no cgroup limits it: %s", held)
	case places < fewPlaces:
		d.warn(checkMemory, "raise the limit of the cgroup's memory: MemoryMax= in a unit, --memory of docker run", more,
			"the cgroup allows %s: %s, and has %s for client processes", byteText(uint64(limit)), held, count(places, "place"))
	default:
		d.ok(checkMemory, more, "the cgroup allows %s: %s, and has %s for client processes", byteText(uint64(limit)), held, count(places, "place"))
	}
}

// tasks tells how many threads the cgroup allows.
func (d *doctor) tasks() {
	limit := provider.TaskLimit()
	more := details{"cgroup_tasks": limit}
	switch {
	case limit == 0:
		d.ok(checkTasks, more, "no cgroup limits threads")
	case limit < fewTasks:
		d.warn(checkTasks, fmt.Sprintf("allow at least %d: TasksMax= in a unit, --pids-limit of docker run", fewTasks), more,
			"the cgroup allows %d threads, of all its processes together, which may be too few for one", limit)
	default:
		d.ok(checkTasks, more, "the cgroup allows %d threads", limit)
	}
}
