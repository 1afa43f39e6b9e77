package notification

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
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

func TestNames(t *testing.T) {
	long := strings.Repeat("n", api.MaxName)
	tests := []struct {
		connect api.Connect
		want    error
	}{
		{api.Connect{Name: "Alice"}, nil},
		{api.Connect{Name: "alice"}, api.ErrNameTaken},
		{api.Connect{Name: "ALICE", SendOnly: true}, api.ErrNameTaken},
		{api.Connect{Name: "alice", Room: "r"}, nil},
		{api.Connect{Name: "Σίσυφος"}, nil},
		{api.Connect{Name: "σίσυφοσ"}, api.ErrNameTaken}, // the two small sigmas are one letter
		{api.Connect{Name: "client-1"}, api.ErrBadName},
		{api.Connect{Name: "CLIENT-x"}, api.ErrBadName},
		{api.Connect{Name: "client"}, nil},
		{api.Connect{Name: " a"}, api.ErrBadName},
		{api.Connect{Name: "a\u202e"}, api.ErrBadName},
		{api.Connect{Name: "a\x1b"}, api.ErrBadName},
		{api.Connect{Name: long[1:]}, nil},
		{api.Connect{Name: long}, nil},
		{api.Connect{Name: long + "n"}, api.ErrBadName},
		{api.Connect{Room: strings.Repeat("r", api.MaxRoomName)}, nil},
		{api.Connect{Room: strings.Repeat("r", api.MaxRoomName+1)}, api.ErrBadName},
		{api.Connect{Room: "r "}, api.ErrBadName},
	}
	bubble(t, Options{}, func(t *testing.T, h *house) {
		p := h.attach(t)
		session := p.open(1)
		w := p.connectIn(session, api.Connect{Name: "w", Presence: true})
		w.events()
		for _, test := range tests {
			before, rooms := len(slices.Collect(h.Resources())), len(h.service.all())
			s, err := p.tryConnect(session, test.connect)
			expectError(t, err, test.want)
			if test.want == nil {
				continue
			}
			if s != nil || len(slices.Collect(h.Resources())) != before || len(h.service.all()) != rooms {
				t.Errorf("%+v left something behind", test.connect)
			}
		}
		expectEvents(t, w, "+Alice +Σίσυφος +client +"+long[1:]+" +"+long)
	})
}

func TestRename(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, h *house) {
		p := h.attach(t)
		w, a := p.connect(api.Connect{Name: "w", Presence: true}), p.connect(api.Connect{Name: "a", Presence: true})
		w.events()
		a.events()
		for _, step := range []struct {
			to   string
			want error
			told string
		}{
			{"b", nil, "a>b"},
			{"B", nil, "b>B"},
			{"B", nil, ""},
			{"W", api.ErrNameTaken, ""},
			{"client-9", api.ErrBadName, ""},
			{"", api.ErrBadName, ""},
			{"a", nil, "B>a"},
		} {
			_, err := a.invoke(api.MethodRename, wire.EncodeRename(step.to))
			expectError(t, err, step.want)
			expectEvents(t, w, step.told)
		}
		a.send("x")
		expectEvents(t, w, "a:x")
		expectEvents(t, a, "")
		b := p.connect(api.Connect{Name: "b", Presence: true})
		expectEvents(t, b, "[b,w,a]")
	})
}

func TestCloseWith(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, h *house) {
		w := h.attach(t).connect(api.Connect{Name: "w", Presence: true})
		gateway := h.attach(t)
		for _, reason := range []api.Reason{api.ReasonClosed, api.ReasonDied, api.ReasonUnreachable, api.ReasonSlow, api.ReasonLimit} {
			guest := gateway.connect(api.Connect{Name: "guest"})
			w.events()
			if _, err := guest.invoke(api.MethodCloseWith, wire.EncodeCloseWith(reason, "no pong")); err != nil {
				t.Fatal(err)
			}
			if left := w.events(); len(left) != 1 || left[0].Reason != reason || left[0].Note != "no pong" ||
				left[0].By != w.who("")[0].Identity.String() || left[0].From != "guest" {
				t.Errorf("w hears %+v", left)
			}
			if _, err := guest.send("x"); !errors.Is(err, api.ErrUnknownHandle) {
				t.Errorf("sending on a closed connection: %v", err)
			}
		}
		guest := gateway.connect(api.Connect{Name: "guest"})
		w.events()
		for _, args := range [][]byte{
			wire.EncodeCloseWith(api.ReasonReplaced, ""),
			wire.EncodeCloseWith(api.ReasonGoingAway, ""),
			wire.EncodeCloseWith(0, ""),
			wire.EncodeCloseWith(api.ReasonDied, strings.Repeat("x", maxNote+1)),
		} {
			if _, err := guest.invoke(api.MethodCloseWith, args); api.CodeOf(err) != api.CodeCall {
				t.Errorf("error %v", err)
			}
		}
		expectEvents(t, w, "")
		if _, err := guest.invoke(api.MethodCloseWith, wire.EncodeCloseWith(api.ReasonDied, strings.Repeat("x", maxNote))); err != nil {
			t.Error(err)
		}
		guest.die()
		expectEvents(t, w, "-guest(died)")
	})
}

func TestSnapshotComesInChunks(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, h *house) {
		p := h.attach(t)
		session := p.open(1)
		want := map[string]bool{"last": true}
		for i := range 1500 {
			name := fmt.Sprintf("member-%04d-%s", i, strings.Repeat("x", 40))
			p.connectIn(session, api.Connect{Name: name})
			want[name] = true
		}
		w := p.connect(api.Connect{Name: "last", Presence: true})
		p.connectIn(session, api.Connect{Name: "later"})
		events := w.events()
		if say(events[len(events)-1:]) != "+later" {
			t.Errorf("the last event is %s", sayOne(events[len(events)-1]))
		}
		chunks := events[:len(events)-1]
		for i, e := range chunks {
			if size := len(wire.EncodeEvent(&e)); e.Kind != api.KindMembers || size > maxChunk || e.More != (i < len(chunks)-1) {
				t.Errorf("chunk %d is a %v of %d bytes, more %v", i, e.Kind, size, e.More)
			}
			for _, m := range e.Members {
				if !want[m.Name] {
					t.Errorf("%s is there twice, or not at all", m.Name)
				}
				delete(want, m.Name)
			}
		}
		if len(chunks) < 3 || len(want) > 0 {
			t.Errorf("%d chunks, %d members missing", len(chunks), len(want))
		}
	})
}

// TestSnapshotIsExactUnderConcurrentJoins lets processes come and go all at once.
// What each has heard, applied to its snapshot, must be who is there in the end.
func TestSnapshotIsExactUnderConcurrentJoins(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, h *house) {
		var processes []*process
		for range 8 {
			processes = append(processes, h.attach(t))
		}
		var sessions []api.SessionID
		for _, p := range processes {
			sessions = append(sessions, p.open(1))
		}
		var group sync.WaitGroup
		for i, p := range processes {
			group.Go(func() {
				for n := range 30 {
					p.call(wire.ClientEntry{Kind: wire.Invoke, Session: sessions[i], Method: api.MethodConnect,
						Args: wire.EncodeConnect(api.Connect{Name: fmt.Sprintf("p%d-%d", i, n), Presence: true})})
				}
				if i%4 == 0 {
					p.die()
				}
			})
		}
		group.Wait()
		synctest.Wait()
		var there []string
		for i := range processes {
			for n := range 30 {
				if i%4 != 0 {
					there = append(there, fmt.Sprintf("p%d-%d", i, n))
				}
			}
		}
		slices.Sort(there)
		for i, p := range processes {
			for _, s := range p.seats {
				if i%4 == 0 {
					continue
				}
				if known := s.follow(t, nil); !slices.Equal(known, there) {
					t.Fatalf("%s knows of\n%q\nthere are\n%q", s.connected.Name, known, there)
				}
			}
		}
	})
}

// follow applies the events that s received to the members that it knows of, and
// returns who it thinks is there. None may come twice, or leave without being there.
func (s *seat) follow(t failer, known []string) []string {
	t.Helper()
	there := map[string]bool{}
	for _, name := range known {
		there[name] = true
	}
	fresh := true // the next list of members is a new one
	leave := func(name string) {
		if !there[name] {
			t.Errorf("%s left, and was not there", name)
		}
		delete(there, name)
	}
	for _, e := range s.events() {
		switch e.Kind {
		case api.KindMembers:
			if fresh {
				clear(there)
			}
			for _, m := range e.Members {
				if there[m.Name] {
					t.Errorf("%s is listed twice", m.Name)
				}
				there[m.Name] = true
			}
		case api.KindJoined:
			if there[e.From] {
				t.Errorf("%s joined, and was there", e.From)
			}
			there[e.From] = true
		case api.KindLeft:
			if e.From != "" {
				leave(e.From)
			}
			for _, d := range e.Departures {
				leave(d.Name)
			}
		case api.KindRenamed:
			leave(e.From)
			there[e.To] = true
		}
		fresh = e.Kind != api.KindMembers || !e.More
	}
	known = nil
	for name := range there {
		known = append(known, name)
	}
	slices.Sort(known)
	return known
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

func TestWhoRoomsAndMembers(t *testing.T) {
	bubble(t, Options{Queue: 4000, Reserve: 1}, func(t *testing.T, h *house) {
		p, q := h.attach(t), h.attach(t)
		p.connect(api.Connect{Room: "r", Name: "slow", Window: 1})
		a := q.connect(api.Connect{Room: "r", Name: "a"})
		pub := q.connect(api.Connect{Room: "r", SendOnly: true})
		q.connect(api.Connect{Room: "s"})
		n, _ := a.fill(1000)
		pub.start("too")
		pub.start("and")
		seats := a.who("r")
		if len(seats) != 3 {
			t.Fatalf("who: %+v", seats)
		}
		if s := seats[0]; s.Name != "a" || s.Awaited || s.Parked != 1 || s.SendOnly || s.Handle != a.handle || s.Session != a.session || !s.Identity.Local {
			t.Errorf("a: %+v", s)
		}
		if s := seats[1]; s.Name != pub.connected.Name || s.Parked != 2 || !s.SendOnly {
			t.Errorf("pub: %+v", s)
		}
		if s := seats[2]; s.Name != "slow" || !s.Awaited || s.Parked != 0 || s.Queued != n-1 || s.QueuedBytes < int64(1000*(n-1)) {
			t.Errorf("slow: %+v", s)
		}
		if got := len(a.who("")); got != 4 {
			t.Errorf("%d seats in all", got)
		}
		if got := len(a.who("none")); got != 0 {
			t.Errorf("%d seats in a room that is not there", got)
		}
		e, err := q.result(q.call(wire.ClientEntry{Kind: wire.Invoke, Session: a.session, Method: api.MethodRooms}))
		if err != nil {
			t.Fatal(err)
		}
		rooms, err := wire.DecodeRooms(e.Body)
		if err != nil || len(rooms) != 2 || rooms[0].Name != "r" || rooms[0].Members != 2 || rooms[0].Seq == 0 || rooms[1].Name != "s" {
			t.Errorf("rooms %+v, %v", rooms, err)
		}
		body, err := pub.invoke(api.MethodMembers, nil)
		if err != nil {
			t.Fatal(err)
		}
		members, err := wire.DecodeMembers(body)
		if err != nil || len(members) != 2 || members[0].Name != "a" || members[1].Name != "slow" {
			t.Errorf("members %+v, %v", members, err)
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
