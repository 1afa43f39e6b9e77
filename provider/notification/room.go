package notification

import (
	"sync"
	"time"

	"crier.local/api"
	"crier.local/provider"
)

// room is the connections that hear each other.
//
// Every step that a room takes is between lock and unlock. Its lock comes before
// the service's and the runtime's, whose callbacks come without locks.
type room struct {
	service *Service
	name    string

	mu  sync.Mutex
	now time.Time // of the step
	seq api.Seq   // of the last event

	seats     []*connection          // all there are, and those gone whose left is still to be told
	names     map[string]*connection // those in seats by folded name; the unnamed by that which they were given
	receivers provider.Group         // of messages
	watchers  provider.Group         // of presence

	admission admission
	draft     *send // the next send; kept until one parks, so that most need no new one
	timer     *time.Timer
	ticking   bool // timer is to call expire

	victims []*connection // could not be told of an event, their left is to be told yet
	evicted []*connection // to be closed once the lock is given back
	over    bool          // it has left the service: nobody can come any more
}

func newRoom(s *Service, name string, seq api.Seq) *room {
	r := &room{service: s, name: name, seq: seq, names: map[string]*connection{}, draft: &send{}}
	r.admission = admission{queues: r, stall: s.options.Stall}
	return r
}

// lock begins a step.
func (r *room) lock() {
	r.mu.Lock()
	r.now = time.Now()
}

// unlock ends a step. Evicted connections are closed here, since that calls their
// OnClosed, which takes the lock again.
func (r *room) unlock() {
	r.tick()
	evicted := r.evicted
	r.evicted = nil
	if len(r.seats) == 0 && !r.over {
		r.over = true
		r.service.end(r)
	}
	r.mu.Unlock()
	if len(evicted) > 0 {
		r.service.report(evicted)
	}
	for _, c := range evicted {
		c.resource.CloseWith(api.ReasonSlow, c.note)
	}
}

// tick lets the timer run while a clock does, and only then.
func (r *room) tick() {
	due, running := r.admission.due()
	switch {
	case running && !r.ticking && r.timer == nil:
		r.timer = time.AfterFunc(due.Sub(r.now), r.expire)
	case running && !r.ticking:
		r.timer.Reset(due.Sub(r.now))
	case !running && r.ticking:
		r.timer.Stop()
	}
	r.ticking = running
}

// expire is called by the timer, which may be early: while it runs clocks only
// get later.
func (r *room) expire() {
	r.lock()
	defer r.unlock()
	r.ticking = false
	for c := r.admission.expired(r.now); c != nil; c = r.admission.expired(r.now) {
		r.evict(c)
	}
	r.settle()
}

// settle ends a step that changed more than the queues: it tells of those who
// could not be told something, and then lets the sends go on that can.
func (r *room) settle() {
	for len(r.victims) > 0 {
		c := r.victims[0]
		r.victims = r.victims[1:]
		r.depart([]*connection{c}, &api.Event{Reason: api.ReasonSlow})
	}
	r.victims = nil
	r.admission.settle(r.now)
}

// seat makes c one of the room.
func (r *room) seat(c *connection) {
	c.at = len(r.seats)
	r.seats = append(r.seats, c)
	r.names[c.fold] = c
}

// retire takes c out of the queues, and ends its sends: it gets and does nothing
// any more. It keeps its seat and name until its left is told.
func (r *room) retire(c *connection, err error) {
	c.gone = true
	if c.receives() {
		r.receivers.Remove(c.resource)
		r.watchers.Remove(c.resource)
	}
	r.admission.gone(c, err)
}

// vacate frees c's seat and name.
func (r *room) vacate(c *connection) {
	last := len(r.seats) - 1
	r.seats[c.at] = r.seats[last]
	r.seats[c.at].at = c.at
	r.seats[last] = nil
	r.seats = r.seats[:last]
	delete(r.names, c.fold)
}

// evict ends c because others wait for it, or because it cannot be told of an
// event. settle tells the others, unlock tells c and the log.
func (r *room) evict(c *connection) {
	c.note = evictionNote(r.admission.senders())
	r.retire(c, &api.EvictedError{Reason: api.ReasonSlow, Note: c.note})
	r.victims = append(r.victims, c)
	r.evicted = append(r.evicted, c)
}

// dismiss announces connections whose process, or session, has ended.
func (r *room) dismiss(leaving []*connection, reason api.Reason) {
	r.lock()
	defer r.unlock()
	r.depart(leaving, &api.Event{Reason: reason})
	r.settle()
}

// depart tells that connections left, for the reason that e gives, and frees
// their seats. Connections that are not members go without a word.
func (r *room) depart(leaving []*connection, e *api.Event) {
	var members []*connection
	for _, c := range leaving {
		if c.member() && e.Reason != api.ReasonGoingAway {
			members = append(members, c)
		} else {
			r.vacate(c)
		}
	}
	r.announceLeft(members, e)
}
