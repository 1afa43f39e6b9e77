package provider

import (
	"errors"
	"fmt"
	"os"
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
	// maxConnects is how often a foreign user may connect in a second. As many more
	// are told so, and what is beyond that is dropped without a word.
	maxConnects = 200
	// maxVisitors is how many foreign users are remembered.
	maxVisitors = 1024
)

// gate counts who has come in. It makes the listeners wait while too many
// connections have not said anything, and keeps one user from taking the places
// of all: the provider's own and root are not held to that.
type gate struct {
	places   int           // for processes
	patience time.Duration // for greetings

	mu       sync.Mutex
	calmer   sync.Cond // silent sank, or the gate was shut
	silent   int       // connections that have not greeted
	taken    int       // places
	visitors map[uint32]*visitor
	shut     bool
	inside   sync.WaitGroup // one per attachment
}

// visitor is a foreign user.
type visitor struct {
	taken    int       // places
	second   time.Time // when the count of connects began
	connects int
}

func (g *gate) init(places int) {
	g.places, g.patience, g.visitors, g.calmer.L = places, greetingTime, map[uint32]*visitor{}, &g.mu
}

// await returns true once another connection may come in, and false when the
// gate is shut.
func (g *gate) await() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.silent >= maxSilent && !g.shut {
		g.calmer.Wait()
	}
	return !g.shut
}

// errFlood is for a connection that is to be dropped without a word.
var errFlood = errors.New("too many connections in a second")

// arrive counts a connection that has been accepted, and sets its refusal if its
// user connects too often. Those that are refused keep nobody else waiting.
func (g *gate) arrive(l *link) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	uid := l.identity.UID
	if v := g.visitorLocked(uid); v != nil {
		connects := v.connect(time.Now())
		if connects > 2*maxConnects {
			return errFlood
		}
		if connects > maxConnects {
			l.refused = refusal(fmt.Errorf("%w: uid %d connects more than %d times in a second", api.ErrTooMany, uid, maxConnects))
		}
	}
	if l.refused != nil {
		l.greeted = true
		l.deadline.Reset(refusalTime)
		return nil
	}
	g.silent++
	return nil
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
	g.silent--
	g.calmer.Broadcast()
}

// settle gives l one of the places, if it has none.
func (g *gate) settle(l *link) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.settleLocked(l)
}

func (g *gate) settleLocked(l *link) error {
	v := g.visitorLocked(l.identity.UID)
	switch {
	case l.placed:
		return nil
	case g.shut || l.closed:
		return errGoingAway
	case g.taken >= g.places:
		return fmt.Errorf("%w: %d processes are attached, which is the limit", api.ErrTooMany, g.taken)
	case v != nil && v.taken >= max(1, g.places/2):
		return fmt.Errorf("%w: uid %d has %d processes attached, which is the limit for one user", api.ErrTooMany, l.identity.UID, v.taken)
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

// vacateLocked gives l's place back once nothing of l is left.
func (g *gate) vacateLocked(l *link) {
	if !l.placed || !l.closed || l.attached {
		return
	}
	l.placed = false
	g.taken--
	if v := g.visitorLocked(l.identity.UID); v != nil {
		v.taken--
	}
}

// close lets nobody in any more, and wakes those that wait.
func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = true
	g.calmer.Broadcast()
}

// visitorLocked returns what is known of a foreign user; nil for the provider's
// own and root.
func (g *gate) visitorLocked(uid uint32) *visitor {
	if uid == 0 || uid == uint32(os.Geteuid()) {
		return nil
	}
	v := g.visitors[uid]
	if v == nil {
		g.forgetLocked()
		v = &visitor{}
		g.visitors[uid] = v
	}
	return v
}

// forgetLocked keeps users that have gone from filling the memory.
func (g *gate) forgetLocked() {
	if len(g.visitors) < maxVisitors {
		return
	}
	for uid, v := range g.visitors {
		if v.taken == 0 && time.Since(v.second) >= time.Second {
			delete(g.visitors, uid)
		}
	}
}
