package notification

import (
	"fmt"

	"crier.local/api"
	"crier.local/api/wire"
	"crier.local/provider"
)

const (
	// maxChunk bounds a part of a list of members in bytes.
	maxChunk = 32 << 10
	// maxRecord bounds the departures of one record in bytes: those of some
	// thousands of connections.
	maxRecord = 256 << 10
	// entryRoom is what a member or a departure takes besides its name.
	entryRoom = 24
)

// announce tells those who asked for presence, but not the connection that it is
// about. Those who cannot even be told are evicted. The caller settles.
func (r *room) announce(e *wire.Event, about *connection) {
	r.seq++
	if r.watchers.Len() == 0 {
		return
	}
	e.Seq, e.Time = r.seq, r.now
	n := &provider.Notification{Body: wire.EncodeEvent(e), Urgent: true, Tag: tagOf(r.seq, tagPresence)}
	var except *provider.Resource
	if about != nil {
		except = about.resource
	}
	var full []*connection
	for resource := range r.watchers.Full(len(n.Body), true, except) {
		full = append(full, resource.Owner().(*connection))
	}
	for _, c := range full {
		r.evict(c)
	}
	r.watchers.Append(n, except)
}

// announceLeft tells that members left together, for the reason that e gives, and
// frees their seats. A record's are free before the next is told: a list of
// members that goes out between the two must not have them.
func (r *room) announceLeft(members []*connection, e *api.Event) {
	e.Kind = api.KindLeft
	if len(members) == 1 {
		e.From, e.UID = members[0].name, members[0].uid
		r.announce(&wire.Event{Event: *e}, nil)
		r.vacate(members[0])
		return
	}
	for len(members) > 0 {
		record, told := &wire.Event{Event: *e}, 0
		for size := 0; told < len(members) && size < maxRecord; told++ {
			c := members[told]
			record.Departures = append(record.Departures, wire.Departure{Name: c.name, UID: c.uid})
			size += len(c.name) + entryRoom
		}
		r.announce(record, nil)
		for _, c := range members[:told] {
			r.vacate(c)
		}
		members = members[told:]
	}
}

// sendSnapshot queues for c the members there are.
func (r *room) sendSnapshot(c *connection) {
	members := r.membersFor(c)
	for more := true; more; {
		n := chunk(members)
		more = n < len(members)
		e := wire.Event{Event: api.Event{Kind: api.KindMembers, Members: members[:n]}, More: more}
		c.push(&provider.Notification{Body: wire.EncodeEvent(&e), Urgent: true, Tag: tagOf(r.seq, tagMembers)})
		members = members[n:]
	}
}

// chunk returns how many of members fit into one event.
func chunk(members []api.Member) int {
	n := 0
	for size := entryRoom; n < len(members); n++ {
		if size += len(members[n].Name) + entryRoom; size > maxChunk {
			break
		}
	}
	return n
}

// membersFor returns the members of the room as c sees them: itself, even if
// others are not told of it, and then the rest.
func (r *room) membersFor(c *connection) []api.Member {
	members := make([]api.Member, 0, len(r.seats)+1)
	if c.receives() {
		members = append(members, api.Member{Name: c.name, UID: c.uid, Since: c.since})
	}
	for _, other := range r.seats {
		if other != c && other.member() {
			members = append(members, api.Member{Name: other.name, UID: other.uid, Since: other.since})
		}
	}
	return members
}

// push queues n for c, whether it fits or not.
func (c *connection) push(n *provider.Notification) {
	c.pushing = true
	c.queue(n)
	c.pushing = false
}

// queue appends n to c's queue alone, and returns for how many that was.
func (c *connection) queue(n *provider.Notification) int {
	var alone provider.Group
	alone.Add(c.resource)
	return alone.Append(n, nil)
}

// evictionNote says in words why a connection is evicted.
func evictionNote(senders int) string {
	switch senders {
	case 0:
		return "stopped reading"
	case 1:
		return "stopped reading while 1 sender waited"
	default:
		return fmt.Sprintf("stopped reading while %d senders waited", senders)
	}
}
