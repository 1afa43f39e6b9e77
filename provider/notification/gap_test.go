package notification

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"crier.local/api"
	"crier.local/api/wire"
)

// numbered sends messages of about size that begin with their number, and
// returns their receipts.
func numbered(t failer, s *seat, from, to, size int) []api.Receipt {
	t.Helper()
	var receipts []api.Receipt
	for i := from; i < to; i++ {
		r, err := s.send(fmt.Sprintf("%03d", i) + strings.Repeat(".", size))
		if err != nil {
			t.Fatal(err)
		}
		receipts = append(receipts, r)
	}
	return receipts
}

// short is say without the padding of numbered.
func short(events []wire.Event) string { return strings.ReplaceAll(say(events), ".", "") }

func TestGapTellsExactlyWhatIsMissing(t *testing.T) {
	bubble(t, Options{Queue: 5000, Reserve: 1}, func(t *testing.T, h *house) {
		g := h.attach(t).connect(api.Connect{Name: "g", Overflow: api.OverflowGap, Window: 1})
		a := h.attach(t).connect(api.Connect{Name: "a"})
		receipts := numbered(t, a, 0, 10, 1000) // the first is on its way, four are held
		if r := receipts[9]; r.Receivers != 1 {
			t.Errorf("receipt %+v", r)
		}
		g.takeAll()
		want := fmt.Sprintf("a:000 gap(%d-%d,5) a:006 a:007 a:008 a:009", receipts[1].Seq, receipts[5].Seq)
		if got := short(g.events()); got != want {
			t.Errorf("g hears %q, want %q", got, want)
		}
		numbered(t, a, 10, 11, 1000)
		if got := short(g.events()); got != "a:010" {
			t.Errorf("g hears %q", got)
		}
	})
}

func TestGapGrowsUntilItIsSent(t *testing.T) {
	bubble(t, Options{Queue: 5000, Reserve: 1}, func(t *testing.T, h *house) {
		g := h.attach(t).connect(api.Connect{Name: "g", Overflow: api.OverflowGap, Window: 1})
		a := h.attach(t).connect(api.Connect{Name: "a"})
		first := numbered(t, a, 0, 6, 1000)
		numbered(t, a, 6, 20, 1000)
		if n := a.who("")[1].Queued; n != 5 {
			t.Errorf("%d queued, want a gap and 4 messages", n)
		}
		g.take(1) // now the gap is on its way
		second := numbered(t, a, 20, 25, 1000)
		g.takeAll()
		want := fmt.Sprintf("a:000 gap(%d-%d,15) gap(%d-%d,5) a:021 a:022 a:023 a:024",
			first[1].Seq, first[1].Seq+14, first[1].Seq+15, second[0].Seq)
		if got := short(g.events()); got != want {
			t.Errorf("g hears %q, want %q", got, want)
		}
	})
}

func TestGapDoesNotMakeSendersWait(t *testing.T) {
	bubble(t, Options{Queue: 5000, Reserve: 1}, func(t *testing.T, h *house) {
		g := h.attach(t).connect(api.Connect{Name: "g", Overflow: api.OverflowGap, Window: 1})
		a := h.attach(t).connect(api.Connect{Name: "a", Echo: true, Overflow: api.OverflowGap, Window: 1})
		numbered(t, a, 0, 100, 1000)
		a.sendTo("g", "to g")
		if _, err := a.sendTo("a", strings.Repeat("x", 4900)); err != nil {
			t.Error(err)
		}
		g.takeAll()
		a.takeAll()
		if got := short(g.events()); !strings.HasSuffix(got, "a:097 a:098 a:099 a:to g") {
			t.Errorf("g hears %q", got)
		}
	})
}

func TestGapThatSwallowsPresence(t *testing.T) {
	bubble(t, Options{Queue: 6000, Reserve: 1}, func(t *testing.T, h *house) {
		g := h.attach(t).connect(api.Connect{Name: "g", Overflow: api.OverflowGap, Presence: true, Window: 1})
		a := h.attach(t).connect(api.Connect{Name: "a"}) // the snapshot is on its way, +a waits
		p := h.attach(t)
		b := p.connect(api.Connect{Name: "b"})
		numbered(t, a, 0, 4, 1000)
		last := numbered(t, a, 4, 8, 1000)
		b.close()
		p.connect(api.Connect{Name: "c"})
		g.takeAll()
		first := a.connected.Seq // of a's own joined
		events := g.events()
		got := short(events)
		want := fmt.Sprintf("[g] gap(%d-%d,7) [g,a,b] a:005 a:006 a:007 -b(closed) +c", first, last[0].Seq)
		if got != want {
			t.Errorf("g hears %q, want %q", got, want)
		}
	})
}

// A snapshot that is dropped is no event that is missing.
func TestGapThatSwallowsASnapshot(t *testing.T) {
	bubble(t, Options{Queue: 6000, Reserve: 1}, func(t *testing.T, h *house) {
		g := h.attach(t).connect(api.Connect{Name: "g", Overflow: api.OverflowGap, Presence: true, Window: 1})
		a := h.attach(t).connect(api.Connect{Name: "a"})
		last := numbered(t, a, 0, 20, 1000)
		g.takeAll()
		joined := a.connected.Seq
		heard := g.events()
		if len(heard) < 4 {
			t.Fatalf("g hears %q", short(heard))
		}
		kept := len(heard) - 3
		want := fmt.Sprintf("[g] gap(%d-%d,%d) [g,a]", joined, last[19-kept].Seq, 21-kept)
		if got := short(heard[:3]); got != want {
			t.Errorf("g hears %q, want %q", got, want)
		}
	})
}

// A room's members may be more than fit into a queue: they arrive all the same.
func TestSnapshotLargerThanTheQueue(t *testing.T) {
	bubble(t, Options{Queue: 3000, Reserve: 1}, func(t *testing.T, h *house) {
		p := h.attach(t)
		session := p.open(1)
		const members = 1000 // in two chunks
		for i := range members {
			p.connectIn(session, api.Connect{Name: fmt.Sprintf("member-%03d-of-a-large-room", i), Overflow: api.OverflowGap})
		}
		for _, overflow := range []api.Overflow{api.OverflowWait, api.OverflowGap} {
			s := h.attach(t).connect(api.Connect{Presence: true, Overflow: overflow})
			if n := len(s.follow(t, nil)); n != members+1 {
				t.Errorf("%d members, want %d and oneself", n, members)
			}
		}
		g := h.attach(t).connect(api.Connect{Name: "g", Presence: true, Overflow: api.OverflowGap, Window: 1})
		a := p.connectIn(session, api.Connect{Name: "a", SendOnly: true})
		p.connectIn(session, api.Connect{Name: "b", Overflow: api.OverflowGap})
		numbered(t, a, 0, 10, 1000)
		g.takeAll()
		events := g.events()
		i := slices.IndexFunc(events, func(e wire.Event) bool { return e.Kind == api.KindGap })
		if i < 0 || len(events) < i+3 || len(events[i+1].Members)+len(events[i+2].Members) != members+2 || events[i+2].More {
			t.Errorf("g hears %.300q", say(events))
		}
	})
}

// The snapshot after a gap is of the time before the event that did not fit.
func TestGapIsBeforeWhatDidNotFit(t *testing.T) {
	bubble(t, Options{Queue: 3000, Reserve: 1}, func(t *testing.T, h *house) {
		g := h.attach(t).connect(api.Connect{Name: "g", Overflow: api.OverflowGap, Presence: true, Window: 1})
		p := h.attach(t)
		known := g.follow(t, nil)
		for i := range 300 {
			switch i % 5 {
			case 0, 1:
				p.connect(api.Connect{Name: fmt.Sprint("m", i)})
			case 2, 3:
				for _, s := range p.seats {
					if i%2 == 0 {
						s.invoke(api.MethodRename, wire.EncodeRename(fmt.Sprint("r", i)))
					} else {
						s.close()
						delete(p.seats, s.handle)
					}
					break
				}
			case 4:
				if i%3 == 0 {
					g.take(len(g.untaken))
				}
			}
		}
		g.takeAll()
		known = g.follow(t, known)
		body, err := g.invoke(api.MethodMembers, nil)
		if err != nil {
			t.Fatal(err)
		}
		members, err := wire.DecodeMembers(body)
		if err != nil {
			t.Fatal(err)
		}
		var there []string
		for _, m := range members {
			there = append(there, m.Name)
		}
		if got, want := fmt.Sprint(known), fmt.Sprint(there); got != want || len(there) < 10 {
			t.Errorf("g knows of %s\nthere are %s", got, want)
		}
	})
}

// A snapshot between the records of those who left together has none whose left
// came before it.
func TestGapBetweenDepartures(t *testing.T) {
	bubble(t, Options{Queue: 200 << 10, Reserve: 1}, func(t *testing.T, h *house) {
		p := h.attach(t)
		session := p.open(1)
		const n = 6000 // in two records, of which the queue holds one
		var batch []wire.ClientEntry
		for i := range n {
			p.calls++
			batch = append(batch, wire.ClientEntry{Kind: wire.Invoke, Call: p.calls, Session: session, Method: api.MethodConnect,
				Args: wire.EncodeConnect(api.Connect{Name: fmt.Sprintf("a-connection-with-quite-a-long-name-%06d", i)})})
		}
		p.write(batch...)
		a := h.attach(t).connect(api.Connect{Name: "a", SendOnly: true})
		g := h.attach(t).connect(api.Connect{Name: "g", Overflow: api.OverflowGap, Presence: true, Window: 1})
		g.takeAll()
		known := g.follow(t, nil)
		if len(known) != n+1 {
			t.Fatalf("g knows of %d, want %d and itself", len(known), n)
		}
		a.send("takes the credit")
		p.die()
		g.takeAll()
		events := g.fresh
		if known = g.follow(t, known); len(known) != 1 || events[1].Kind != api.KindGap {
			t.Errorf("after %d events g knows of %d, want itself alone", len(events), len(known))
		}
	})
}

func TestGapWhenAllIsOnItsWay(t *testing.T) {
	bubble(t, Options{Queue: 2000, Reserve: 1}, func(t *testing.T, h *house) {
		g := h.attach(t).connect(api.Connect{Name: "g", Overflow: api.OverflowGap})
		a := h.attach(t).connect(api.Connect{Name: "a"})
		p := a.process
		var batch []wire.ClientEntry
		for i := range 100 {
			batch = append(batch, wire.ClientEntry{Kind: wire.Invoke, Session: a.session, Handle: a.handle, Method: api.MethodSend, Args: []byte(fmt.Sprintf("%03d%01000d", i, 0))})
		}
		p.write(batch...) // faster than the writer
		g.takeAll()
		synctest.Wait()
		heard := uint64(0)
		for _, e := range g.events() {
			if e.Kind == api.KindGap {
				heard += e.Count
			} else {
				heard++
			}
		}
		if heard != 100 {
			t.Errorf("%d messages heard or told missing, want 100", heard)
		}
	})
}
