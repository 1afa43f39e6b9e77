package api

import "fmt"

// Reason is why a connection ended, or a process was sent away.
type Reason uint32

// The reasons. Numbers are only ever appended.
const (
	// ReasonClosed: it was closed in order.
	ReasonClosed Reason = 1
	// ReasonDied: its process ended without a word.
	ReasonDied Reason = 2
	// ReasonUnreachable: the network stopped carrying it (TCP only).
	ReasonUnreachable Reason = 3
	// ReasonSlow: it did not read while others waited for it.
	ReasonSlow Reason = 4
	// ReasonLimit: it, or its process, went over a limit.
	ReasonLimit Reason = 5
	// ReasonReplaced: its process attached again.
	ReasonReplaced Reason = 6
	// ReasonGoingAway: the provider is stopping. Never the reason of an event.
	ReasonGoingAway Reason = 7
)

var reasons = [...]string{
	ReasonClosed:      "closed",
	ReasonDied:        "died",
	ReasonUnreachable: "unreachable",
	ReasonSlow:        "slow",
	ReasonLimit:       "limit",
	ReasonReplaced:    "replaced",
	ReasonGoingAway:   "going_away",
}

// String returns the word for r that the command line and JSON use.
func (r Reason) String() string {
	if int64(r) < int64(len(reasons)) && reasons[r] != "" {
		return reasons[r]
	}
	return fmt.Sprintf("reason %d", uint32(r))
}
