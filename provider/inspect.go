package provider

import (
	"net"

	"crier.local/api"
)

// DefaultLimits returns the limits that a provider of this process would have if
// its options left them open: with the descriptors and the memory that the
// process may use now. It does not block.
func DefaultLimits() Limits { return Limits{}.withDefaults() }

// ProcessesFor returns how many processes may be attached to a provider that has
// so many descriptors and so many bytes of memory, 0 for as many as it likes.
func ProcessesFor(descriptors int, memory int64) int { return processesFor(descriptors, memory) }

// PeerIdentity returns what the kernel recorded about the other end of c: of a
// connection that was accepted, who connected; of one that was dialled, who
// listens there, which is who called listen(2). The pid is 0, and the ids are
// 65534, for a process in a namespace that cannot be seen from here.
func PeerIdentity(c *net.UnixConn) (api.Identity, error) { return peerIdentity(c) }
