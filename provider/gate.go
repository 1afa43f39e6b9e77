package provider

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"crier.local/api"
)

const (
	// maxSilent is how many connections that have not greeted are let in before
	// others have to wait.
	maxSilent = 64
	// greetingTime is how long a connection may take for its greeting; one whose
	// calls are refused anyway gets refusalTime, to hear of it.
	greetingTime = 5 * time.Second
	refusalTime  = time.Second
	// maxConnects is how often a stranger may connect in a second. As many more
	// are told so, and what is beyond that is dropped without a word.
	maxConnects = 200
	// stuckTime is for how long a hall may be full before strangers who say nothing
	// have to make room for others.
	stuckTime = 100 * time.Millisecond
	// maxVisitors is how many strangers are remembered.
	maxVisitors = 1024
)

// gate counts who has come in. It makes the listeners wait while too many
// connections have not said anything, and keeps one stranger from taking the
// places of all: the provider's own user and root are not held to that.
type gate struct {
	places   int           // for processes
	patience time.Duration // for greetings
	vigil    vigil         // over the processes on this host
	census   census        // of them

	mu       sync.Mutex
	local    hall             // of unix sockets
	remote   hall             // of TCP, so that no network keeps this host's processes waiting
	unknown  map[*link]uint64 // those in the halls, numbered as they came
	arrivals uint64
	taken    int // places
	visitors map[visitorID]*visitor
	shut     bool
	over     bool           // nobody stays in the halls
	inside   sync.WaitGroup // one per attachment
}

// hall is where connections are that have not greeted. The gate's lock guards it.
type hall struct {
	gate   *gate
	most   int // connections, before others have to wait
	silent int
	calmer sync.Cond // silent sank, the hall got stuck, or the gate was shut
	stuck  bool      // it was full for stuckTime, and has not been half empty since
	timer  bool      // that decides about stuck
}

// visitorID names a stranger: a user by the uid, who shows a certificate by its
// subject, and who has not yet done so by the address. Empty for whom no limit
// holds.
type visitorID string

// userID returns how the gate knows a user of this host.
func userID(uid uint32) visitorID {
	if uid == 0 || uid == uint32(os.Geteuid()) {
		return ""
	}
	return visitorID(fmt.Sprintf("uid %d", uid))
}

// visitor is a stranger.
type visitor struct {
	taken    int       // places
	second   time.Time // when the count of connects began
	connects int
}

func (g *gate) init(places int) {
	g.places, g.patience = places, greetingTime
	g.unknown, g.visitors = map[*link]uint64{}, map[visitorID]*visitor{}
	for _, h := range []*hall{&g.local, &g.remote} {
		h.gate, h.most, h.calmer.L = g, silentPlaces(places), &g.mu
	}
}

// share is for a provider that uses both halls. If descriptors are what limits
// them, each has half.
func (g *gate) share() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if most := silentPlaces(g.places); most < maxSilent {
		g.local.most, g.remote.most = max(1, most/2), max(1, most/2)
	}
}

// await returns true once another connection may come in, and false when the
// gate is shut.
func (h *hall) await() bool {
	h.gate.mu.Lock()
	defer h.gate.mu.Unlock()
	for h.silent >= h.most && !h.gate.shut {
		if l := h.intruderLocked(); h.stuck && l != nil {
			h.gate.mu.Unlock()
			l.Close()
			h.gate.mu.Lock()
			continue
		}
		h.watchLocked()
		h.calmer.Wait()
	}
	return !h.gate.shut
}

// watchLocked has it noticed that nothing moves in a hall that is full.
func (h *hall) watchLocked() {
	if h.stuck || h.timer {
		return
	}
	h.timer = true
	time.AfterFunc(stuckTime, func() {
		h.gate.mu.Lock()
		defer h.gate.mu.Unlock()
		h.timer, h.stuck = false, h.silent >= h.most
		h.calmer.Broadcast()
	})
}

// intruderLocked returns the connection that has been here longest of the stranger
// who has most; nil if there is no stranger.
func (h *hall) intruderLocked() (oldest *link) {
	counts := map[visitorID]int{}
	for l := range h.gate.unknown {
		if l.hall == h && l.visitor != "" {
			counts[l.visitor]++
		}
	}
	for l, number := range h.gate.unknown {
		switch {
		case l.hall != h || l.visitor == "":
		case oldest == nil, counts[l.visitor] > counts[oldest.visitor],
			l.visitor == oldest.visitor && number < h.gate.unknown[oldest]:
			oldest = l
		}
	}
	return oldest
}

// errFlood is for a connection that is to be dropped without a word.
var errFlood = errors.New("too many connections in a second")

// arrive counts a connection that has been accepted, and sets its refusal if its
// user connects too often. Those that are refused keep nobody else waiting.
func (g *gate) arrive(l *link) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.countLocked(l); err != nil {
		return err
	}
	if err := g.admitLocked(l); err != nil {
		return err
	}
	if l.refused != nil {
		g.dismissLocked(l)
	}
	return nil
}

// admitLocked lets l into its hall.
func (g *gate) admitLocked(l *link) error {
	if g.over {
		return net.ErrClosed
	}
	g.arrivals++
	g.unknown[l] = g.arrivals
	l.hall.silent++
	return nil
}

// knock counts a connection that has been accepted, of someone who is still to
// show who it is.
func (g *gate) knock(l *link) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if v := g.visitorLocked(l.visitor); v != nil && v.connect(time.Now()) > 2*maxConnects {
		return fmt.Errorf("%w: %s", errFlood, l.visitor)
	}
	return g.admitLocked(l)
}

// recognize is for a connection that has knocked, and of which is known now who
// it is, or why it is refused.
func (g *gate) recognize(l *link, id api.Identity, refused error) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	l.identity, l.visitor, l.refused = id, "subject "+visitorID(id.Subject), refused
	if err := g.countLocked(l); err != nil {
		return err
	}
	if l.refused != nil {
		g.dismissLocked(l)
	}
	return nil
}

// countLocked counts the connects of l's visitor.
func (g *gate) countLocked(l *link) error {
	v := g.visitorLocked(l.visitor)
	if v == nil {
		return nil
	}
	connects := v.connect(time.Now())
	if connects > 2*maxConnects {
		return fmt.Errorf("%w: %s", errFlood, l.visitor)
	}
	if connects > maxConnects {
		l.refused = refusal(fmt.Errorf("%w: %s connects more than %d times in a second", api.ErrTooMany, l.visitor, maxConnects))
	}
	return nil
}

// dismissLocked leaves l the time to hear why it is refused.
func (g *gate) dismissLocked(l *link) {
	g.greetLocked(l)
	l.deadline.Reset(refusalTime)
}

// connect counts a connect and returns how many there were in this second.
func (v *visitor) connect(now time.Time) int {
	if now.Sub(v.second) >= time.Second {
		v.second, v.connects = now, 0
	}
	v.connects++
	return v.connects
}

// greet notes that l has said something.
func (g *gate) greet(l *link) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.greetLocked(l)
}

func (g *gate) greetLocked(l *link) {
	if l.greeted {
		return
	}
	l.greeted = true
	l.deadline.Stop()
	delete(g.unknown, l)
	l.hall.silent--
	if l.hall.silent < max(1, l.hall.most/2) {
		l.hall.stuck = false
	}
	l.hall.calmer.Broadcast()
}

// settle gives l one of the places, if it has none.
func (g *gate) settle(l *link) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.settleLocked(l)
}

func (g *gate) settleLocked(l *link) error {
	v := g.visitorLocked(l.visitor)
	switch {
	case l.placed:
		return nil
	case g.shut || l.closed:
		return errGoingAway
	case g.taken >= g.places:
		return fmt.Errorf("%w: %d of %d places for processes are taken, which is the limit", api.ErrTooMany, g.taken, g.places)
	case v != nil && v.taken >= max(1, g.places/2):
		return fmt.Errorf("%w: %s has %d of %d places for processes, which is the limit for one", api.ErrTooMany, l.visitor, v.taken, g.places)
	}
	l.placed = true
	g.taken++
	if v != nil {
		v.taken++
	}
	return nil
}

// enter lets l's attachment in; leave is to follow. There is one at a time on a
// connection, whose end ends it.
func (g *gate) enter(l *link) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if l.attached {
		return fmt.Errorf("%w: there is an attachment on this connection", api.ErrTooMany)
	}
	if err := g.settleLocked(l); err != nil {
		return err
	}
	if g.shut {
		return errGoingAway
	}
	l.attached = true
	g.inside.Add(1)
	return nil
}

func (g *gate) leave(l *link) {
	g.mu.Lock()
	defer g.mu.Unlock()
	l.attached = false
	g.vacateLocked(l)
	g.inside.Done()
}

// depart counts the end of a connection.
func (g *gate) depart(l *link) {
	g.mu.Lock()
	defer g.mu.Unlock()
	l.closed = true
	l.deadline.Stop()
	g.greetLocked(l)
	g.vacateLocked(l)
}

// hasDeparted reports whether l's connection is closed.
func (g *gate) hasDeparted(l *link) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return l.closed
}

// vacateLocked gives l's place back once nothing of l is left.
func (g *gate) vacateLocked(l *link) {
	if !l.placed || !l.closed || l.attached {
		return
	}
	l.placed = false
	g.taken--
	if v := g.visitorLocked(l.visitor); v != nil {
		v.taken--
	}
}

// close lets nobody in any more, and wakes those that wait.
func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = true
	g.local.calmer.Broadcast()
	g.remote.calmer.Broadcast()
}

// clear ends the connections that have not greeted, and those that come yet. gRPC
// waits for their handshakes before it stops.
func (g *gate) clear() {
	g.mu.Lock()
	g.over = true
	unknown := slices.Collect(maps.Keys(g.unknown))
	g.mu.Unlock()
	for _, l := range unknown {
		l.Close()
	}
}

// visitorLocked returns what is known of a stranger; nil for those for whom no
// limit holds.
func (g *gate) visitorLocked(id visitorID) *visitor {
	if id == "" {
		return nil
	}
	v := g.visitors[id]
	if v == nil {
		g.forgetLocked()
		v = &visitor{}
		g.visitors[id] = v
	}
	return v
}

// forgetLocked keeps strangers that have gone from filling the memory.
func (g *gate) forgetLocked() {
	if len(g.visitors) < maxVisitors {
		return
	}
	for id, v := range g.visitors {
		if v.taken == 0 && time.Since(v.second) >= time.Second {
			delete(g.visitors, id)
		}
	}
}
