package faults

import (
	"fmt"
	"iter"
	"math"
	"slices"
	"strings"

	"crier.local/api"
)

// sender is what a connection sends, as far as it is not settled.
type sender struct {
	room    string
	open    map[uint64]*pending // sends that have not ended
	posts   []*pending          // posts that are not settled
	failed  map[uint64]bool     // sends that nobody may hear
	seen    map[uint64]bool     // of the latest, those that were heard
	most    uint64              // the highest that was heard
	obscure bool                // something of it is not known for sure

	settled *ledger // that its message latest was settled in, the last one to be
	latest  uint64

	// Of one that sends nothing any more: it may be forgotten when ledger is
	// settled up to high.
	over   bool
	ledger *ledger
	high   api.Seq
}

// pending is a send or some posts that began.
type pending struct {
	from, to uint64
	began    int64
	ledger   *ledger // the newest of the room then; nil: there was none
	high     api.Seq // what had been heard of it then
	seq      api.Seq // of a send that was heard already

	ended bool  // posts: all of them, admitted, in run epoch
	done  int64 // when they had
	epoch string
	heard uint64
}

// of names what p is of connection conn.
func (p *pending) of(conn string) string {
	if p.from == p.to {
		return fmt.Sprintf("%s#%d", conn, p.from)
	}
	return fmt.Sprintf("%s#%d to %d", conn, p.from, p.to)
}

// window is how many of the latest numbers of a sender are remembered.
const window = 8192

func (h *History) senderOf(conn string) *sender {
	s := h.senders[conn]
	if s == nil {
		s = &sender{open: map[uint64]*pending{}, failed: map[uint64]bool{}, seen: map[uint64]bool{}}
		if m := h.conns[conn]; m != nil {
			s.room = m.room
		}
		h.senders[conn] = s
	}
	return s
}

func (h *History) begin(s *sender, nanos int64, from, to uint64) *pending {
	p := &pending{from: from, to: to, began: nanos, ledger: h.newest(s.room)}
	if p.ledger != nil {
		p.high = p.ledger.high
	}
	return p
}

// sent takes into account how a send begins or ends.
func (h *History) sent(r *Record) {
	conn, n, ok := splitID(r.ID)
	if !ok {
		return
	}
	s := h.senderOf(conn)
	if r.At == AtInvoke {
		h.sum.Sent++
		s.open[n] = h.begin(s, r.Nanos, n, n)
		return
	}
	p := s.open[n]
	delete(s.open, n)
	switch r.At {
	case AtOK:
		h.sum.OK++
		h.receipt(s, p, r)
	case AtFailed:
		h.sum.Failed++
		s.failed[n] = true
		if s.seen[n] {
			h.violate(InvariantMessages, s.room, "failed but delivered: %s (%s)", r.ID, r.Error)
		}
	case AtUnknown:
		h.sum.Unknown++
		s.obscure = true
	}
}

// receipt enters the message of a receipt, if it is known in which run of the
// provider it was.
func (h *History) receipt(s *sender, p *pending, r *Record) {
	if p != nil && p.seq > 0 && p.seq != r.Seq {
		h.violate(InvariantMessages, s.room, "two orders: %s is %d by its receipt, but was heard as %d", r.ID, r.Seq, p.seq)
		return
	}
	if r.Epoch == "" || r.Seq == 0 {
		s.obscure = true
		return
	}
	l := h.ledgers[ledgerKey{s.room, r.Epoch}]
	if l == nil || r.Seq <= l.floor {
		return
	}
	l.high = max(l.high, r.Seq)
	e := l.entries[r.Seq]
	if e == nil {
		from, _, _ := splitID(r.ID)
		e = &entry{seq: r.Seq, id: r.ID, from: from}
		l.entries[r.Seq] = e
	}
	if e.id != r.ID {
		h.violate(InvariantMessages, s.room, "two orders: %s is %d by its receipt, which others heard as %s", r.ID, r.Seq, e)
		return
	}
	e.receipt, e.receivers = true, r.Receivers
	if p != nil {
		e.began = p.began
	}
}

// posted takes into account that posts begin.
func (h *History) posted(r *Record) {
	h.sum.Sent += r.To - r.From + 1
	s := h.senderOf(r.Conn)
	s.obscure = true // for the gaps of others: what only it has heard of
	p := h.begin(s, r.Nanos, r.From, r.To)
	for n := r.From; n <= r.To; n++ {
		if s.seen[n] { // others were quicker to tell
			p.heard++
		}
	}
	s.posts = append(s.posts, p)
}

// flushed takes into account how posts ended. That is only known if nothing else
// of the connection was posted meanwhile.
func (h *History) flushed(r *Record) {
	s := h.senderOf(r.Conn)
	count := r.To - r.From + 1
	whole := r.Admitted == count && r.Error == ""
	h.sum.OK += r.Admitted
	switch rest := count - min(count, r.Admitted); {
	case strings.Contains(r.Error, api.ErrOutcomeUnknown.Error()):
		h.sum.Unknown += rest // some of them may have been refused
	case r.Admitted == 0 && r.Error != "":
		h.refused(s, r)
		fallthrough
	default:
		h.sum.Failed += rest
	}
	kept := s.posts[:0]
	for _, p := range s.posts {
		inside := r.From <= p.from && p.to <= r.To
		if inside && whole && r.Epoch != "" {
			p.ended, p.done, p.epoch = true, r.Nanos, r.Epoch
		}
		if !inside || p.ended {
			kept = append(kept, p)
		}
	}
	s.posts = kept
}

// refused notes that none of some posts was admitted.
func (h *History) refused(s *sender, r *Record) {
	for n := r.From; n <= r.To; n++ {
		if s.failed[n] = true; s.seen[n] {
			h.violate(InvariantMessages, s.room, "failed but delivered: %s#%d (%s)", r.Conn, n, r.Error)
		}
	}
}

// arrived takes into account that a message was heard for the first time.
func (h *History) arrived(l *ledger, e *entry) {
	conn, n, ok := splitID(e.id)
	if !ok {
		h.violate(InvariantMessages, l.key.room, "%s was sent by nobody", e)
		return
	}
	s := h.senders[conn]
	if s == nil { // it is dead and forgotten
		s = h.senderOf(conn)
		s.room = l.key.room
		h.silence(conn)
	}
	switch {
	case s.seen[n], n+window <= s.most:
		h.violate(InvariantMessages, l.key.room, "twice: %s was heard before", e)
	case s.failed[n]:
		h.violate(InvariantMessages, l.key.room, "failed but delivered: %s", e)
	}
	s.hear(n, e)
}

// hear notes that message n of s was heard, as e.
func (s *sender) hear(n uint64, e *entry) {
	s.seen[n] = true
	s.most = max(s.most, n)
	if len(s.seen) > 2*window {
		s.forget()
	}
	if p := s.open[n]; p != nil {
		p.seq, e.began = e.seq, p.began
	}
	for _, p := range s.posts {
		if p.from <= n && n <= p.to {
			p.heard++
			e.began = p.began
		}
	}
}

// forget drops the numbers that are too old to matter.
func (s *sender) forget() {
	for _, numbers := range []map[uint64]bool{s.seen, s.failed} {
		for n := range numbers {
			if n+window <= s.most {
				delete(numbers, n)
			}
		}
	}
}

// unended yields what s has begun and not ended.
func (s *sender) unended() iter.Seq[*pending] {
	return func(yield func(*pending) bool) {
		for _, p := range s.open {
			if !yield(p) {
				return
			}
		}
		for _, p := range s.posts {
			if !p.ended && !yield(p) {
				return
			}
		}
	}
}

// abandon gives up what s has not ended, and returns how many messages have an
// unknown outcome by that.
func (s *sender) abandon() (unknown uint64, open []*pending) {
	open = slices.Collect(s.unended())
	for _, p := range open {
		unknown += p.to - p.from + 1
	}
	clear(s.open)
	s.posts = slices.DeleteFunc(s.posts, func(p *pending) bool { return !p.ended })
	s.obscure = s.obscure || len(open) > 0
	return unknown, open
}

// checkEnded checks that all sends and posts have ended, and gives up those that
// have not, so that they hide nothing.
func (h *History) checkEnded() {
	for conn, s := range h.senders {
		_, open := s.abandon()
		for _, p := range open {
			h.violate(InvariantMessages, s.room, "never ended: %s", p.of(conn))
		}
	}
}

// hold returns up to where l can be settled before an open send may have to be
// entered.
func (h *History) hold(l *ledger) api.Seq {
	limit := api.Seq(math.MaxUint64)
	for _, s := range h.senders {
		if s.room != l.key.room {
			continue
		}
		for p := range s.unended() {
			limit = min(limit, p.holds(l))
		}
	}
	return limit
}

// holds returns up to where l can be settled before p has ended.
func (p *pending) holds(l *ledger) api.Seq {
	switch {
	case p.ledger == l:
		return p.high
	case p.ledger == nil || p.ledger.number < l.number:
		return l.floor
	default:
		return math.MaxUint64
	}
}

func (h *History) held(l *ledger) bool { return h.hold(l) < math.MaxUint64 }

// settlePosts checks the posts of all senders that must have been heard by now,
// and forgets senders that are no more.
func (h *History) settlePosts(final bool) {
	for conn, s := range h.senders {
		s.posts = slices.DeleteFunc(s.posts, func(p *pending) bool { return p.ended && h.settlePost(s, conn, p, final) })
		if s.over && len(s.open)+len(s.posts) == 0 && (s.ledger == nil || s.ledger.floor >= s.high) {
			delete(h.senders, conn)
		}
	}
}

// settlePost checks posts that have ended, and reports whether nothing is to come
// of them.
func (h *History) settlePost(s *sender, conn string, p *pending, final bool) bool {
	l := h.ledgers[ledgerKey{s.room, p.epoch}]
	if l == nil || p.heard > p.to-p.from {
		return true
	}
	listens, past := h.listener(l, conn, p, final)
	if past {
		h.violate(InvariantMessages, s.room, "lost: of the posts %s, which were admitted, %d were heard by anybody", p.of(conn), p.heard)
	}
	return past || !listens
}

// silence notes that conn sends nothing any more.
func (h *History) silence(conn string) {
	s := h.senderOf(conn)
	s.over = true
	if s.ledger = h.newest(s.room); s.ledger != nil {
		s.high = s.ledger.high
	}
}

// listener reports whether somebody other than conn was there to hear the posts, and
// has come past them: it has heard what began when they had ended.
func (h *History) listener(l *ledger, conn string, p *pending, final bool) (listens, past bool) {
	skew := clockSkew
	if final {
		skew = 0 // what it heard last began after all others had ended
	}
	for s := range l.stays {
		was := s.since > 0 && s.since+clockSkew < p.began
		if was && s.hears() && !s.over && !s.member.options.Gap && s.member.label != conn {
			listens, past = true, past || s.sure > p.done+skew
		}
	}
	return listens, past
}
