package notification

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"crier.local/api"
	"crier.local/api/wire"
	"crier.local/provider"
)

func TestPresence(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, h *house) {
		p, q := h.attach(t), h.attach(t)
		w := p.connect(api.Connect{Name: "w", Presence: true})
		if got := w.events(); say(got) != "[w]" || got[0].More {
			t.Errorf("the first snapshot: %+v", got)
		}
		a := q.connect(api.Connect{Name: "a"})
		b := q.connect(api.Connect{Name: "b", Presence: true})
		joined := w.events()
		if say(joined) != "+a +b" || joined[0].Seq == 0 || joined[0].Seq >= joined[1].Seq || joined[0].UID == 0 && a.who("")[0].Identity.UID != 0 {
			t.Errorf("w hears %+v", joined)
		}
		expectEvents(t, b, "[b,w,a]")
		if b.connected.Seq != joined[1].Seq {
			t.Errorf("b begins at %d, and was announced as %d", b.connected.Seq, joined[1].Seq)
		}
		a.close()
		q.die()
		expectEvents(t, w, "-a(closed) -b(died)")
		expectEvents(t, a, "")
		if rooms := h.service.all(); len(rooms) != 1 || len(rooms[0].seats) != 1 || len(rooms[0].names) != 1 {
			t.Error("somebody keeps a seat")
		}
	})
}

func TestPresenceOfTheUnnamed(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, h *house) {
		p := h.attach(t)
		w := p.connect(api.Connect{Presence: true})
		expectEvents(t, w, "["+w.connected.Name+"]")
		u := h.attach(t).connect(api.Connect{Presence: true})
		expectEvents(t, u, "["+u.connected.Name+"]")
		if _, err := u.invoke(api.MethodRename, wire.EncodeRename("ulla")); err != nil {
			t.Fatal(err)
		}
		expectEvents(t, w, "+ulla")
		u.die()
		expectEvents(t, w, "-ulla(died)")
		v := h.attach(t).connect(api.Connect{})
		v.die()
		expectEvents(t, w, "")
	})
}

func TestPresenceIsNumberedWithTheMessages(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, h *house) {
		p := h.attach(t)
		w, plain := p.connect(api.Connect{Name: "w", Presence: true, Echo: true}), p.connect(api.Connect{Name: "plain"})
		w.send("one")
		p.connect(api.Connect{Name: "x"})
		w.send("two")
		var seqs []api.Seq
		for _, e := range w.events()[1:] {
			seqs = append(seqs, e.Seq)
		}
		start := seqs[0]
		if !slices.Equal(seqs, []api.Seq{start, start + 1, start + 2, start + 3}) {
			t.Errorf("numbers %v", seqs)
		}
		if got := plain.events(); say(got) != "w:one w:two" || got[0].Seq != start+1 || got[1].Seq != start+3 {
			t.Errorf("plain hears %+v", got)
		}
	})
}

func TestDeparturesOfOneProcessAreOneRecord(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, h *house) {
		w := h.attach(t).connect(api.Connect{Name: "w", Presence: true})
		elsewhere := h.attach(t).connect(api.Connect{Room: "r", Name: "w", Presence: true})
		p := h.attach(t)
		s1, s2 := p.open(1), p.open(1)
		p.connectIn(s1, api.Connect{Name: "a", Presence: true})
		p.connectIn(s2, api.Connect{Name: "b", Presence: true})
		p.connectIn(s2, api.Connect{Room: "r", Name: "c", Presence: true})
		p.connectIn(s2, api.Connect{})
		w.events()
		elsewhere.events()
		p.die()
		left := w.events()
		if len(left) != 1 || len(left[0].Departures) != 2 || left[0].Reason != api.ReasonDied || left[0].From != "" {
			t.Errorf("w hears %+v", left)
		}
		expectEvents(t, elsewhere, "-c(died)")
		for _, s := range p.seats {
			if heard := say(s.events()); strings.Contains(heard, "-") {
				t.Errorf("one who died hears %q", heard)
			}
		}
	})
}

func TestDeparturesOfASession(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, h *house) {
		w := h.attach(t).connect(api.Connect{Name: "w", Presence: true})
		p := h.attach(t)
		session := p.open(1)
		for _, name := range []string{"a", "b"} {
			p.connectIn(session, api.Connect{Name: name})
		}
		other := p.connect(api.Connect{Name: "other"})
		w.events()
		p.call(wire.ClientEntry{Kind: wire.CloseSession, Session: session})
		if left := w.events(); len(left) != 1 || len(left[0].Departures) != 2 || left[0].Reason != api.ReasonClosed {
			t.Errorf("w hears %+v", left)
		}
		if _, err := other.send("still here"); err != nil {
			t.Error(err)
		}
	})
}

func TestDeparturesOfThousandsFitTheReserve(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, h *house) {
		w := h.attach(t).connect(api.Connect{Name: "w", Presence: true})
		p := h.attach(t)
		session := p.open(1)
		const n = 6000
		var batch []wire.ClientEntry
		for i := range n {
			name := fmt.Sprintf("a-connection-with-quite-a-long-name-%06d", i)
			p.calls++
			batch = append(batch, wire.ClientEntry{Kind: wire.Invoke, Call: p.calls, Session: session,
				Method: api.MethodConnect, Args: wire.EncodeConnect(api.Connect{Name: name})})
		}
		p.write(batch...)
		w.takeAll()
		if got := len(w.events()); got != n+1 {
			t.Fatalf("%d events, want a snapshot and %d joined", got, n)
		}
		p.die()
		w.takeAll()
		left := 0
		for _, e := range w.events() {
			left += len(e.Departures)
			if body := wire.EncodeEvent(&e); len(body) > maxRecord+100 {
				t.Errorf("a record of %d bytes", len(body))
			}
		}
		if left != n {
			t.Errorf("%d left, want %d", left, n)
		}
	})
}

func TestReplacedLeavesBeforeItJoins(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, h *house) {
		w := h.attach(t).connect(api.Connect{Name: "w", Presence: true})
		w.events()
		const instance = 99
		h.attachAs(t, instance).connect(api.Connect{Name: "a"})
		h.attachAs(t, instance).connect(api.Connect{Name: "a"})
		expectEvents(t, w, "+a -a(replaced) +a")
	})
}

func TestGoingAwayIsNoEvent(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, h *house) {
		p := h.attach(t)
		w := p.connect(api.Connect{Name: "w", Presence: true})
		h.attach(t).connect(api.Connect{Name: "a"})
		w.events()
		h.Close()
		expectEvents(t, w, "")
	})
}

func TestPresenceThatDoesNotFitEvicts(t *testing.T) {
	bubble(t, Options{Queue: 5000, Reserve: 1000}, func(t *testing.T, h *house) {
		w := h.attach(t).connect(api.Connect{Name: "w", Presence: true})
		deaf := h.attach(t).connect(api.Connect{Name: "deaf", Presence: true, Window: 1})
		p := h.attach(t)
		a := p.connect(api.Connect{Name: "a"})
		a.fill(1500)
		w.events()
		session := p.open(1)
		n := 0
		for ; deaf.end == nil && n < 100; n++ {
			p.connectIn(session, api.Connect{Name: fmt.Sprint("x", n)})
			synctest.Wait()
		}
		if n < 12 || deaf.end == nil || deaf.end.Reason != api.ReasonSlow || deaf.end.Note == "" {
			t.Fatalf("after %d joined: %+v", n, deaf.end)
		}
		last := p.connectIn(session, api.Connect{}) // only to see the number
		events := w.events()
		if last.connected.Seq != events[len(events)-1].Seq {
			t.Errorf("number %d, the last event was %d", last.connected.Seq, events[len(events)-1].Seq)
		}
		if got := say(events[n-1 : n+1]); got != fmt.Sprintf("+x%d -deaf(slow)", n-1) {
			t.Errorf("w hears %q", got)
		}
		if got := events[len(events)-1]; got.Kind != api.KindMessage {
			t.Errorf("the parked send was not admitted: %v", got.Kind)
		}
	})
}

// What a connection causes by joining it hears itself, and begins before it.
func TestConnectedBeginsBeforeWhatFollows(t *testing.T) {
	bubble(t, Options{Queue: 5000, Reserve: 1000}, func(t *testing.T, h *house) {
		deaf := h.attach(t).connect(api.Connect{Name: "deaf", Presence: true, Window: 1})
		h.attach(t).connect(api.Connect{Name: "a"}).fill(1500)
		p := h.attach(t)
		for n := range 100 {
			s := p.connect(api.Connect{Name: fmt.Sprint("x", n), Presence: true})
			events := s.events()
			if deaf.end == nil {
				continue
			}
			if sayOne(events[1]) != "-deaf(slow)" {
				t.Errorf("x%d hears %q", n, sayOne(events[1]))
			}
			if seq := s.connected.Seq; events[1].Seq != seq+1 || events[2].Seq != seq+2 || events[2].Kind != api.KindMessage {
				t.Errorf("x%d begins at %d, and hears %d and %d", n, seq, events[1].Seq, events[2].Seq)
			}
			return
		}
		t.Fatal("deaf was never evicted")
	})
}

func TestWindowHasALimit(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, h *house) {
		p := h.attach(t)
		for asked, want := range map[uint32]int64{0: maxWindow, 1: 1, 64 << 10: 64 << 10, maxWindow: maxWindow, 1 << 31: maxWindow} {
			if s := p.connect(api.Connect{Window: asked}); s.credit != want || s.sendCredit != want {
				t.Errorf("asked for %d, got %d and %d", asked, s.credit, s.sendCredit)
			}
		}
	})
}

// The word that a session has ended may overtake the end of a connection of it
// that is being closed at the same time.
func TestClosedAfterTheSessionEnded(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, h *house) {
		w := h.attach(t).connect(api.Connect{Name: "w", Presence: true})
		p := h.attach(t)
		p.connect(api.Connect{Name: "a"})
		w.events()
		c := h.service.all()[0].names[api.FoldName("a")]
		h.service.SessionsClosed([]*provider.Session{c.session}, api.ReasonDied)
		p.die()
		expectEvents(t, w, "-a(died)")
	})
}
