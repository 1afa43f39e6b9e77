package api

import (
	"encoding/hex"
	"fmt"
)

// Handle is the integer by which a client names a resource that the provider
// holds for its session. It is 31 bits wide, its low bit tells whether the
// resource can notify, and it means nothing outside the session it came from.
// The zero Handle names nothing.
type Handle uint32

// MaxHandle is the highest handle.
const MaxHandle Handle = 1<<31 - 1

// Notifiable reports whether the resource can send notifications.
func (h Handle) Notifiable() bool { return h&1 == 1 }

// EntryCharge is what one call or notification costs of a window besides its bytes.
const EntryCharge = 64

// Charge is what n bytes of arguments, or of a notification, cost of a window
// or a queue.
func Charge(n int) int { return n + EntryCharge }

// ArgsSlack is how many bytes the arguments of a call may have above the limit for
// messages, so that a message of that size can travel with a name.
const ArgsSlack = 256

// SessionID names one opening of one service by one process. It is the same
// number on both sides, 31 bits wide, and never zero.
type SessionID uint32

// Method numbers a method of a service. Numbers are only ever appended.
type Method uint32

// Seq numbers the events of a room; see notification.go.
type Seq uint64

// Epoch is the random id of one run of a provider. Sessions, handles and
// sequence numbers mean nothing in another.
type Epoch [16]byte

// String returns e in hexadecimal.
func (e Epoch) String() string { return hex.EncodeToString(e[:]) }

// InstanceID is the random id of one client, the same over all its redials, by
// which the provider tells a redial from a stranger.
type InstanceID [16]byte

// Identity is what the kernel, or a certificate, says about an attached
// process. Nothing in it comes from the process itself.
type Identity struct {
	// UID, GID and Groups are those the process had when it connected. A uid
	// outside the provider's user namespace, or of whoever comes over TCP, reads
	// 65534 and matches no rule. The user nobody has that number too.
	UID, GID uint32
	Groups   []uint32
	// PID is a label for people: 0 if the process is on another host or in a
	// foreign pid namespace, and possibly another process's by the time it is read.
	PID int32
	// Container is the id of the container in which the process was when it
	// attached, 64 hexadecimal digits, as its cgroup told the provider: a label for
	// people too. Empty if it was in none, or none that can be seen, as from another
	// container.
	Container string
	// Local is true for a process that runs inside the provider.
	Local bool
	// Subject is the certificate's identity (first URI SAN, else the common
	// name), or "anonymous" for plain TCP; empty on a unix socket.
	Subject string
}

// String returns i for logs: uid 1000 pid 4242, followed by container and the
// short form of its id if there is one; or the certificate's subject.
func (i Identity) String() string {
	if i.Subject != "" {
		return i.Subject
	}
	text := fmt.Sprintf("uid %d pid %d", i.UID, i.PID)
	if i.Container != "" {
		text += " container " + i.ShortContainer()
	}
	return text
}

// ShortContainer returns the first 12 digits of Container, as Docker shows it.
func (i Identity) ShortContainer() string { return i.Container[:min(len(i.Container), 12)] }
