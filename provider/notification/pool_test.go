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
	left    map[*send]*posts
	log     []string       // what became of the messages, in order
	ended   map[string]int // how often each did, by label
	race    func(*vessel)  // called before a connection becomes watched
	pace    int            // how many of a send are carried out in one step at most; 0: all that fit
}

// posts is what of a send has not ended: messages numbered from number on.
type posts struct {
	number   int
	payloads [][]byte
}

// testReserve is what only presence may fill.
const testReserve = 1000

// vessel is a connection and its queue.
type vessel struct {
	conn    *connection
	limit   int
	held    []int    // sizes of what is queued
	got     []string // labels
	taken   uint64
	watched bool
}

func newBasin() *basin {
	return &basin{of: map[*connection]*vessel{}, left: map[*send]*posts{}, ended: map[string]int{}}
}

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

func (b *basin) admit(s *send) (all bool) {
	for n := 1; ; n++ {
		label := b.next(s)
		b.log = append(b.log, "admit "+s.to+" "+label)
		for _, v := range b.members {
			if v.hears(s) {
				v.push(len(s.payload))
				v.got = append(v.got, label)
			}
		}
		if b.end(s) {
			return true
		}
		if n == b.pace || !b.fits(s) {
			return false
		}
	}
}

func (b *basin) refuse(s *send, err error) {
	for all := false; !all; all = b.end(s) {
		b.log = append(b.log, fmt.Sprintf("refuse %s: %v", b.next(s), err))
	}
}

// drop ends what is left of s, which was withdrawn.
func (b *basin) drop(s *send) {
	for !b.end(s) {
	}
}

// next names the next message of s.
func (b *basin) next(s *send) string { return fmt.Sprintf("%s/%d", s.from.name, b.left[s].number) }

// end ends the next message of s, and reports whether it was the last.
func (b *basin) end(s *send) (last bool) {
	b.ended[b.next(s)]++
	left := b.left[s]
	left.number++
	if left.payloads = left.payloads[1:]; len(left.payloads) > 0 {
		s.payload = left.payloads[0]
	}
	return len(left.payloads) == 0
}

// make returns a send of messages of so many bytes, numbered from number on.
func (b *basin) make(from *vessel, to string, number int, sizes ...int) *send {
	left := &posts{number: number}
	for _, size := range sizes {
		left.payloads = append(left.payloads, make([]byte, size))
	}
	s := &send{from: from.conn, payload: left.payloads[0], alone: to != "", to: to}
	b.left[s] = left
	return s
}

// pool is a room for tests of admission: the machine itself and its queues, and a
// clock.
type pool struct {
	*basin
	admission
	now   time.Time
	sends []*send
	count int // of messages
}

func newPool() *pool {
	p := &pool{basin: newBasin(), now: time.Unix(0, 0)}
	p.admission = admission{queues: p.basin, stall: DefaultStall}
	return p
}

func (p *pool) send(from *vessel, size int, to string) *send { return p.sendRow(from, to, size) }

// sendRow submits messages of these sizes as one send.
func (p *pool) sendRow(from *vessel, to string, sizes ...int) *send {
	s := p.make(from, to, p.count+1, sizes...)
	p.count += len(sizes)
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
