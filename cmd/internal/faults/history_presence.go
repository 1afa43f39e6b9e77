package faults

import (
	"slices"
	"strings"

	"crier.local/api"
)

// look takes a list of the members, which replaces what m knew.
func (m *member) look(names []string) {
	m.view = map[string]bool{}
	for _, name := range names {
		m.view[name] = true
		delete(m.gone, name)
	}
}

// maxGone bounds how many of those who left are remembered for each witness.
const maxGone = 10000

// see takes into account who came or went, as m was told.
func (h *History) see(m *member, r *Record) {
	if !m.options.Presence {
		h.violate(InvariantPresence, m.room, "%s was told that %s %s, and did not ask", m.label, r.Who, r.Kind)
		return
	}
	if m.view == nil {
		h.violate(InvariantPresence, m.room, "%s was told that %s %s before it had a list of the members", m.label, r.Who, r.Kind)
		m.view = map[string]bool{}
	}
	switch r.Kind {
	case joined:
		h.came(m, r.Who)
	case left:
		h.went(m, r.Who)
	case renamed:
		h.went(m, r.Who)
		h.came(m, r.NewName)
	}
}

func (h *History) came(m *member, name string) {
	if m.view[name] {
		h.violate(InvariantPresence, m.room, "joined twice: %s was told that %s came, which was there", m.label, name)
	}
	m.view[name] = true
	delete(m.gone, name)
}

func (h *History) went(m *member, name string) {
	if !m.view[name] {
		h.violate(InvariantPresence, m.room, "left without joined: %s was told that %s went, which was not there", m.label, name)
	}
	delete(m.view, name)
	if len(m.gone) >= maxGone {
		clear(m.gone)
	}
	m.gone[name] = true
}

// checkGone checks that m hears nothing of those who left.
func (h *History) checkGone(m *member, r *Record) {
	if m.gone[r.Who] {
		h.violate(InvariantPresence, m.room, "message after left: %s heard %s of %s, which had left", m.label, r.ID, r.Who)
	}
}

// grave is where somebody was who is over.
type grave struct{ room, name string }

// mourning is how many checks may pass until everyone knows that somebody is over.
const mourning = 30

// checkGraves checks that nobody who has been over for long is still taken for a
// member; when it is final, that nobody is who does not live.
func (h *History) checkGraves(final bool) {
	for _, m := range h.conns {
		delete(h.graves, grave{m.room, m.name})
	}
	for g, age := range h.graves {
		if h.graves[g] = age + 1; age == mourning {
			h.checkView(func(room, name string) bool { return g != grave{room, name} })
			delete(h.graves, g)
		}
	}
	if final {
		alive := map[grave]bool{}
		for _, m := range h.conns {
			alive[grave{m.room, m.name}] = true
		}
		h.checkView(func(room, name string) bool { return alive[grave{room, name}] })
		h.checkKnown()
	}
}

// checkKnown checks that whoever asked for presence knows everyone there is.
func (h *History) checkKnown() {
	for _, m := range h.conns {
		for _, other := range h.conns {
			same := other.stay.ledger == m.stay.ledger && other != m
			if m.view != nil && same && other.isMember() && !m.view[other.name] {
				h.violate(InvariantPresence, m.room, "joined and not told: %s does not know that %s is there", m.label, other.name)
			}
		}
	}
}

// isMember reports whether others are told of m.
func (m *member) isMember() bool {
	return !m.options.SendOnly && !strings.HasPrefix(m.name, api.ReservedPrefix)
}

// checkView checks that whoever somebody takes for a member may be one.
func (h *History) checkView(may func(room, name string) bool) {
	for _, m := range h.conns {
		for name := range m.view {
			if !may(m.room, name) && !slices.Contains(m.called, name) {
				h.violate(InvariantPresence, m.room, "joined and not left: %s was never told that %s went", m.label, name)
				delete(m.view, name)
			}
		}
	}
}
