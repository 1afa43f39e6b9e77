package provider

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"crier.local/api/wire"
)

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

// A series has not much more memory than it was made for, new or used before, and
// needs no more.
func TestNewSeries(t *testing.T) {
	for round := range 3 {
		for size := range 2 * MaxSeries / 100 {
			bodies, n := size*100, 1+size%7
			s := NewSeries(n, bodies)
			before := cap(s.bodies)
			for i := range n {
				part := bodies / n
				if i == 0 {
					part = bodies - (n-1)*part
				}
				s.Add(part, 0)
			}
			if cap(s.bodies) != before || cap(s.bodies) > 2*(bodies+n*wire.BodyOverhead)+before/4 || s.Len() != n {
				t.Fatalf("round %d: %d notifications of %d bytes have %d, of %d at first", round, s.Len(), bodies, cap(s.bodies), before)
			}
			s.release()
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
