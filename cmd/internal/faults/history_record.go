package faults

import "crier.local/api"

// What a [Record] tells.
const (
	AtConnected = "connected" // Conn is in Room as Name; Seq is the room's number then, if known
	AtInvoke    = "invoke"    // a send of ID begins; written before the call
	AtOK        = "ok"        // the send of ID has its receipt: Seq, Receivers
	AtFailed    = "failed"    // the send of ID failed, nobody got it: Error
	AtUnknown   = "unknown"   // nobody can tell what became of the send of ID: Error
	AtPosted    = "posted"    // posts of Conn#From to Conn#To begin; written before the calls
	AtFlushed   = "flushed"   // the posts from From to To have ended, Admitted of them well; with Error if some did not, or it is not known
	AtEvent     = "event"     // Receive of Conn returned an event
	AtEnd       = "end"       // Receive of Conn returned an error: Reason, Error; it will return nothing else
	AtClosed    = "closed"    // Conn was closed by its own process, Receive tells nothing more
	AtRenamed   = "renamed"   // Conn is now called Name
	AtSaid      = "said"      // words to the parent in Error, or in Reason; not about a connection
)

// Record is one thing that an actor did or saw: one line of JSON on its standard
// output. Records of one connection are in the order in which they happened, but
// for those of sends, which may be anywhere between the events: only invoke and
// posted must be written before the message can reach anybody.
type Record struct {
	At   string `json:"t"`
	Conn string `json:"c,omitempty"` // unique on the stage: "actor.run/label"

	// Of connected: where, as whom, in which run of the provider, with what options.
	Room     string `json:"room,omitempty"`
	Name     string `json:"name,omitempty"`
	Epoch    string `json:"epoch,omitempty"` // also of events of kind restarted
	Presence bool   `json:"presence,omitempty"`
	SendOnly bool   `json:"send_only,omitempty"`
	Gap      bool   `json:"gap,omitempty"`
	Echo     bool   `json:"echo,omitempty"`

	// Of sends.
	ID        string  `json:"id,omitempty"` // "CONN#N", where N rises from one message of CONN to the next that it sends; of an event of kind message the id at the head of the payload
	Seq       api.Seq `json:"seq,omitempty"`
	Receivers int     `json:"receivers,omitempty"`
	From      uint64  `json:"from,omitempty"` // posts are numbered from 1, with the sends of the connection
	To        uint64  `json:"to,omitempty"`
	Admitted  uint64  `json:"admitted,omitempty"`

	// Of events.
	Kind    string   `json:"kind,omitempty"` // as api.Kind writes it
	Who     string   `json:"who,omitempty"`  // about whom, or the sender
	NewName string   `json:"new_name,omitempty"`
	Reason  string   `json:"reason,omitempty"` // also of end: closed, slow, going_away, ...
	First   api.Seq  `json:"first,omitempty"`
	Last    api.Seq  `json:"last,omitempty"`
	Count   uint64   `json:"count,omitempty"`
	Members []string `json:"members,omitempty"`
	Size    int      `json:"size,omitempty"` // of the payload

	Error string `json:"error,omitempty"`
	// Nanos is when, in nanoseconds of the machine's monotonic clock, so that the
	// parent can compare it with its own; 0 if not told.
	Nanos int64 `json:"ns,omitempty"`
}
