package notification

import (
	"crier.local/api"
	"crier.local/api/wire"
	"crier.local/provider"
)

// The tag of a notification is its number in the room and what it is, so that a
// gap can be told of it when it is dropped.
const (
	tagMessage  = 0
	tagPresence = 1
	tagMembers  = 2
	tagBits     = 2
)

func tagOf(seq api.Seq, kind uint64) uint64 { return uint64(seq)<<tagBits | kind }

// gap is a run of events that a connection lost.
type gap struct {
	first, last api.Seq
	count       uint64
	stale       bool // what the client knows of the members is no longer true
}

// add counts a dropped notification; oldest first.
func (g *gap) add(dropped *provider.Notification) {
	seq, kind := api.Seq(dropped.Tag>>tagBits), dropped.Tag&(1<<tagBits-1)
	g.stale = g.stale || kind != tagMessage
	if kind != tagMembers {
		g.merge(gap{first: seq, last: seq, count: 1})
	}
}

// merge adds a gap that comes after g.
func (g *gap) merge(later gap) {
	if later.count == 0 {
		return
	}
	if g.count == 0 {
		g.first = later.first
	}
	g.last = later.last
	g.count += later.count
}

// record returns g as a client sees it.
func (g *gap) record() *provider.Notification {
	e := wire.Event{Event: api.Event{Kind: api.KindGap, First: g.first, Last: g.last, Count: g.count}}
	return &provider.Notification{Body: wire.EncodeEvent(&e), Urgent: true}
}

// overflow makes room for n in the queue of a connection that would rather lose
// events than be waited for. The oldest go, and the one record before the queue
// tells which. If it cannot know any more who is there, everything goes, and it
// is told anew: as things are before n.
func (c *connection) overflow(n *provider.Notification) {
	if c.pushing {
		return
	}
	var lost gap
	c.resource.Shed(n, false, lost.add)
	if lost.stale {
		c.resource.Shed(n, true, lost.add)
	}
	if lost.count == 0 && !lost.stale {
		return // all there is is on its way
	}
	c.resource.SwapHead(func(unsent *provider.Notification) *provider.Notification {
		if unsent == nil {
			c.gap = gap{}
		}
		c.gap.merge(lost)
		return c.gap.record()
	})
	if lost.stale {
		c.room.sendSnapshot(c)
	}
}
