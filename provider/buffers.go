package provider

import "crier.local/api/wire"

// buffers are how much of what is on its way to a process may be in buffers,
// where no queue counts it.
type buffers struct {
	socket int // the kernel's; 0 for whatever it thinks right
	write  int // gRPC's
	batch  int // those of batches
}

const (
	// mostBuffer suits where memory does not matter; leastBuffer still takes many
	// messages at once.
	mostBuffer  = 128 << 10
	leastBuffer = 16 << 10
	// bufferShare is how many processes that read nothing may fill their buffers
	// of one kind before they have all the memory there is.
	bufferShare = 2048
)

// buffersFor returns what fits a limit of the memory, 0 for none. What the
// kernel holds for a process that reads nothing is the provider's memory too:
// with hundreds of them its default, 200 KiB for a unix socket and megabytes
// for TCP, is what a container is killed for.
func buffersFor(limit int64) buffers {
	if limit == 0 || limit >= bufferShare*mostBuffer {
		return buffers{write: mostBuffer, batch: wire.BatchSize}
	}
	n := int(max(leastBuffer, limit/bufferShare))
	return buffers{socket: n / 2, write: n, batch: n / 2} // the kernel takes its own twice, and of batches there are several
}
