package notification

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

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

func TestAdmissionIsInOrder(t *testing.T) {
	p := newPool()
	a, b, slow := p.add("a", 100, api.Connect{}), p.add("b", 100, api.Connect{}), p.add("slow", 100, api.Connect{})
	p.send(a, 100, "")
	p.send(a, 10, "") // slow and b are full
	p.send(b, 1, "a") // could be taken, but not before the others
	p.send(a, 1, "")  // so could this, by none
	p.drain(b, 1, true)
	p.expectLog(t, "admit  a/1")
	p.drain(slow, 1, true)
	p.expectLog(t, "admit  a/2", "admit a b/3", "admit  a/4")
}

func TestAdmissionOfOneDoesNotWaitForOthers(t *testing.T) {
	p := newPool()
	a, b, c := p.add("a", 100, api.Connect{}), p.add("b", 100, api.Connect{}), p.add("c", 100, api.Connect{})
	p.send(a, 100, "b")
	p.send(a, 100, "c")
	p.send(a, 1, "nobody")
	p.expectLog(t, "admit b a/1", "admit c a/2", "admit nobody a/3")
	p.send(a, 1, "c")
	if b.conn.awaited != nil || c.conn.awaited == nil {
		t.Error("a waits for the wrong one")
	}
}

func TestAdmissionWithdrawnOrDeadSendsAreNotCarriedOut(t *testing.T) {
	p := newPool()
	a, b, c := p.add("a", 100, api.Connect{}), p.add("b", 100, api.Connect{SendOnly: true}), p.add("c", 100, api.Connect{})
	p.send(b, 100, "")
	first, second := p.send(b, 50, ""), p.send(b, 10, "")
	p.send(a, 5, "")
	p.drain(a, 1, true)
	if !p.withdraw(first) || p.withdraw(first) {
		t.Error("a parked send can be withdrawn once")
	}
	p.settle(p.now)
	p.die(b, api.ErrClosed)
	if p.withdraw(second) {
		t.Error("a send of one who is gone waits")
	}
	p.expectLog(t, "admit  b/1", "refuse b/3: closed")
	p.die(c, api.ErrClosed)
	p.expectLog(t, "admit  a/4")
}

func TestAdmissionTakesWhatAnEmptyQueueTakes(t *testing.T) {
	p := newPool()
	a := p.add("a", 100, api.Connect{})
	b := p.add("b", 100, api.Connect{})
	p.send(a, 1000, "")
	p.send(a, 1000, "")
	p.drain(b, 1, true)
	p.expectLog(t, "admit  a/1", "admit  a/2")
}

func TestAdmissionNeverWaitsForEcho(t *testing.T) {
	p := newPool()
	a, b := p.add("a", 100, api.Connect{Echo: true}), p.add("b", 150, api.Connect{})
	p.send(a, 100, "")
	p.send(a, 10, "")
	p.expectLog(t, "admit  a/1", "refuse a/2: queue full")
	p.drain(a, 1, true)
	p.send(a, 60, "") // parked because of b, and then a's own queue fills up
	p.send(b, 90, "")
	p.expectLog(t)
	a.push(90)
	p.settle(p.now)
	p.expectLog(t, "refuse a/3: queue full")
	p.drain(a, 1, true)
	p.expectLog(t, "admit  b/4")
}

func TestAdmissionNoticesWhatWasTakenBeforeItWatched(t *testing.T) {
	p := newPool()
	a, b := p.add("a", 100, api.Connect{}), p.add("b", 100, api.Connect{})
	p.race = func(v *vessel) { v.held = nil }
	p.send(a, 100, "")
	p.send(a, 100, "")
	p.expectLog(t, "admit  a/1", "admit  a/2")
	if _, ok := p.due(); ok || b.watched {
		t.Error("a clock runs for nobody")
	}
}

func TestStallClock(t *testing.T) {
	p := newPool()
	a := p.add("a", 100<<10, api.Connect{})
	b := p.add("b", 100<<10, api.Connect{})
	p.send(a, 80<<10, "")
	p.advance(time.Hour) // nobody waits for b
	for range 3 {
		p.send(a, 10<<10, "")
	}
	p.expectLog(t, "admit  a/1", "admit  a/2", "admit  a/3")
	p.advance(4 * time.Second)
	b.taken += stallStep - 1
	p.progress(b.conn, p.now) // not enough
	expectEvicted(t, p.advance(time.Second-1))
	b.taken++
	p.progress(b.conn, p.now) // just enough, just in time
	expectEvicted(t, p.advance(5*time.Second-1))
	expectEvicted(t, p.advance(1), "b")
	p.expectLog(t, "admit  a/4")
}

func TestStallClockEndsWithTheWait(t *testing.T) {
	p := newPool()
	a, b := p.add("a", 100, api.Connect{SendOnly: true}), p.add("b", 100, api.Connect{})
	p.send(a, 100, "")
	p.send(a, 100, "")
	p.advance(4 * time.Second)
	p.drain(b, 1, true)
	if _, ok := p.due(); ok {
		t.Error("the clock runs on")
	}
	p.advance(time.Hour)
	p.send(a, 100, "")
	expectEvicted(t, p.advance(5*time.Second-1))
	expectEvicted(t, p.advance(1), "b")
}

// A receiver that takes a little, and is full again in the same step, has not
// got away with it.
func TestStallClockGoesOnFromSendToSend(t *testing.T) {
	p := newPool()
	a, b := p.add("a", 100, api.Connect{SendOnly: true}), p.add("b", 100, api.Connect{})
	for range 5 {
		p.send(a, 100, "")
	}
	p.advance(3 * time.Second)
	p.drain(b, 1, true)
	expectEvicted(t, p.advance(2*time.Second), "b")
}

func TestStallSparesTheOneWhoIsStuckHimself(t *testing.T) {
	p := newPool()
	a, b := p.add("a", 100, api.Connect{}), p.add("b", 100, api.Connect{})
	p.send(a, 100, "")
	p.send(b, 100, "")
	p.send(a, 1, "")
	p.send(b, 1, "")
	p.send(b, 2, "")
	p.expectLog(t, "admit  a/1", "admit  b/2")
	expectEvicted(t, p.advance(5*time.Second))
	p.expectLog(t, "refuse b/4: queue full", "refuse b/5: queue full")
	p.send(b, 3, "")
	p.expectLog(t, "refuse b/6: queue full")
	expectEvicted(t, p.advance(5*time.Second-1))
	expectEvicted(t, p.advance(1), "b")
	p.expectLog(t, "admit  a/3")
}

func TestStallSparesAgainAfterProgress(t *testing.T) {
	p := newPool()
	a, b := p.add("a", 10, api.Connect{}), p.add("b", 100<<10, api.Connect{})
	p.send(b, 10, "") // a is full
	for range 10 {
		p.send(a, 20<<10, "")
	}
	for range 3 {
		p.send(b, 1, "")
		expectEvicted(t, p.advance(5*time.Second))
		if b.conn.turn.parked > 0 || !b.conn.spared {
			t.Fatal("b was not spared")
		}
		p.drain(b, 1, true)
		if b.conn.spared {
			t.Fatal("b took something, and is not forgiven")
		}
	}
}

func TestStallOfSeveralAtOnce(t *testing.T) {
	p := newPool()
	a := p.add("a", 100, api.Connect{SendOnly: true})
	p.add("b", 100, api.Connect{})
	p.add("c", 100, api.Connect{})
	p.send(a, 100, "")
	p.send(a, 100, "")
	expectEvicted(t, p.advance(5*time.Second), "b", "c")
	p.expectLog(t, "admit  a/1", "admit  a/2")
}

func TestAdmissionDoesNotAllocate(t *testing.T) {
	p := newPool()
	a, b := p.add("a", 1<<30, api.Connect{}), p.add("b", 1<<30, api.Connect{})
	q := &countingQueues{}
	p.admission.queues = q
	s := &send{from: a.conn}
	if n := testing.AllocsPerRun(100, func() { p.submit(s, p.now) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if q.admitted == 0 || b.conn.awaited != nil {
		t.Error("nothing was admitted")
	}
}

// countingQueues take everything.
type countingQueues struct{ admitted int }

func (q *countingQueues) fits(*send) bool                { return true }
func (q *countingQueues) full(*send, func(*connection))  {}
func (q *countingQueues) blocks(*send, *connection) bool { return false }
func (q *countingQueues) echoFits(*send) bool            { return true }
func (q *countingQueues) watch(*connection, bool)        {}
func (q *countingQueues) taken(*connection) uint64       { return 0 }
func (q *countingQueues) admit(*send)                    { q.admitted++ }
func (q *countingQueues) refuse(*send, error)            {}

func BenchmarkAdmit(b *testing.B) {
	p := newPool()
	p.admission.queues = &countingQueues{}
	s := &send{from: p.add("a", 1, api.Connect{}).conn}
	b.ReportAllocs()
	for b.Loop() {
		p.submit(s, p.now)
	}
}

// reference is admission written down as it is explained, without regard for
// effort: after every step it looks at everything.
type reference struct {
	*basin
	now    time.Time
	parked []*send
	clocks map[*vessel]*refClock
	order  int
}

type refClock struct {
	since  time.Time
	order  int
	mark   uint64
	spared bool
}

func (r *reference) first() *send {
	if len(r.parked) == 0 {
		return nil
	}
	return r.parked[0]
}

func (r *reference) blockers() map[*vessel]bool {
	found := map[*vessel]bool{}
	for _, v := range r.members {
		if s := r.first(); s != nil && r.blocks(s, v.conn) {
			found[v] = true
		}
	}
	return found
}

func (r *reference) run() {
	for s := r.first(); s != nil; s = r.first() {
		if r.echoFits(s) && len(r.blockers()) > 0 {
			break
		}
		r.parked = r.parked[1:]
		if r.echoFits(s) {
			r.admit(s)
		} else {
			r.refuse(s, api.ErrFull)
		}
	}
	blockers := r.blockers()
	for v := range r.clocks {
		if !blockers[v] {
			delete(r.clocks, v)
		}
	}
	for _, v := range r.members {
		if blockers[v] && r.clocks[v] == nil {
			r.order++
			r.clocks[v] = &refClock{since: r.now, order: r.order, mark: v.taken}
		}
	}
}

func (r *reference) submit(s *send) {
	if c := r.clocks[r.of[s.from]]; (c != nil && c.spared) || !r.echoFits(s) {
		r.refuse(s, api.ErrFull)
		return
	}
	r.parked = append(r.parked, s)
	r.run()
}

func (r *reference) count(v *vessel) {
	c := r.clocks[v]
	if c == nil || v.taken-c.mark < stallStep {
		return
	}
	for v.taken-c.mark >= stallStep {
		c.mark += stallStep
	}
	r.order++
	c.since, c.order, c.spared = r.now, r.order, false
}

func (r *reference) refuseAll(v *vessel, err error) {
	r.parked = slices.DeleteFunc(slices.Clone(r.parked), func(s *send) bool {
		if s.from == v.conn {
			r.refuse(s, err)
		}
		return s.from == v.conn
	})
}

func (r *reference) die(v *vessel, err error) {
	r.remove(v)
	delete(r.clocks, v)
	r.refuseAll(v, err)
}

// advance lets time pass.
func (r *reference) advance(d time.Duration) (evicted []string) {
	end := r.now.Add(d)
	for {
		var next *vessel
		for v, c := range r.clocks {
			if n := r.clocks[next]; n == nil || c.since.Before(n.since) || (c.since.Equal(n.since) && c.order < n.order) {
				next = v
			}
		}
		if next == nil || r.clocks[next].since.Add(DefaultStall).After(end) {
			r.now = end
			return evicted
		}
		c := r.clocks[next]
		if due := c.since.Add(DefaultStall); due.After(r.now) {
			r.run() // the end of the former instant
			if r.clocks[next] != c {
				continue
			}
			r.now = due
		}
		stuck := slices.ContainsFunc(r.parked, func(s *send) bool { return s.from == next.conn })
		if stuck && !c.spared {
			r.refuseAll(next, api.ErrFull)
			r.order++
			c.spared, c.since, c.order = true, r.now, r.order
			continue
		}
		evicted = append(evicted, next.conn.name)
		r.die(next, &api.EvictedError{Reason: api.ReasonSlow})
		r.runIfNoneExpires()
	}
}

// runIfNoneExpires ends an instant in which no more clock runs out.
func (r *reference) runIfNoneExpires() {
	for _, c := range r.clocks {
		if !c.since.Add(DefaultStall).After(r.now) {
			return
		}
	}
	r.run()
}

// TestAdmissionModel lets the machine and the reference do the same, and compares
// everything that became of it.
func TestAdmissionModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := newPool()
		ref := &reference{basin: newBasin(), now: p.now, clocks: map[*vessel]*refClock{}}
		twins := map[*vessel]*vessel{} // of p's in ref
		refSends := map[*send]*send{}
		born := 0
		join := func() {
			o := api.Connect{SendOnly: rapid.IntRange(0, 4).Draw(t, "send only") == 0}
			if !o.SendOnly {
				o.Echo = rapid.IntRange(0, 3).Draw(t, "echo") == 0
				o.Overflow = api.Overflow(rapid.IntRange(0, 9).Draw(t, "overflow") / 8)
			}
			limit := rapid.SampledFrom([]int{1 << 10, 20 << 10, 64 << 10}).Draw(t, "limit")
			born++
			name := fmt.Sprintf("c%d", born)
			v := p.add(name, limit, o)
			twins[v] = ref.add(name, limit, o)
			p.settle(p.now)
			ref.run()
		}
		some := func(label string) *vessel {
			if len(p.members) == 0 {
				join()
			}
			return rapid.SampledFrom(p.members).Draw(t, label)
		}
		both := func(v *vessel, change func(v *vessel)) { change(v); change(twins[v]) }

		for range rapid.IntRange(2, 5).Draw(t, "members") {
			join()
		}
		t.Repeat(map[string]func(*rapid.T){
			"join": func(t *rapid.T) {
				if len(p.members) > 6 {
					t.Skip("enough")
				}
				join()
			},
			"send": func(t *rapid.T) {
				v, to := some("from"), ""
				size := rapid.SampledFrom([]int{0, 1, 500, 1000, 5000, 16 << 10, 30 << 10}).Draw(t, "size")
				if rapid.IntRange(0, 4).Draw(t, "alone") == 0 {
					to = some("to").conn.name
				}
				s := p.send(v, size, to)
				twin := &send{from: twins[v].conn, payload: s.payload, alone: s.alone, to: s.to, seq: s.seq}
				refSends[s] = twin
				ref.submit(twin)
			},
			"drain": func(t *rapid.T) {
				v := some("who")
				n, take := rapid.IntRange(1, 20).Draw(t, "entries"), rapid.Bool().Draw(t, "take")
				p.drain(v, n, take)
				twin := twins[v]
				n = min(n, len(twin.held))
				for _, size := range twin.held[:n] {
					if take {
						twin.taken += uint64(size)
					}
				}
				twin.held = twin.held[n:]
				ref.count(twin)
				ref.run()
			},
			"presence": func(t *rapid.T) {
				v := some("who")
				if !v.conn.receives() || v.bytes()+100 > v.limit+testReserve {
					t.Skip("it cannot hear that")
				}
				both(v, func(v *vessel) { v.push(100) })
				p.settle(p.now)
				ref.run()
			},
			"cancel": func(t *rapid.T) {
				var waiting []*send
				for _, s := range p.sends {
					if s.parked != nil {
						waiting = append(waiting, s)
					}
				}
				if len(waiting) == 0 {
					t.Skip("none")
				}
				s := rapid.SampledFrom(waiting).Draw(t, "which")
				p.withdraw(s)
				p.settle(p.now)
				p.ended[s]++
				i := slices.Index(ref.parked, refSends[s])
				ref.parked = slices.Delete(slices.Clone(ref.parked), i, i+1)
				ref.run()
			},
			"die": func(t *rapid.T) {
				v := some("who")
				p.die(v, api.ErrClosed)
				ref.die(twins[v], api.ErrClosed)
				ref.run()
			},
			"advance": func(t *rapid.T) {
				d := rapid.SampledFrom([]time.Duration{1, time.Second, 5*time.Second - 1, 5 * time.Second}).Draw(t, "time")
				got, want := p.advance(d), ref.advance(d)
				slices.Sort(got)
				slices.Sort(want)
				if !slices.Equal(got, want) {
					t.Fatalf("evicted %q, the reference %q", got, want)
				}
			},
			"": func(t *rapid.T) { compareWithReference(t, p, ref, twins) },
		})
		p.advance(time.Duration(2*len(p.members)+2) * DefaultStall)
		checkAllEnded(t, p)
	})
}

func compareWithReference(t *rapid.T, p *pool, ref *reference, twins map[*vessel]*vessel) {
	if !slices.Equal(p.log, ref.log) {
		t.Fatalf("what became of the sends:\n%q\nthe reference:\n%q", p.log, ref.log)
	}
	if p.parked.Len() != len(ref.parked) || p.awaited.Len() != len(ref.clocks) {
		t.Fatalf("%d parked, %d awaited; the reference %d and %d", p.parked.Len(), p.awaited.Len(), len(ref.parked), len(ref.clocks))
	}
	for _, v := range p.members {
		twin := twins[v]
		c := ref.clocks[twin]
		switch {
		case !slices.Equal(v.held, twin.held):
			t.Fatalf("%s holds %v, in the reference %v", v.conn.name, v.held, twin.held)
		case (c == nil) != (v.conn.awaited == nil) || v.watched != (c != nil):
			t.Fatalf("%s has a clock, or only in the reference", v.conn.name)
		case c != nil && (!c.since.Equal(v.conn.started) || c.spared != v.conn.spared || c.mark != v.conn.mark):
			t.Fatalf("%s has a clock %+v, in the reference %+v", v.conn.name, v.conn.turn, *c)
		case !v.conn.lossy() && len(v.held) > 1 && v.bytes() > v.limit+testReserve:
			t.Fatalf("%s holds %d bytes", v.conn.name, v.bytes())
		}
	}
}

// checkAllEnded demands that each send ended just once, and that those admitted
// came in one order, once, to those who were there.
func checkAllEnded(t *rapid.T, p *pool) {
	for _, s := range p.sends {
		if p.ended[s] != 1 {
			t.Fatalf("%s ended %d times", label(s), p.ended[s])
		}
	}
	rank := map[*send]int{}
	for i, entry := range p.log {
		for _, s := range p.sends {
			if entry == "admit "+s.to+" "+label(s) {
				rank[s] = i
			}
		}
	}
	for _, v := range p.of {
		for i := 1; i < len(v.got); i++ {
			if rank[v.got[i-1]] >= rank[v.got[i]] {
				t.Fatalf("%s got %s before %s", v.conn.name, label(v.got[i-1]), label(v.got[i]))
			}
		}
	}
}
