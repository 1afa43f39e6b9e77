package faults

import (
	"fmt"
	"slices"
	"strings"

	"crier.local/api"
)

// member is a connection that lives.
type member struct {
	label, room, name string
	called            []string // its names, the present one too
	options           Record   // it was connected with
	stay              *stay    // in the ledger of the provider's present run

	view map[string]bool // who is in the room, as it was told; nil: it waits for a list
	gone map[string]bool // who left since, and did not come back
}

// String describes e for a violation.
func (e *entry) String() string {
	if e.id != "" {
		return fmt.Sprintf("message %d (%s)", e.seq, e.id)
	}
	return fmt.Sprintf("%s %d (%s)", e.kind, e.seq, strings.Join(e.names, ", "))
}

// The kinds of events, as [Record] has them.
var (
	message     = api.KindMessage.String()
	joined      = api.KindJoined.String()
	left        = api.KindLeft.String()
	renamed     = api.KindRenamed.String()
	gapped      = api.KindGap.String()
	members     = api.KindMembers.String()
	reconnected = api.KindReconnected.String()
	restarted   = api.KindRestarted.String()
)

// event takes into account what a connection received.
func (h *History) event(r *Record) {
	m := h.conns[r.Conn]
	if m == nil {
		return
	}
	switch r.Kind {
	case message:
		h.sum.Delivered++
		h.checkGone(m, r)
		h.heard(m, r)
	case joined, left, renamed:
		h.sum.Presence++
		h.see(m, r)
		h.heard(m, r)
	case members:
		m.look(r.Members)
	case gapped:
		h.gap(m, r)
	case reconnected:
		h.sum.Ranges++
		m.view = nil
		m.stay.ranges = append(m.stay.ranges, gap{first: r.First, last: r.Last})
		m.stay.since = r.Nanos
	case restarted:
		h.sum.Restarts++
		m.view = nil
		h.enter(m, r.Epoch, r.Nanos)
	}
	if (r.Kind == reconnected || r.Kind == restarted) && r.Name != "" {
		m.call(r.Name)
	}
}

// call gives m a name.
func (m *member) call(name string) {
	m.name = name
	if !slices.Contains(m.called, name) {
		m.called = append(m.called, name)
	}
}

// heard takes a numbered event into account.
func (h *History) heard(m *member, r *Record) {
	s := m.stay
	together := r.Kind == left && s.kind == left && r.Seq == s.last // one record of several departures
	if r.Seq <= s.last && !together {
		word := "reordered"
		if _, ok := slices.BinarySearch(s.got, r.Seq); ok || r.Seq == s.last {
			word = "twice"
		}
		h.violate(InvariantMessages, m.room, "%s: %s heard %s %d %s%s after %d", word, m.label, r.Kind, r.Seq, r.ID, r.Who, s.last)
		return
	}
	if !s.started {
		s.started, s.start = true, max(r.Seq, 1)-1
	}
	if !together {
		s.got = append(s.got, r.Seq)
	}
	s.last, s.kind = r.Seq, r.Kind
	h.enterEvent(s.ledger, r)
}

// enterEvent writes into l what somebody heard.
func (h *History) enterEvent(l *ledger, r *Record) {
	l.high = max(l.high, r.Seq)
	if r.Seq <= l.floor {
		return
	}
	e := l.entries[r.Seq]
	switch {
	case e == nil:
		e = newEntry(r)
		l.entries[r.Seq] = e
	case e.id != r.ID, e.id == "" && e.kind != r.Kind:
		h.violate(InvariantMessages, l.key.room, "two orders: %s heard %s %d %s%s, which is %s for others", r.Conn, r.Kind, r.Seq, r.ID, r.Who, e)
		return
	case e.id == "" && !slices.Contains(e.names, r.Who):
		e.names = append(e.names, r.Who)
	}
	if e.heard == 0 && e.id != "" {
		h.arrived(l, e)
	}
	e.heard++
}

func newEntry(r *Record) *entry {
	e := &entry{seq: r.Seq}
	if r.Kind != message {
		if e.kind, e.names = r.Kind, []string{r.Who}; r.Kind == renamed {
			e.names = append(e.names, r.NewName)
		}
		return e
	}
	if e.id = r.ID; e.id == "" {
		e.id = "?" // not one of ours
	}
	e.from, _, _ = splitID(e.id)
	return e
}

// gap takes into account that a connection was told what is missing.
func (h *History) gap(m *member, r *Record) {
	h.sum.Gaps++
	h.sum.Missing += r.Count
	s := m.stay
	if !s.started {
		s.started, s.start = true, max(r.First, 1)-1
	}
	if r.First > r.Last || r.Count == 0 || r.First <= s.last {
		h.violate(InvariantMessages, m.room, "gap: %s, which has heard %d, is told that %d of %d to %d are missing", m.label, s.last, r.Count, r.First, r.Last)
		return
	}
	if !m.options.Gap {
		h.violate(InvariantMessages, m.room, "gap: %s is told of a gap and asked for none", m.label)
	}
	s.gaps = append(s.gaps, gap{first: r.First, last: r.Last, count: r.Count, blind: r.First <= s.ledger.floor})
}
