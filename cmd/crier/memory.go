package main

import (
	"os"
	"runtime/debug"

	"crier.local/provider"
)

// heedMemoryLimit has the garbage collector work harder before the program's
// cgroup has used up its memory, which else it is killed for. It leaves two
// fifths to what is not the collector's: the kernel's buffers of sockets, and
// the program itself. $GOMEMLIMIT, if it is set, stays in force.
func heedMemoryLimit() {
	limit := provider.MemoryLimit()
	if limit == 0 || os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	debug.SetMemoryLimit(limit / 5 * 3)
}
