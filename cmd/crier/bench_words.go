package main

import (
	"encoding/json"
	"io"
	"sync"

	"crier.local/cmd/internal/load"
)

// What bench and the client processes that it starts say to each other, a line of
// JSON at a time: orders over their standard input, words over their standard
// output. The first line that a process gets is its part. It ends with its input.

// benchPart is what a client process plays.
type benchPart struct {
	Room    string `json:"room"`
	Payload int    `json:"payload"` // bytes

	// The receivers of this process are Receivers in number, from First on. With
	// Share they are connections of one attachment.
	First     int  `json:"first"`
	Receivers int  `json:"receivers"`
	Share     bool `json:"share,omitempty"`
	// Timed has them keep the latencies of messages that say when they were due.
	Timed bool `json:"timed,omitempty"`
	// Witness has the first of them tell of departures.
	Witness bool `json:"witness,omitempty"`
	// Doomed has all of them tell at once what they get: they will be killed.
	Doomed bool `json:"doomed,omitempty"`

	// Publishers are the numbers of those here, Sources is how many there are in
	// all processes. With Paired each receiver is the publisher of its number.
	Publishers []uint16 `json:"publishers,omitempty"`
	Sources    int      `json:"sources"`
	Paired     bool     `json:"paired,omitempty"`

	// Visits makes receivers of those who come and go when told to, and Guestbook
	// a witness of them in another process.
	Visits    bool `json:"visits,omitempty"`
	Guestbook bool `json:"guestbook,omitempty"`
}

// benchOrder is what a client process is to do.
type benchOrder struct {
	Do string `json:"do"`
	// Rate (publish) is how many messages a second each publisher sends, 0 for as
	// many as it can, by the schedule of all of them together. Limit is how many in
	// all; 0 is until told to stop.
	Rate  int    `json:"rate,omitempty"`
	Limit uint64 `json:"limit,omitempty"`
	// Timed has each message say when it was due.
	Timed bool `json:"timed,omitempty"`
	// Dead (bury) are the publishers from whom nothing more comes.
	Dead []uint16 `json:"dead,omitempty"`
	// Sent (sum) is how many messages each publisher sent.
	Sent []uint64 `json:"sent,omitempty"`
}

// The orders. Only a process with publishers is told to publish, and one with
// visitors to visit.
const (
	doPublish = "publish" // each publisher answers with wordPublished in the end
	doVisit   = "visit"   // each visitor answers with wordPublished in the end
	doStop    = "stop"    // publishing, or visiting
	doCount   = "count"   // answered with wordCount
	doBury    = "bury"    // answered with wordBuried
	doSum     = "sum"     // receivers that still wait answer with wordHeard
)

// benchWord is what a client process has to say.
type benchWord struct {
	At string `json:"at"`
	// Number is the receiver or publisher that it is about.
	Number int `json:"number,omitempty"`
	// Count is of messages: published, delivered, or left over.
	Count uint64 `json:"count,omitempty"`
	// Time is a time of load.Clock: of the first message published, of the last
	// delivered, or of a departure.
	Time    int64         `json:"time,omitempty"`
	Tally   *load.Tally   `json:"tally,omitempty"`
	Latency *load.Latency `json:"latency,omitempty"`
	// Of the dead: how many messages of each were delivered here.
	Dead   map[uint16]uint64 `json:"dead,omitempty"`
	Gone   int               `json:"gone,omitempty"` // the receiver that left
	Reason string            `json:"reason,omitempty"`
	Error  string            `json:"error,omitempty"`
}

const (
	wordReady     = "ready"     // all are connected
	wordPublished = "published" // Count messages by publisher Number, the first at Time; or an Error
	wordHeard     = "heard"     // receiver Number has got all there was
	wordCount     = "count"     // Count messages were delivered so far to all here
	wordLeft      = "left"      // receiver Number was told that another left
	wordBuried    = "buried"
	wordStray     = "stray"  // Count messages came to receiver Number after the last
	wordFailed    = "failed" // with an Error; nothing more is to be expected
	wordOver      = "over"   // said for a process that has ended
)

// benchWords writes words, each at once. Safe for concurrent use.
type benchWords struct {
	mu sync.Mutex
	to io.Writer
}

// say writes a word. A parent that does not hear it has gone, which the process
// learns from its input.
func (b *benchWords) say(w benchWord) {
	line, err := json.Marshal(w)
	if err != nil {
		panic(err) // words can be written
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	_, _ = b.to.Write(append(line, '\n'))
}
