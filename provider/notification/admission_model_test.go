package notification

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"crier.local/api"
)

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
		twins := map[*vessel]*vessel{}  // of p's in ref
		refSends := map[*send][]*send{} // p's in a row are several
		p.pace = rapid.IntRange(0, 3).Draw(t, "pace")
		born := 0
		size := rapid.SampledFrom([]int{0, 1, 500, 1000, 5000, 16 << 10, 30 << 10})
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
		submit := func(v *vessel, to string, sizes ...int) {
			first := p.count + 1
			s := p.sendRow(v, to, sizes...)
			for i, size := range sizes {
				twin := ref.make(twins[v], to, first+i, size)
				refSends[s] = append(refSends[s], twin)
				ref.submit(twin)
			}
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
				size := size.Draw(t, "size")
				if rapid.IntRange(0, 4).Draw(t, "alone") == 0 {
					to = some("to").conn.name
				}
				submit(v, to, size)
			},
			"send in a row": func(t *rapid.T) {
				v := some("from")
				if v.conn.options.Echo {
					t.Skip("these come one by one")
				}
				submit(v, "", rapid.SliceOfN(size, 1, 8).Draw(t, "sizes")...)
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
				p.drop(s)
				ref.parked = slices.DeleteFunc(slices.Clone(ref.parked), func(twin *send) bool {
					return slices.Contains(refSends[s], twin)
				})
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
	var parked, refParked []string
	for e := p.parked.Front(); e != nil; e = e.Next() {
		s := e.Value.(*send)
		for i := range p.left[s].payloads {
			parked = append(parked, fmt.Sprintf("%s/%d", s.from.name, p.left[s].number+i))
		}
	}
	for _, s := range ref.parked {
		refParked = append(refParked, ref.next(s))
	}
	if !slices.Equal(parked, refParked) || p.awaited.Len() != len(ref.clocks) {
		t.Fatalf("%q parked, %d awaited; the reference %q and %d", parked, p.awaited.Len(), refParked, len(ref.clocks))
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

// checkAllEnded demands that each message ended just once, and that those admitted
// came in one order, once, to those who were there.
func checkAllEnded(t *rapid.T, p *pool) {
	if len(p.ended) != p.count {
		t.Fatalf("%d of %d messages ended", len(p.ended), p.count)
	}
	for label, times := range p.ended {
		if times != 1 {
			t.Fatalf("%s ended %d times", label, times)
		}
	}
	rank := map[string]int{}
	for i, entry := range p.log {
		if words := strings.Fields(entry); words[0] == "admit" {
			rank[words[len(words)-1]] = i
		}
	}
	for _, v := range p.of {
		for i := 1; i < len(v.got); i++ {
			if rank[v.got[i-1]] >= rank[v.got[i]] {
				t.Fatalf("%s got %s before %s", v.conn.name, v.got[i-1], v.got[i])
			}
		}
	}
}
