package notification

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"crier.local/api"
)

// basin is a room's queues for tests of admission: just counted bytes.
type basin struct {
	members []*vessel
	of      map[*connection]*vessel
	log     []string      // what became of the sends, in order
	ended   map[*send]int // how often each did
	race    func(*vessel) // called before a connection becomes watched
}

// testReserve is what only presence may fill.
const testReserve = 1000

// vessel is a connection and its queue.
type vessel struct {
	conn    *connection
	limit   int
	held    []int // sizes of what is queued
	got     []*send
	taken   uint64
	watched bool
}

func newBasin() *basin { return &basin{of: map[*connection]*vessel{}, ended: map[*send]int{}} }

func (b *basin) add(name string, limit int, o api.Connect) *vessel {
	v := &vessel{conn: &connection{name: name, options: o}, limit: limit}
	b.members = append(b.members, v)
	b.of[v.conn] = v
	return v
}

func (b *basin) remove(v *vessel) {
	b.members = slices.DeleteFunc(b.members, func(other *vessel) bool { return other == v })
	v.conn.gone = true
}

func (v *vessel) bytes() int {
	sum := 0
	for _, n := range v.held {
		sum += n
	}
	return sum
}

func (v *vessel) takes(n int) bool {
	return v.conn.lossy() || len(v.held) == 0 || v.bytes()+n <= v.limit
}

func (v *vessel) push(n int) {
	v.held = append(v.held, n)
	for v.conn.lossy() && len(v.held) > 1 && v.bytes() > v.limit {
		v.held = v.held[1:]
	}
}

// hears reports whether v gets s.
func (v *vessel) hears(s *send) bool {
	switch {
	case !v.conn.receives():
		return false
	case s.alone:
		return s.to == v.conn.name
	default:
		return v.conn != s.from || v.conn.options.Echo
	}
}

func (b *basin) fits(s *send) bool {
	fits := true
	b.full(s, func(*connection) { fits = false })
	return fits
}

func (b *basin) full(s *send, yield func(*connection)) {
	for _, v := range b.members {
		if b.blocks(s, v.conn) {
			yield(v.conn)
		}
	}
}

func (b *basin) blocks(s *send, c *connection) bool {
	v := b.of[c]
	return !c.gone && c != s.from && v.hears(s) && !v.takes(len(s.payload))
}

func (b *basin) echoFits(s *send) bool {
	v := b.of[s.from]
	return !v.hears(s) || v.takes(len(s.payload))
}

func (b *basin) watch(c *connection, on bool) {
	v := b.of[c]
	if on && b.race != nil {
		b.race(v)
	}
	v.watched = on
}

func (b *basin) taken(c *connection) uint64 { return b.of[c].taken }

func (b *basin) admit(s *send) {
	b.log = append(b.log, "admit "+s.to+" "+label(s))
	b.ended[s]++
	for _, v := range b.members {
		if v.hears(s) {
			v.push(len(s.payload))
			v.got = append(v.got, s)
		}
	}
}

func (b *basin) refuse(s *send, err error) {
	b.log = append(b.log, fmt.Sprintf("refuse %s: %v", label(s), err))
	b.ended[s]++
}

// label names a send: its number is in its time.
func label(s *send) string { return fmt.Sprintf("%s/%d", s.from.name, s.seq) }

// pool is a room for tests of admission: the machine itself and its queues, and a
// clock.
type pool struct {
	*basin
	admission
	now   time.Time
	sends []*send
}

func newPool() *pool {
	p := &pool{basin: newBasin(), now: time.Unix(0, 0)}
	p.admission = admission{queues: p.basin, stall: DefaultStall}
	return p
}

func (p *pool) send(from *vessel, size int, to string) *send {
	s := &send{from: from.conn, payload: make([]byte, size), alone: to != "", to: to, seq: api.Seq(len(p.sends) + 1)}
	p.sends = append(p.sends, s)
	p.submit(s, p.now)
	return s
}

// drain lets n entries of v go, and counts their bytes as taken, if they are.
func (p *pool) drain(v *vessel, n int, take bool) {
	n = min(n, len(v.held))
	for _, size := range v.held[:n] {
		if take {
			v.taken += uint64(size)
		}
	}
	v.held = v.held[n:]
	if v.watched {
		p.progress(v.conn, p.now)
	}
}

// die ends v.
func (p *pool) die(v *vessel, err error) {
	p.remove(v)
	p.gone(v.conn, err)
	p.settle(p.now)
}

// advance lets time pass, and calls expired as the timer would.
func (p *pool) advance(d time.Duration) (evicted []string) {
	for end := p.now.Add(d); ; {
		due, ok := p.due()
		if !ok || due.After(end) {
			p.now = end
			return evicted
		}
		p.now = due
		for c := p.expired(p.now); c != nil; c = p.expired(p.now) {
			evicted = append(evicted, c.name)
			p.remove(p.of[c])
			p.gone(c, &api.EvictedError{Reason: api.ReasonSlow})
		}
		p.settle(p.now)
	}
}

func (p *pool) expectLog(t *testing.T, want ...string) {
	t.Helper()
	if !slices.Equal(p.log, want) {
		t.Errorf("what became of the sends:\n%q\nwant\n%q", p.log, want)
	}
	p.log = nil
}

func expectEvicted(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("evicted %q, want %q", got, want)
	}
}
