// Package faults breaks what a Crier provider and its clients run on, and knows
// what must hold all the same. It is shared by the soak command and by the tests
// of whole processes.
package faults

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"crier.local/api"
)

// The invariants that a [History] checks.
const (
	InvariantPresence = "I2" // who comes and goes, as each witness hears it
	InvariantMessages = "I3" // each message once and in one order, or a record of what is missing
)

// Violation is something that must not happen, and did.
type Violation struct {
	Invariant string `json:"invariant"`
	Room      string `json:"room,omitempty"`
	Text      string `json:"text"`
}

// Summary counts what a [History] was told and what it found.
type Summary struct {
	Sent       uint64 `json:"sent"` // sends and posts that began
	OK         uint64 `json:"ok"`   // with a receipt, or flushed well
	Failed     uint64 `json:"failed"`
	Unknown    uint64 `json:"unknown"`
	Delivered  uint64 `json:"delivered"`
	Presence   uint64 `json:"presence"` // joined, left and renamed, as heard
	Checked    uint64 `json:"checked"`  // events whose receivers have all been accounted for
	Gaps       uint64 `json:"gaps"`     // gap events
	Missing    uint64 `json:"missing"`  // events that they report
	Reported   uint64 `json:"reported"` // of those, the ones that could be counted independently
	Caused     uint64 `json:"caused"`   // and what that count says
	Ranges     uint64 `json:"ranges"`   // reconnected
	Restarts   uint64 `json:"restarts"` // restarted
	Violations uint64 `json:"violations"`
}

// History compares what actors did with what actors saw. It keeps only what is
// not settled yet: an event is settled when all who may still hear it have come
// past it, and every send that may stand before it has ended.
//
// A History is safe for concurrent use, and never waits for anything but its own
// lock.
type History struct {
	mu      sync.Mutex
	conns   map[string]*member
	senders map[string]*sender
	ledgers map[ledgerKey]*ledger
	made    uint64        // ledgers, ever
	graves  map[grave]int // who is over, and for how many checks
	news    []Violation   // not yet returned by Check
	sum     Summary
	recent  ring
}

// NewHistory returns an empty history.
func NewHistory() *History {
	return &History{
		conns:   map[string]*member{},
		senders: map[string]*sender{},
		ledgers: map[ledgerKey]*ledger{},
		graves:  map[grave]int{},
	}
}

// Add takes one record into account.
func (h *History) Add(r Record) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.remember(r)
	switch r.At {
	case AtConnected:
		h.connected(&r)
	case AtInvoke, AtOK, AtFailed, AtUnknown:
		h.sent(&r)
	case AtPosted:
		h.posted(&r)
	case AtFlushed:
		h.flushed(&r)
	case AtEvent:
		h.event(&r)
	case AtRenamed:
		if m := h.conns[r.Conn]; m != nil {
			m.call(r.Name)
		}
	case AtEnd, AtClosed:
		h.over(r.Conn)
	}
}

// Killed tells that an actor is no more, and that all its records were added: its
// connections are over, and nobody knows what became of its open sends.
func (h *History) Killed(actor string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	prefix := actor + "/"
	for label := range h.conns {
		if strings.HasPrefix(label, prefix) {
			h.over(label)
		}
	}
	for label, s := range h.senders {
		if strings.HasPrefix(label, prefix) {
			unknown, _ := s.abandon()
			h.sum.Unknown += unknown
			s.obscure = true
			h.silence(label)
		}
	}
}

// Check returns the violations found since the last call. To be final, all sends
// must have ended, and everybody who still lives must have received an event that
// was sent after all others: nothing is waited for then, and what is open is a
// violation.
func (h *History) Check(final bool) []Violation {
	h.mu.Lock()
	defer h.mu.Unlock()
	if final {
		h.checkEnded()
	}
	for _, l := range h.ledgers {
		if final {
			h.checkHeard(l)
		}
		h.settle(l, final)
	}
	h.settlePosts(final)
	h.checkGraves(final)
	news := h.news
	h.news = nil
	return news
}

// Summary returns the counts so far.
func (h *History) Summary() Summary {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.sum
}

// Recent returns the last records of a room, oldest first.
func (h *History) Recent(room string, most int) []Record {
	h.mu.Lock()
	defer h.mu.Unlock()
	var list []Record
	for r := range h.recent.backwards() {
		if len(list) < most && (room == "" || r.Room == room) {
			list = append(list, r)
		}
	}
	slices.Reverse(list)
	return list
}

// remember keeps r, with its room, among the last records.
func (h *History) remember(r Record) {
	if m := h.conns[r.Conn]; m != nil {
		r.Room = m.room
	}
	h.recent.add(r)
}

// Size returns how much is kept: events, and connections.
func (h *History) Size() (events, connections int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, l := range h.ledgers {
		events += len(l.entries)
	}
	return events, len(h.conns)
}

// Behind returns the living receivers of rooms that have come no further than to
// number seq of run epoch, or have not been heard of in it.
func (h *History) Behind(room, epoch string, seq api.Seq) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var list []string
	for label, m := range h.conns {
		if m.room == room && !m.options.SendOnly && (m.stay.ledger.key.epoch != epoch || m.stay.high() < seq) {
			list = append(list, label)
		}
	}
	return list
}

// Awaiting returns the living receivers that have not heard yet what others have.
func (h *History) Awaiting() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var list []string
	for _, l := range h.ledgers {
		for s := range l.unheard() {
			list = append(list, s.member.label)
		}
	}
	return list
}

func (h *History) violate(invariant, room, format string, args ...any) {
	h.sum.Violations++
	h.news = append(h.news, Violation{Invariant: invariant, Room: room, Text: fmt.Sprintf(format, args...)})
}

// connected begins the life of a connection.
func (h *History) connected(r *Record) {
	m := &member{label: r.Conn, room: r.Room, options: *r, gone: map[string]bool{}}
	m.call(r.Name)
	h.conns[r.Conn] = m
	h.senderOf(r.Conn)
	h.enter(m, r.Epoch, r.Nanos)
	if r.Seq > 0 {
		m.stay.start, m.stay.started = r.Seq, true
	}
}

// enter makes m one of the ledger of its room and epoch, in which it has been since
// then at the latest.
func (h *History) enter(m *member, epoch string, since int64) {
	if m.stay != nil {
		m.stay.over = true
	}
	l := h.ledgerOf(m.room, epoch)
	m.stay = &stay{member: m, ledger: l, came: l.high, since: since}
	l.stays[m.stay] = struct{}{}
}

// over ends the life of a connection. What it got is checked yet.
func (h *History) over(label string) {
	if m := h.conns[label]; m != nil {
		m.stay.over = true
		h.graves[grave{m.room, m.name}] = 0
		delete(h.conns, label)
		h.silence(label)
	}
}

// splitID parts an id into the connection and the number.
func splitID(id string) (conn string, n uint64, ok bool) {
	conn, number, ok := strings.Cut(id, "#")
	if !ok {
		return "", 0, false
	}
	n, err := strconv.ParseUint(number, 10, 64)
	return conn, n, err == nil
}
