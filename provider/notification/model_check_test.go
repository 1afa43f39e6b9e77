package notification

import (
	"slices"
	"strings"
	"time"

	"pgregory.net/rapid"

	"crier.local/api"
	"crier.local/api/wire"
)

// checkBounds holds the queues against their limits.
func (w *world) checkBounds(t *rapid.T) {
	for _, r := range w.service.all() {
		for _, c := range w.seatsOf(r) {
			limit := int64(modelOptions.Queue)
			if c.lossy() {
				limit += 20*(api.MaxName+entryRoom) + modelMessage + 4096 // a snapshot, and what is on its way
			}
			if entries, bytes := c.resource.Queued(); bytes > limit && entries > 1 {
				t.Fatalf("%d bytes are held for handle %d", bytes, c.resource.Handle())
			}
		}
	}
}

func (w *world) seatsOf(r *room) []*connection {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.seats)
}

// checkAll ends the world in peace, and checks what everybody heard.
func (w *world) checkAll() {
	w.house.pass(time.Duration(2*len(w.guests)+2) * DefaultStall)
	w.observe()
	for _, g := range w.guests {
		if !g.over {
			g.write(wire.ClientEntry{Kind: wire.Flush, Handle: g.handle})
			g.takeAll()
		}
	}
	w.observe()
	w.checkSends()
	for _, g := range w.guests {
		w.checkHeard(g)
		if !g.over && g.options.Presence && !g.options.SendOnly {
			w.checkPresence(g)
		}
	}
}

// checkSends: every send was carried out once or not at all, as its sender was
// told, and every number of a room is accounted for.
func (w *world) checkSends() {
	times := map[string][]api.Seq{}
	told := map[*guest]int{} // posts that nobody heard
	for room, witness := range w.witness {
		if witness.end != nil {
			w.t.Fatalf("the witness of %s was evicted", room)
		}
		for _, e := range witness.heard {
			if e.Kind == api.KindMessage {
				id, _, _ := strings.Cut(string(e.Payload), " ")
				times[id] = append(times[id], e.Seq)
			}
		}
	}
	for _, s := range w.sends {
		heard := times[s.id]
		switch {
		case len(heard) > 1:
			w.t.Fatalf("%s was heard %d times", s.id, len(heard))
		case s.call == 0 && len(heard) == 0:
			told[s.from]++
		case s.call == 0 || s.unknown || s.alone:
		case s.err == nil && s.receipt == nil:
			w.t.Fatalf("%s was never answered", s.id)
		case s.err != nil && len(heard) > 0:
			w.t.Fatalf("%s was refused (%v), and heard", s.id, s.err)
		case s.receipt != nil && !slices.Equal(heard, []api.Seq{s.receipt.Seq}):
			w.t.Fatalf("%s has the receipt %+v, and was heard as %v", s.id, *s.receipt, heard)
		}
	}
	for _, g := range w.guests {
		if !g.over {
			w.checkPosts(g, told[g])
		}
		w.checkOrder(g, times)
	}
	for room := range w.witness {
		w.checkNumbers(room)
	}
}

// checkPosts: a guest was told exactly how its posts ended, and has all it may
// send again.
func (w *world) checkPosts(g *guest, unheard int) {
	posts := 0
	for _, s := range w.sends {
		if s.from == g && s.call == 0 {
			posts++
		}
	}
	if g.ended != posts || g.refused != unheard || g.sendCredit != g.sendWindow {
		w.t.Fatalf("%s was told of %d posts, %d refused, and may send %d bytes; there were %d, %d not heard, and %d bytes",
			g.connected.Name, g.ended, g.refused, g.sendCredit, posts, unheard, g.sendWindow)
	}
}

// checkOrder: what a guest sent was carried out in that order.
func (w *world) checkOrder(g *guest, times map[string][]api.Seq) {
	last := api.Seq(0)
	for _, s := range w.sends {
		if s.from != g || s.alone || len(times[s.id]) == 0 {
			continue
		}
		if seq := times[s.id][0]; seq <= last {
			w.t.Fatalf("%s of %s is number %d, after %d", s.id, g.connected.Name, seq, last)
		} else {
			last = seq
		}
	}
}

// checkNumbers: a room's numbers rise one by one, but for what the witness could
// not hear.
func (w *world) checkNumbers(room string) {
	witness := w.witness[room]
	unheard, lost := map[api.Seq]bool{}, 0
	for _, s := range w.sends {
		if s.alone && s.from.options.Room == room {
			if s.receipt != nil {
				unheard[s.receipt.Seq] = true
			} else if s.unknown {
				lost++
			}
		}
	}
	seq := witness.connected.Seq
	for _, e := range witness.heard {
		if e.Kind == api.KindMembers {
			continue
		}
		for missed := seq + 1; missed < e.Seq; missed++ {
			if !unheard[missed] {
				lost--
			}
		}
		if e.Seq <= seq || lost < 0 {
			w.t.Fatalf("the witness heard number %d after %d", e.Seq, seq)
		}
		seq = e.Seq
	}
}

// checkHeard: a guest heard what the witness heard, in the same order, with
// exactly the gaps that it was told of; up to its end, if it had one.
func (w *world) checkHeard(g *guest) {
	missing := w.due(g)
	alone := map[api.Seq]bool{} // what was for one only, and was perhaps dropped
	for _, s := range w.sends {
		if s.alone && s.receipt != nil && s.from.options.Room == g.options.Room {
			alone[s.receipt.Seq] = true
		}
	}
	last := g.connected.Seq
	for _, e := range g.heard {
		if e.Kind == api.KindMembers {
			continue
		}
		first, end := e.Seq, e.Seq
		if e.Kind == api.KindGap {
			first, end = e.First, e.Last
		}
		if first <= last {
			w.t.Fatalf("%s heard %s after number %d", g.connected.Name, sayOne(e), last)
		}
		last = end
		n := 0
		for ; len(missing) > 0 && missing[0].Seq <= end; n++ {
			if missing[0].Seq < first {
				w.t.Fatalf("%s did not hear %d %s", g.connected.Name, missing[0].Seq, sayOne(missing[0]))
			}
			if e.Kind != api.KindGap && sayOne(missing[0]) != sayOne(e) {
				w.t.Fatalf("%s heard %s, the witness %s", g.connected.Name, sayOne(e), sayOne(missing[0]))
			}
			missing = missing[1:]
		}
		perhaps := 0
		for seq := range alone {
			if first <= seq && seq <= end {
				perhaps++
			}
		}
		switch {
		case e.Kind == api.KindGap && (e.Count < uint64(n) || e.Count > uint64(n+perhaps)):
			w.t.Fatalf("%s was told %s, and %d to %d are missing", g.connected.Name, sayOne(e), n, n+perhaps)
		case e.Kind == api.KindMessage && e.To == "" && n != 1, e.Kind != api.KindMessage && e.Kind != api.KindGap && n != 1:
			w.t.Fatalf("%s heard %s, the witness did not", g.connected.Name, sayOne(e))
		}
	}
	if !g.over && len(missing) > 0 {
		w.t.Fatalf("%s never heard %s", g.connected.Name, say(missing))
	}
}

// due returns what a guest is to hear of what the witness heard.
func (w *world) due(g *guest) []wire.Event {
	mine := map[string]bool{}
	for _, s := range w.sends {
		mine[s.id] = mine[s.id] || s.from == g
	}
	var due []wire.Event
	for _, e := range w.witness[g.options.Room].heard {
		wanted := g.options.Presence && e.Kind != api.KindMembers
		if e.Kind == api.KindMessage {
			id, _, _ := strings.Cut(string(e.Payload), " ")
			wanted = g.options.Echo || !mine[id]
		}
		if wanted && e.Seq > g.connected.Seq && !g.options.SendOnly {
			due = append(due, e)
		}
	}
	return due
}

// checkPresence: what a guest was told of the others is who there is.
func (w *world) checkPresence(g *guest) {
	g.fresh = g.heard
	known := g.follow(w.t, nil)
	body, err := g.invoke(api.MethodMembers, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	members, err := wire.DecodeMembers(body)
	if err != nil {
		w.t.Fatal(err)
	}
	var there []string
	for _, m := range members {
		there = append(there, m.Name)
	}
	if !slices.Equal(known, there) {
		w.t.Fatalf("%s knows of %q, there are %q", g.connected.Name, known, there)
	}
}
