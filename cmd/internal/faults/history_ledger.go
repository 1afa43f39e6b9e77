package faults

import (
	"cmp"
	"iter"
	"maps"
	"math"
	"slices"
	"time"

	"crier.local/api"
)

// ledgerKey names what numbers mean something in: a room in a run of the provider.
type ledgerKey struct{ room, epoch string }

// ledger is what is known of the events of a room in one epoch, as far as it is
// not settled.
type ledger struct {
	key     ledgerKey
	number  uint64  // rises with each ledger that is made
	floor   api.Seq // all up to it is settled
	high    api.Seq // the highest that was heard of
	entries map[api.Seq]*entry
	stays   map[*stay]struct{}
}

// entry is one event of a room.
type entry struct {
	seq   api.Seq
	id    string // of a message
	from  string // the connection that sent it
	kind  string // of presence
	names []string
	heard int
	began int64 // of a message: when its sender began to send it; 0 if not known

	receipt   bool // there is one
	receivers int  // that it counts
}

// stay is a connection's part in one ledger.
type stay struct {
	member  *member
	ledger  *ledger
	came    api.Seq // what had been heard of the ledger when it came
	since   int64   // from when it was there for certain, and without a break; 0 if not known
	sure    int64   // when a message that it heard began, of the settled ones the last to begin
	started bool    // start is known
	start   api.Seq // it must hear what comes after it
	last    api.Seq // of the last event that it heard
	kind    string  // of that
	got     []api.Seq
	gaps    []gap
	ranges  []gap // that were reported as perhaps missed
	over    bool  // it hears nothing of this ledger any more
}

// gap is a run of events that were reported missing.
type gap struct {
	first, last api.Seq
	count       uint64 // that was reported
	caused      uint64 // that are known to be missing
	blind       bool   // some of it was settled before it was reported
}

func (g *gap) has(seq api.Seq) bool { return g.first <= seq && seq <= g.last }

// high returns how far s has come.
func (s *stay) high() api.Seq { return max(s.start, s.last) }

// ledgerOf returns the ledger of a room and epoch, made if there is none.
func (h *History) ledgerOf(room, epoch string) *ledger {
	key := ledgerKey{room, epoch}
	l := h.ledgers[key]
	if l == nil {
		h.made++
		l = &ledger{key: key, number: h.made, entries: map[api.Seq]*entry{}, stays: map[*stay]struct{}{}}
		h.ledgers[key] = l
	}
	return l
}

// newest returns the ledger of a room that was made last, nil if there is none.
func (h *History) newest(room string) (last *ledger) {
	for _, l := range h.ledgers {
		if l.key.room == room && (last == nil || l.number > last.number) {
			last = l
		}
	}
	return last
}

// settle checks what nothing can change any more, and forgets it; when it is final,
// that is everything.
func (h *History) settle(l *ledger, final bool) {
	limit := h.limit(l, final)
	if limit > l.floor {
		entries := l.upTo(limit)
		h.checkSends(l, entries)
		for s := range l.stays {
			h.account(s, entries, limit)
		}
		for _, e := range entries {
			delete(l.entries, e.seq)
		}
		h.sum.Checked += uint64(len(entries))
		l.floor = limit
	}
	for s := range l.stays {
		if s.over && s.last <= l.floor && len(s.gaps) == 0 {
			delete(l.stays, s)
		}
	}
	if len(l.stays) == 0 && len(l.entries) == 0 && !h.held(l) {
		delete(h.ledgers, l.key)
	}
}

// checkSends checks the messages among entries, which are in order, against what
// their senders know of them.
func (h *History) checkSends(l *ledger, entries []*entry) {
	for _, e := range entries {
		conn, n, ok := splitID(e.id)
		s := h.senders[conn]
		if !ok || s == nil {
			continue
		}
		if s.settled == l && n < s.latest {
			h.violate(InvariantMessages, l.key.room, "out of order: %s comes after %s#%d", e, conn, s.latest)
		}
		s.settled, s.latest = l, n
		if e.receipt && e.heard > e.receivers {
			h.violate(InvariantMessages, l.key.room, "receipt: %s was for %d, and %d heard it", e, e.receivers, e.heard)
		}
	}
}

// checkHeard checks that everybody who lives has heard the last of what is for it.
func (h *History) checkHeard(l *ledger) {
	for s, e := range l.unheard() {
		h.violate(InvariantMessages, l.key.room, "never heard: %s, which has heard %d, did not hear %s", s.member.label, s.last, e)
	}
}

// unheard yields those who live and have something to hear yet, with the first of
// that.
func (l *ledger) unheard() iter.Seq2[*stay, *entry] {
	return func(yield func(*stay, *entry) bool) {
		entries := l.upTo(l.high)
		for s := range l.stays {
			if e := s.next(entries); !s.over && e != nil && !yield(s, e) {
				return
			}
		}
	}
}

// next returns the first of entries that s has to hear yet for certain, nil if
// there is none.
func (s *stay) next(entries []*entry) *entry {
	for e := range s.ahead(entries) {
		if s.covers(e) && find(s.gaps, e.seq) == nil && find(s.ranges, e.seq) == nil {
			return e
		}
	}
	return nil
}

// limit returns up to where l can be settled.
func (h *History) limit(l *ledger, final bool) api.Seq {
	limit, alive := l.high, false
	entries := l.upTo(l.high)
	for s := range l.stays {
		if !final && !s.over && s.hears() {
			limit, alive = min(limit, s.awaits(entries)), true
		}
	}
	if !alive {
		for s := range l.stays {
			for _, g := range s.gaps {
				limit = max(limit, g.last)
			}
		}
	}
	return l.whole(min(limit, h.hold(l)))
}

// awaits returns up to where s, which lives, has nothing of entries to hear yet.
func (s *stay) awaits(entries []*entry) api.Seq {
	for e := range s.ahead(entries) {
		return e.seq - 1
	}
	return math.MaxUint64
}

// ahead yields those of entries that s has to hear yet.
func (s *stay) ahead(entries []*entry) iter.Seq[*entry] {
	from := s.high()
	if !s.started {
		from = s.came
	}
	n, _ := slices.BinarySearchFunc(entries, from+1, func(e *entry, seq api.Seq) int { return cmp.Compare(e.seq, seq) })
	return func(yield func(*entry) bool) {
		for _, e := range entries[n:] {
			if s.wants(e) && !yield(e) {
				return
			}
		}
	}
}

// whole returns limit, or less so that no gap is cut in two.
func (l *ledger) whole(limit api.Seq) api.Seq {
	for again := true; again; {
		again = false
		for s := range l.stays {
			for _, g := range s.gaps {
				if g.first <= limit && limit < g.last {
					limit, again = g.first-1, true
				}
			}
		}
	}
	return limit
}

func (s *stay) hears() bool { return !s.member.options.SendOnly }

// upTo returns the entries up to limit, in order.
func (l *ledger) upTo(limit api.Seq) []*entry {
	var list []*entry
	for _, seq := range slices.Sorted(maps.Keys(l.entries)) {
		if seq > limit {
			break
		}
		list = append(list, l.entries[seq])
	}
	return list
}

// account checks what s heard of entries, which are all up to limit.
func (h *History) account(s *stay, entries []*entry, limit api.Seq) {
	s.note(entries)
	for e := range s.missed(entries) {
		if g := find(s.gaps, e.seq); g != nil {
			g.caused++
		} else if find(s.ranges, e.seq) == nil && e.seq <= s.high() {
			h.violate(InvariantMessages, s.member.room, "lost: %s did not hear %s, has heard %d, and no gap tells of it", s.member.label, e, s.last)
		}
	}
	s.gaps = slices.DeleteFunc(s.gaps, func(g gap) bool {
		if g.last <= limit {
			h.count(s, &g)
		}
		return g.last <= limit
	})
	s.ranges = slices.DeleteFunc(s.ranges, func(g gap) bool { return g.last <= limit })
	n, _ := slices.BinarySearch(s.got, limit+1)
	s.got = slices.Clone(s.got[n:])
}

// note notes how late those of entries began that s has heard.
func (s *stay) note(entries []*entry) {
	for _, e := range entries {
		if _, heard := slices.BinarySearch(s.got, e.seq); heard {
			s.sure = max(s.sure, e.began)
		}
	}
}

// missed yields those of entries that s should have heard of and did not.
func (s *stay) missed(entries []*entry) iter.Seq[*entry] {
	return func(yield func(*entry) bool) {
		got := s.got
		for _, e := range entries {
			for len(got) > 0 && got[0] < e.seq {
				got = got[1:]
			}
			heard := len(got) > 0 && got[0] == e.seq
			if !heard && s.covers(e) && s.wants(e) && !yield(e) {
				return
			}
		}
	}
}

// clockSkew is how far the clocks of two processes may be apart.
const clockSkew = int64(50 * time.Millisecond)

// covers reports whether s was there when e happened: it had heard of something
// before, or e was not begun yet when s was there.
func (s *stay) covers(e *entry) bool {
	return s.started && e.seq > s.start || s.since > 0 && e.began > s.since+clockSkew
}

// wants reports whether e is for s.
func (s *stay) wants(e *entry) bool {
	switch {
	case !s.hears():
		return false
	case e.id != "":
		return e.from != s.member.label || s.member.options.Echo
	default:
		own := func(name string) bool { return slices.Contains(s.member.called, name) }
		return s.member.options.Presence && !slices.ContainsFunc(e.names, own)
	}
}

func find(gaps []gap, seq api.Seq) *gap {
	for i := range gaps {
		if gaps[i].has(seq) {
			return &gaps[i]
		}
	}
	return nil
}

// count compares what a gap of s reports with what is missing, if somebody else
// has heard all that may be in it.
func (h *History) count(s *stay, g *gap) {
	if g.blind || !h.wholly(s, g) {
		return
	}
	h.sum.Reported += g.count
	h.sum.Caused += g.caused
	if g.count != g.caused {
		h.violate(InvariantMessages, s.member.room, "gap count: %s is told that %d of %d to %d are missing, but it is %d",
			s.member.label, g.count, g.first, g.last, g.caused)
	}
}

// wholly reports whether everything is known that s may have missed within g.
func (h *History) wholly(s *stay, g *gap) bool {
	for w := range s.ledger.stays {
		o := &w.member.options
		if w == s || o.SendOnly || o.Gap || s.member.options.Presence && !o.Presence {
			continue
		}
		overlaps := func(r gap) bool { return r.first <= g.last && g.first <= r.last }
		if w.started && w.start < g.first && g.last <= w.high() && !slices.ContainsFunc(w.ranges, overlaps) && !h.senderOf(w.member.label).obscure {
			return true
		}
	}
	return false
}
