package notification

import (
	"container/list"
	"time"

	"crier.local/api"
)

// DefaultStall is how long senders wait for a connection that takes nothing.
const DefaultStall = 5 * time.Second

// stallStep is how many bytes a connection must take to get a new clock.
const stallStep = 16 << 10

// queues is what admission knows of the queues of a room, and what it has done
// with the sends it decides about.
//
// None of the methods may call admission. Queues become fuller only by admit, or
// else the room calls settle; they become emptier at any time, and of those
// watched progress is called afterwards.
type queues interface {
	// fits reports whether s can be admitted as far as others than its sender
	// are concerned.
	fits(s *send) bool
	// full passes on the connections, without the sender, that keep s from
	// fitting; blocks reports whether c is one of them.
	full(s *send, yield func(c *connection))
	blocks(s *send, c *connection) bool
	// echoFits reports whether the sender can take what comes back to it of s.
	echoFits(s *send) bool
	// watch turns the calls of progress for c on or off.
	watch(c *connection, on bool)
	// taken returns how many bytes c has ever taken.
	taken(c *connection) uint64
	// admit carries out s, or as much of it as fits, and reports whether that was
	// all; refuse answers with err what is left. Each send ends by one of them, unless
	// it is withdrawn.
	admit(s *send) (all bool)
	refuse(s *send, err error)
}

// admission decides in which order the sends of a room are carried out, which of
// them wait, for whom, and who has kept them waiting for too long.
//
// It is a pure state machine: no locks, no goroutines, no I/O, and the time is an
// argument, which never goes back. The room's lock guards it.
type admission struct {
	queues queues
	stall  time.Duration

	parked  list.List // of *send, first come first
	awaited list.List // of *connection: those that the first of parked waits for, the longest running clock first
	round   uint64    // number of the last search for those
}

// turn is what admission keeps of a connection: its part as a sender, and the
// clock that runs while it is waited for.
type turn struct {
	parked int // its sends that wait

	awaited *list.Element // nil: nobody waits for it, and nothing below counts
	started time.Time     // when its clock started
	mark    uint64        // what it had taken when it last had taken stallStep
	spared  bool          // its clock ran out once; its sends are refused
	round   uint64        // the last search that found it
}

// submit admits s, refuses it or parks it, and reports whether it is parked.
func (a *admission) submit(s *send, now time.Time) (parked bool) {
	switch {
	case s.from.spared, !a.queues.echoFits(s):
		a.queues.refuse(s, api.ErrFull)
		return false
	case a.parked.Len() == 0 && a.admit(s):
		return false
	}
	s.parked = a.parked.PushBack(s)
	s.from.turn.parked++
	if a.parked.Len() == 1 {
		a.settle(now)
	}
	return s.parked != nil
}

// admit carries out what of s fits, and reports whether that was all.
func (a *admission) admit(s *send) (all bool) {
	for !all && a.queues.echoFits(s) && a.queues.fits(s) {
		all = a.queues.admit(s)
	}
	return all
}

// withdraw ends the wait of s without admitting it, and reports whether it
// waited. The caller settles.
func (a *admission) withdraw(s *send) bool {
	if s.parked == nil {
		return false
	}
	a.parked.Remove(s.parked)
	s.parked = nil
	s.from.turn.parked--
	return true
}

// gone ends the part that c played: its sends are refused with err, and nobody
// waits for it. The caller takes it out of the queues before, and settles.
func (a *admission) gone(c *connection, err error) {
	a.refuseAll(c, err)
	if c.awaited != nil {
		a.stop(c)
	}
}

// progress notes that c, which is watched, took something or has a shorter queue.
func (a *admission) progress(c *connection, now time.Time) {
	if c.awaited == nil {
		return
	}
	a.count(c, now)
	switch {
	case a.queues.blocks(a.first(), c):
	case a.awaited.Len() > 1:
		a.stop(c)
	default:
		a.settle(now)
	}
}

// settle admits what can be admitted, and finds out for whom the rest waits. A
// connection that the room waited for before and waits for again, if for another
// send, keeps its clock.
func (a *admission) settle(now time.Time) {
	a.round++
	for s := a.first(); s != nil; s = a.first() {
		echo := a.queues.echoFits(s)
		if echo && !a.queues.fits(s) && a.await(s, now) {
			break
		}
		if echo && !a.queues.admit(s) {
			continue
		}
		a.withdraw(s)
		if !echo {
			a.queues.refuse(s, api.ErrFull)
		}
	}
	for e := a.awaited.Front(); e != nil; {
		c := e.Value.(*connection)
		e = e.Next()
		if c.round != a.round {
			a.stop(c)
		}
	}
}

// expired returns a connection to be evicted, whose clock has run out; nil if
// there is none, or none any more. Those that may be stuck in sends of their own
// are freed from these instead. The caller calls gone for what is returned, and
// settles at the end.
func (a *admission) expired(now time.Time) *connection {
	for {
		c := a.oldest()
		if c == nil || now.Before(c.started.Add(a.stall)) {
			return nil
		}
		a.progress(c, now) // word of it may be under way
		if c != a.oldest() || now.Before(c.started.Add(a.stall)) {
			continue
		}
		if c.turn.parked == 0 { // which it is also if c was spared before
			return c
		}
		a.refuseAll(c, api.ErrFull)
		c.spared = true
		a.restart(c, now)
	}
}

// due returns when expired is to be called next; false if never.
func (a *admission) due() (time.Time, bool) {
	c := a.oldest()
	if c == nil {
		return time.Time{}, false
	}
	return c.started.Add(a.stall), true
}

// senders returns how many connections have parked sends.
func (a *admission) senders() int {
	senders := map[*connection]bool{}
	for e := a.parked.Front(); e != nil; e = e.Next() {
		senders[e.Value.(*send).from] = true
	}
	return len(senders)
}

// first returns the send that is to be admitted next, nil if none is parked.
func (a *admission) first() *send {
	if e := a.parked.Front(); e != nil {
		return e.Value.(*send)
	}
	return nil
}

// oldest returns the connection whose clock runs out next, nil if none runs. All
// clocks run equally long, so it is the one whose clock started first.
func (a *admission) oldest() *connection {
	if e := a.awaited.Front(); e != nil {
		return e.Value.(*connection)
	}
	return nil
}

// await starts the clocks of those that s waits for, and reports whether there
// are any.
func (a *admission) await(s *send, now time.Time) bool {
	a.round++
	found := false
	a.queues.full(s, func(c *connection) {
		if c.awaited == nil && !a.start(s, c, now) {
			return
		}
		c.round = a.round
		found = true
	})
	return found
}

// start begins to wait for c, unless it can take s after all: what it took before
// it was watched was not told.
func (a *admission) start(s *send, c *connection, now time.Time) bool {
	a.queues.watch(c, true)
	if !a.queues.blocks(s, c) {
		a.queues.watch(c, false)
		return false
	}
	c.started, c.mark, c.spared = now, a.queues.taken(c), false
	c.awaited = a.awaited.PushBack(c)
	return true
}

// stop ends the wait for c.
func (a *admission) stop(c *connection) {
	a.queues.watch(c, false)
	a.awaited.Remove(c.awaited)
	c.awaited, c.spared = nil, false
}

// count gives c a new clock if it has taken enough for it.
func (a *admission) count(c *connection, now time.Time) {
	if taken := a.queues.taken(c); taken-c.mark >= stallStep {
		c.mark = taken - (taken-c.mark)%stallStep
		c.spared = false
		a.restart(c, now)
	}
}

func (a *admission) restart(c *connection, now time.Time) {
	c.started = now
	a.awaited.MoveToBack(c.awaited)
}

// refuseAll refuses the parked sends of c.
func (a *admission) refuseAll(c *connection, err error) {
	for e := a.parked.Front(); e != nil && c.turn.parked > 0; {
		s := e.Value.(*send)
		e = e.Next()
		if s.from == c {
			a.withdraw(s)
			a.queues.refuse(s, err)
		}
	}
}
