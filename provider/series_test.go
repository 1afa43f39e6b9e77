package provider

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"crier.local/api"
	"crier.local/api/wire"
)

// rig is some resources of some processes in a group, without clients: what they
// are sent is read here.
type rig struct {
	p         *Provider
	outs      []*outbox
	resources []*Resource
	group     Group
	heard     map[api.Handle][]string
	lost      map[*Resource]int
	dropped   bool // of what somebody had a hold on
}

// place says where a resource is, and what it can do.
type place struct {
	process                int
	credit, limit, reserve int64
	lossy, held, outside   bool // outside the group
}

func newRig(places []place, processQueue, totalQueue int64) *rig {
	r := &rig{
		p:     New(Options{Limits: Limits{ProcessQueue: processQueue, TotalQueue: totalQueue}}),
		heard: map[api.Handle][]string{}, lost: map[*Resource]int{},
	}
	var processes []*process
	for i, at := range places {
		for at.process >= len(processes) {
			o := newOutbox(r.p.options.Limits.ProcessQueue, &r.p.budget, nil)
			r.outs = append(r.outs, o)
			processes = append(processes, &process{p: r.p, out: o})
		}
		res := &Resource{
			session: &Session{process: processes[at.process]}, out: r.outs[at.process], handle: api.Handle(2*i + 1),
			queue: queue{limit: at.limit, reserve: at.reserve, credit: at.credit, held: at.held},
		}
		if at.lossy {
			res.overflow = func(n *Notification) { r.makeRoom(res, n) }
		}
		res.out.ledger.join(1)
		r.resources = append(r.resources, res)
		if !at.outside {
			r.group.Add(res)
		}
	}
	return r
}

// makeRoom is the policy of the lossy: the oldest go, and a record says how many.
func (r *rig) makeRoom(res *Resource, n *Notification) {
	before := r.lost[res]
	res.Shed(n, false, func(*Notification) { r.lost[res]++ })
	if r.lost[res] > before {
		res.SwapHead(func(*Notification) *Notification {
			return &Notification{Body: fmt.Appendf(nil, "%d lost", r.lost[res]), Urgent: true}
		})
	}
}

// write sends the next n items of a process, and checks what a client reads of them.
func (r *rig) write(t *rapid.T, o *outbox, n int) {
	items := o.items[:min(n, len(o.items))]
	o.items = slices.Clone(o.items[len(items):])
	for rest := items; len(rest) > 0; {
		n, _ := batch(rest, wire.BatchSize)
		var data, tail []byte
		for i := range rest[:n] {
			data, tail, _ = rest[i].encode(data, nil)
		}
		r.hear(t, append(data, tail...))
		rest = rest[n:]
	}
	o.sent(items, nil)
}

func (r *rig) hear(t *rapid.T, batch []byte) {
	reader := wire.NewReader(batch)
	for {
		var e wire.ProviderEntry
		more, err := reader.NextProvider(&e)
		if err != nil {
			t.Fatal(err)
		}
		if !more {
			return
		}
		if e.Kind != wire.Notification || len(e.Handles) == 0 || len(e.Bodies) == 0 {
			t.Fatalf("an entry %+v", e)
		}
		for body, ok := e.Bodies.Next(); ok; body, ok = e.Bodies.Next() {
			for _, h := range e.Handles {
				r.heard[h] = append(r.heard[h], string(body))
			}
		}
	}
}

// state describes everything that can be seen of the rig.
func (r *rig) state() (lines []string) {
	for _, res := range r.resources {
		q := &res.queue
		var waiting []*Notification
		for _, p := range q.backlog {
			waiting = append(waiting, contents(p)...)
		}
		lines = append(lines, fmt.Sprintf("%d: credit %d, %d of %d bytes, held %d, closed %v, lost %d, waiting %s, heard %s", res.handle,
			q.credit, q.len(), q.bytes(), res.held.Load(), q.closed, r.lost[res], say(waiting), r.heard[res.handle]))
	}
	for i, o := range r.outs {
		lines = append(lines, fmt.Sprintf("process %d: %d blocked, %d bytes", i, o.blocked, o.ledger.queued.Load()))
	}
	return lines
}

// checkHolds holds those that a series has against those who have it. Who was
// buried with one leaves the series to the garbage collector.
func (r *rig) checkHolds(t *rapid.T) {
	holds := map[*Series]int32{}
	for _, res := range r.resources {
		for _, p := range res.queue.backlog {
			holds[p.series]++
		}
	}
	for _, o := range r.outs {
		for _, it := range o.items {
			holds[it.what.series]++
		}
	}
	delete(holds, nil)
	for s, want := range holds {
		if got := s.holds.Load(); got < want || got > want && !r.dropped {
			t.Fatalf("a series of %d has %d holds, want %d", s.Len(), got, want)
		}
	}
}

// scribble makes a series of what memory is free, and uses it up.
func scribble() {
	var taken []*Series
	for range 3 {
		s := NewSeries(1, MaxSeries)
		b := s.Add(MaxSeries, 0)
		for range MaxSeries {
			b = append(b, '!')
		}
		taken = append(taken, s)
	}
	for _, s := range taken {
		s.release()
	}
}

// checkLedgers holds what is counted against what there is.
func (r *rig) checkLedgers(t *rapid.T) {
	r.checkHolds(t)
	held, blocked := map[*outbox]int64{}, map[*outbox]int{}
	for _, res := range r.resources {
		held[res.out] += res.queue.bytes()
		if res.queue.blocked() {
			blocked[res.out]++
		}
		if res.held.Load() != res.queue.bytes() {
			t.Fatalf("%d holds %d bytes, said to be %d", res.handle, res.queue.bytes(), res.held.Load())
		}
	}
	for i, o := range r.outs {
		if o.ledger.queued.Load() != held[o] || o.blocked != blocked[o] || o.unsent != len(o.items) {
			t.Fatalf("process %d: %d bytes, %d blocked, %d unsent; there are %d, %d, %d",
				i, o.ledger.queued.Load(), o.blocked, o.unsent, held[o], blocked[o], len(o.items))
		}
	}
}

// empty lets everything go, and checks that nothing is left.
func (r *rig) empty(t *rapid.T) {
	for range 2 { // what came with the first may have been a record before the rest
		for _, res := range r.resources {
			res.out.update(res, func(q *queue) { q.held, q.credit = false, 1<<40 })
		}
		for _, o := range r.outs {
			r.write(t, o, len(o.items))
		}
	}
	r.checkLedgers(t)
	for i, o := range r.outs {
		if o.closed { // what waits in queues is not taken any more
			o.bury()
		} else if n := o.ledger.queued.Load(); n != 0 {
			t.Fatalf("process %d: %d bytes are left", i, n)
		}
	}
	if n := r.p.budget.queued.Load(); n != 0 {
		t.Fatalf("%d bytes are left", n)
	}
}

func drawPlaces(t *rapid.T) (places []place) {
	processes := rapid.IntRange(1, 3).Draw(t, "processes")
	for range rapid.IntRange(1, 8).Draw(t, "resources") {
		at := place{
			process: rapid.IntRange(0, processes-1).Draw(t, "process"),
			credit:  rapid.SampledFrom([]int64{0, 1, 200, 1000, 1 << 20}).Draw(t, "credit"),
			limit:   rapid.SampledFrom([]int64{500, 2000, 1 << 20}).Draw(t, "limit"),
			lossy:   rapid.IntRange(0, 2).Draw(t, "lossy") == 0,
			held:    rapid.IntRange(0, 5).Draw(t, "held") == 0,
			outside: rapid.IntRange(0, 5).Draw(t, "outside") == 0,
		}
		at.reserve = at.limit / 4
		places = append(places, at)
	}
	return places
}

// TestSeriesIsLikeSingles does the same in two rigs, but that what is a series in
// one is as many notifications in the other: nothing else may differ.
func TestSeriesIsLikeSingles(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		places := drawPlaces(t)
		rigs := []*rig{newRig(places, 0, 0), newRig(places, 0, 0)}
		m := &queueModel{}
		pick := func() int { return rapid.IntRange(0, len(places)-1).Draw(t, "resource") }
		both := func(act func(r *rig)) {
			for _, r := range rigs {
				act(r)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"": func(t *rapid.T) {
				scribble()
				both(func(r *rig) { r.checkLedgers(t) })
				if diff := cmp.Diff(rigs[1].state(), rigs[0].state()); diff != "" {
					t.Fatalf("%+v (-singles +series):\n%s", places, diff)
				}
			},
			"append": func(t *rapid.T) {
				n, except := m.notification(t), -1
				if rapid.Bool().Draw(t, "but one") {
					except = pick()
				}
				both(func(r *rig) { r.group.Append(n, r.at(except)) })
			},
			"append series": func(t *rapid.T) {
				list, except := m.several(t), -1
				if rapid.Bool().Draw(t, "but one") {
					except = pick()
				}
				receivers := rigs[0].group.AppendSeries(seriesOf(list), rigs[0].at(except))
				for _, n := range list {
					if want := rigs[1].group.Append(n, rigs[1].at(except)); receivers != want {
						t.Fatalf("%d receivers, want %d", receivers, want)
					}
				}
			},
			"grant": func(t *rapid.T) {
				i, n := pick(), rapid.Int64Range(1, 3000).Draw(t, "bytes")
				both(func(r *rig) { res := r.resources[i]; res.out.update(res, func(q *queue) { q.credit += n }) })
			},
			"born": func(t *rapid.T) {
				i := pick()
				both(func(r *rig) { res := r.resources[i]; res.out.update(res, func(q *queue) { q.held = false }) })
			},
			"write": func(t *rapid.T) { // all, since a series is fewer items
				i := rapid.IntRange(0, len(rigs[0].outs)-1).Draw(t, "process")
				both(func(r *rig) { r.write(t, r.outs[i], 1<<30) })
			},
			"close": func(t *rapid.T) {
				i := pick()
				both(func(r *rig) { res := r.resources[i]; res.out.update(res, (*queue).close); r.dropped = true })
			},
			"finish": func(t *rapid.T) {
				if rapid.IntRange(0, 9).Draw(t, "finish") > 0 {
					t.Skip("it would end too many")
				}
				i := rapid.IntRange(0, len(rigs[0].outs)-1).Draw(t, "process")
				both(func(r *rig) { r.outs[i].finish(nil) })
			},
		})
		both(func(r *rig) { r.empty(t) })
		if diff := cmp.Diff(rigs[1].heard, rigs[0].heard); diff != "" {
			t.Fatalf("%+v (-singles +series):\n%s", places, diff)
		}
	})
}

// at returns a resource, nil for none.
func (r *rig) at(i int) *Resource {
	if i < 0 {
		return nil
	}
	return r.resources[i]
}

// TestRoomIsKept: what is appended as a series within Room would also have fitted
// one by one, also where queues share what their process has.
func TestRoomIsKept(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		places := drawPlaces(t)
		for i := range places {
			places[i].lossy = false
		}
		bound := rapid.SampledFrom([]int64{0, 3000, 20_000}).Draw(t, "process queue")
		rigs := []*rig{newRig(places, bound, 0), newRig(places, bound, 0)}
		m := &queueModel{}
		for range 30 {
			if rapid.Bool().Draw(t, "write") {
				i := rapid.IntRange(0, len(rigs[0].outs)-1).Draw(t, "process")
				for _, r := range rigs {
					r.write(t, r.outs[i], 1<<30)
				}
			}
			var except [2]*Resource
			if rapid.Bool().Draw(t, "but one") {
				i := rapid.IntRange(0, len(places)-1).Draw(t, "except")
				except = [2]*Resource{rigs[0].at(i), rigs[1].at(i)}
			}
			list, n := m.several(t), 0
			room := rigs[0].group.Room(except[0])
			for ; n < len(list) && room >= list[n].charge(); n++ {
				room -= list[n].charge()
			}
			if n == 0 {
				continue
			}
			rigs[0].group.AppendSeries(seriesOf(list[:n]), except[0])
			for i, one := range list[:n] {
				if !rigs[1].group.Fits(len(one.Body), except[1]) {
					t.Fatalf("%d of %s does not fit", i, say(list[:n]))
				}
				rigs[1].group.Append(one, except[1])
			}
			scribble()
			for _, r := range rigs {
				r.checkLedgers(t)
			}
		}
		for _, r := range rigs {
			r.empty(t)
		}
		if diff := cmp.Diff(rigs[1].heard, rigs[0].heard); diff != "" {
			t.Fatalf("%+v (-singles +series):\n%s", places, diff)
		}
	})
}

// Who is left out of an item, and who gets a part of it, is all the same to the
// others, in every order of members.
func TestSeriesToMembersWithDifferentCredit(t *testing.T) {
	list := []*Notification{{Body: []byte("a")}, {Body: []byte("b")}, {Body: []byte("c")}} // of 65 bytes each
	all := []int64{0, 1, 65, 66, 130, 131, 1000}
	for code := range len(all) * len(all) * len(all) {
		credits := []int64{all[code%7], all[code/7%7], all[code/49]}
		var places []place
		for _, credit := range credits {
			places = append(places, place{credit: credit, limit: 1 << 20})
		}
		r := newRig(places, 0, 0)
		if n := r.group.AppendSeries(seriesOf(list), nil); n != 3 {
			t.Fatalf("credits %v: %d receivers", credits, n)
		}
		for _, it := range r.outs[0].items {
			if len(it.many) > 0 && it.one != nil || len(it.many) == 0 && it.one == nil {
				t.Errorf("credits %v: an item for %v and %v", credits, it.one, it.many)
			}
		}
		for i, res := range r.resources {
			passed := 0
			for left := credits[i]; passed < 3 && left > 0; passed++ {
				left -= 65
			}
			if got := res.queue.unsent; got != passed || res.queue.len() != 3 {
				t.Errorf("credits %v: of %d %d are on their way, want %d", credits, res.queue.len(), got, passed)
			}
		}
	}
}

// A series is what was added, in every part of it.
func TestSeriesModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &queueModel{}
		list := m.several(t)
		p := whole(seriesOf(list))
		for len(list) > 0 {
			sameNotifications(t, "it is", contents(p), list)
			if p.len() != len(list) || p.charge() != sumOf(list) || p.empty() {
				t.Fatalf("%d of %d bytes, want %d of %d", p.len(), p.charge(), len(list), sumOf(list))
			}
			switch rapid.IntRange(0, 2).Draw(t, "step") {
			case 0:
				sameNotifications(t, "dropped", []*Notification{p.drop()}, list[:1])
				list = list[1:]
			case 1:
				credit := rapid.Int64Range(-100, 5000).Draw(t, "credit")
				n := 0
				for left := credit; n < len(list) && left > 0; n++ {
					left -= list[n].charge()
				}
				first, rest := p.cut(credit)
				sameNotifications(t, "cut off", contents(first), list[:n])
				p, list = rest, list[n:]
			case 2:
				p = p.settled()
				checkMemory(t, p)
			}
		}
		if !p.empty() || p.len() != 0 || p.charge() != 0 {
			t.Fatalf("%d of %d bytes are left", p.len(), p.charge())
		}
	})
}
