package api

import "fmt"

// WireVersion is the version of the protocol of PROTOCOL.md that this module
// speaks. Both sides state theirs in the hello and must state the same.
const WireVersion = 1

// Version is the version of a provider, for people and for [Restricted];
// whether a client fits is decided by [Selector.Accepts].
type Version struct {
	Major uint32 `json:"major"`
	Minor uint32 `json:"minor"`
	Patch uint32 `json:"patch"`
}

// String returns v as major.minor.patch.
func (v Version) String() string { return fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Patch) }

// Priority decides between several providers that fit: the highest wins.
type Priority uint8

// The priorities of the original system. Any value between them serves too.
const (
	PriorityUnpreferredStrongly Priority = 0x10
	PriorityUnpreferred         Priority = 0x30
	PriorityUnpreferredWeakly   Priority = 0x50
	PriorityNormal              Priority = 0x80
	PriorityPreferredWeakly     Priority = 0xb0
	PriorityPreferred           Priority = 0xd0
	PriorityPreferredStrongly   Priority = 0xf0
)
