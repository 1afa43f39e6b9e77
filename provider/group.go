package provider

import (
	"iter"
	"math"
	"slices"
)

// Group is a set of resources that get the same notifications. Those of one
// process cost one body on the wire. The zero Group is empty and ready.
//
// A group is not safe for concurrent use: the lock of its owner guards it. While
// that lock is held, and nobody notifies the members but through this owner,
// what Fits has allowed stays allowed, so that a notification can be checked
// against many groups and queues and then appended to all.
type Group struct {
	bunches []*bunch // by process
	members int
}

// bunch is the members of one process. Its slice is only ever appended to, or
// replaced, because the outbox keeps it.
type bunch struct {
	out     *outbox
	members []*Resource
}

// Len returns how many resources are in g.
func (g *Group) Len() int { return g.members }

// Add puts r into g, once. A resource that is not notifiable is our caller's bug.
func (g *Group) Add(r *Resource) {
	if !r.handle.Notifiable() {
		panic("provider: a group of resources that cannot be notified")
	}
	b := g.bunch(r)
	if b == nil {
		b = &bunch{out: r.out}
		g.bunches = append(g.bunches, b)
	}
	if !slices.Contains(b.members, r) {
		b.members = append(b.members, r)
		g.members++
	}
}

// Remove takes r out of g, if it is there.
func (g *Group) Remove(r *Resource) {
	b := g.bunch(r)
	if b == nil {
		return
	}
	i := slices.Index(b.members, r)
	if i < 0 {
		return
	}
	g.members--
	b.members = slices.Concat(b.members[:i], b.members[i+1:])
	if len(b.members) == 0 {
		g.bunches = slices.DeleteFunc(g.bunches, func(other *bunch) bool { return other == b })
	}
}

func (g *Group) bunch(r *Resource) *bunch {
	for _, b := range g.bunches {
		if b.out == r.out {
			return b
		}
	}
	return nil
}

// Fits reports whether every member but except can take a body of so many bytes.
// Members that have a policy for overflow always can.
func (g *Group) Fits(body int, except *Resource) bool {
	for range g.Full(body, false, except) {
		return false
	}
	return true
}

// Full yields the members that keep a body of so many bytes from fitting.
func (g *Group) Full(body int, urgent bool, except *Resource) iter.Seq[*Resource] {
	return func(yield func(*Resource) bool) {
		for _, b := range g.bunches {
			for _, r := range b.members {
				if r != except && r.overflow == nil && !b.out.fits(r, charge(body), urgent) && !yield(r) {
					return
				}
			}
		}
	}
}

// Room returns how much every member but except can take: what fits one by one,
// and counts as that much together, fits as a series.
func (g *Group) Room(except *Resource) int64 {
	room := int64(math.MaxInt64)
	for _, b := range g.bunches {
		for _, r := range b.members {
			if r != except && r.overflow == nil {
				room = min(room, b.out.room(r))
			}
		}
	}
	return room
}

// Append queues n for every member but except and returns for how many, those
// that are closed not counted. It asks the members' Overflow policies, if they
// have one and are full; to the others n is appended whether it fits or not.
func (g *Group) Append(n *Notification, except *Resource) (receivers int) {
	return g.append(parcel{one: n}, except)
}

// AppendSeries is Append of the notifications of s, one after the other. The
// caller has s no more.
func (g *Group) AppendSeries(s *Series, except *Resource) (receivers int) {
	defer s.release()
	return g.append(whole(s), except)
}

func (g *Group) append(p parcel, except *Resource) (receivers int) {
	var overflowing []*Resource
	for _, b := range g.bunches {
		var queued int
		queued, overflowing = b.out.notifyMany(p, b.members, except, overflowing)
		receivers += queued
	}
	for _, r := range overflowing {
		if r.displace(p) == nil {
			receivers++
		}
	}
	return receivers
}
