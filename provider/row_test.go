package provider

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"

	"crier.local/api"
	"crier.local/api/wire"
)

// TestRowModel: whatever comes between posts, and whatever desks do with them, they
// come in order, and the client is told exactly how they ended.
func TestRowModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var failure any
		bubble(t, Options{}, func(t *testing.T, p *Provider, _ *echo) {
			defer func() { failure = recover() }()
			v := newCustomer(t, p, 4000, 4000)
			for range rapid.IntRange(1, 15).Draw(rt, "batches") {
				for _, d := range v.desks {
					d.mood = drawMood(rt)
				}
				v.draw(rt)
				v.flush()
				for _, s := range v.seats {
					s.check(t, false)
				}
				v.release(rt)
			}
			v.finish(t)
		})
		if failure != nil {
			panic(failure)
		}
	})
}

func drawMood(rt *rapid.T) func(int) treatment {
	kind, first := rapid.IntRange(0, 7).Draw(rt, "mood"), rapid.IntRange(0, 5).Draw(rt, "first")
	return func(posts int) treatment {
		how := treatment{first: min(first, posts-1)}
		switch kind {
		case 0:
			return treatment{unwilling: true}
		case 1:
			how.err = errDesk
		case 2:
			how.crash = true
		case 3:
			how.silent = true
		case 4, 5:
			how.park = true
		}
		return how
	}
}

// draw makes a batch.
func (v *customer) draw(rt *rapid.T) {
	for range rapid.IntRange(1, 6).Draw(rt, "runs") {
		s := v.seats[rapid.IntRange(0, len(v.seats)-1).Draw(rt, "seat")]
		for i := range rapid.IntRange(1, 8).Draw(rt, "posts") {
			if s.credit <= 0 {
				break
			}
			text := rapid.SampledFrom([]string{"", "", "", "no", "park"}).Draw(rt, "text") + fmt.Sprint(len(s.texts))
			v.post(s, methodTake, text)
			if i == 3 {
				v.between(rt, s)
			}
		}
	}
}

func (v *customer) between(rt *rapid.T, s *seatAtDesk) {
	v.calls++
	v.add([]wire.ClientEntry{
		{Kind: wire.Flush, Handle: s.handle},
		{Kind: wire.Ping, Call: v.calls},
		{Kind: wire.Cancel, Call: v.calls},
		{Kind: wire.GrantCredit, Handle: 4_000_000},
		{Kind: wire.Invoke, Session: s.session, Method: 99, Call: v.calls},
	}[rapid.IntRange(0, 4).Draw(rt, "between")])
}

// release lets desks end what they have parked, some of it or all.
func (v *customer) release(rt *rapid.T) {
	for _, d := range v.desks {
		d.release(rt)
		d.checkParked(rt)
	}
}

func (d *desk) release(rt *rapid.T) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range slices.Clone(d.parked) {
		notes := d.left[c]
		switch n := rapid.IntRange(0, 3).Draw(rt, "release"); {
		case n == 0:
			d.finish(c, nil)
		case n == 1:
			d.finish(c, errDesk)
		case n == 2 && len(notes) > 1:
			d.endSome(&notes, c, rapid.IntRange(1, len(notes)-1).Draw(rt, "some"))
			d.left[c] = notes
		}
	}
}

// finish ends all that is parked, and checks that everything is accounted for.
func (v *customer) finish(t *testing.T) {
	for _, d := range v.desks {
		d.mu.Lock()
		for _, c := range slices.Clone(d.parked) {
			d.finish(c, nil)
		}
		d.mu.Unlock()
	}
	for _, s := range v.seats {
		v.add(wire.ClientEntry{Kind: wire.Flush, Handle: s.handle})
	}
	v.flush()
	for _, s := range v.seats {
		s.check(t, true)
	}
}

func TestRowComesTogether(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, p *Provider, _ *echo) {
		v := newCustomer(t, p, 1<<20, 1<<20)
		with, without := v.seats[0], v.seats[2]
		for _, s := range []*seatAtDesk{with, without} {
			for i := range 100 {
				v.post(s, methodTake, fmt.Sprint(i))
			}
			v.flush()
			large := strings.Repeat("x", largePost)
			for _, text := range []string{"a", large, "b", large[1:], "c"} {
				v.post(s, methodTake, text)
			}
			v.add(wire.ClientEntry{Kind: wire.Flush, Handle: s.handle})
			v.flush()
			s.check(t, true)
			for range 3 { // another method is another row
				v.post(s, methodTake, "d")
				v.post(s, methodPass, "")
			}
			v.add(wire.ClientEntry{Kind: wire.Flush, Handle: s.handle})
			v.flush()
			v.flush() // those that another goroutine handled are told behind the first
			if got := s.notes(); len(got) != 108 || s.ended != 111 || s.refused != 3 {
				t.Errorf("%d came, %d ended, %d refused", len(got), s.ended, s.refused)
			}
		}
		if with.desk.rows != 2 || without.desk.rows != 0 {
			t.Errorf("%d rows with the power, %d without", with.desk.rows, without.desk.rows)
		}
	})
}

// A client that posts without credit, in one batch, is sent away, as by single posts.
func TestRowWithoutCredit(t *testing.T) {
	for posts, legal := range map[int]bool{15: true, 16: true, 17: false, 100: false} {
		bubble(t, Options{}, func(t *testing.T, p *Provider, _ *echo) {
			v := newCustomer(t, p, 1000) // 16 posts of 64 overdraw it
			v.desks[0].mood = func(int) treatment { return treatment{park: true} }
			for range posts {
				v.post(v.seats[0], methodTake, "")
			}
			if legal {
				v.flush()
				v.finish(t)
				return
			}
			v.send(v.entries...)
			if farewell := v.expectEnd(); !strings.Contains(farewell.Failure.Text, "credit") {
				t.Errorf("farewell %+v", farewell)
			}
		})
	}
}

// What is parked of a row ends with its session, once; what has been ended before
// stays so.
func TestParkedRowEndsWithItsSession(t *testing.T) {
	for name, end := range map[string]func(v *customer){
		"closed": func(v *customer) { v.ask(wire.ClientEntry{Kind: wire.CloseSession, Session: v.seats[0].session}) },
		"dead":   func(v *customer) { v.die() },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, Options{}, func(t *testing.T, p *Provider, _ *echo) {
				v := newCustomer(t, p, 1<<20)
				d := v.desks[0]
				d.mood = func(int) treatment { return treatment{first: 3, park: true} }
				for i := range 10 {
					v.post(v.seats[0], methodTake, fmt.Sprint(i))
				}
				v.flush()
				end(v)
				synctest.Wait()
				d.mu.Lock()
				defer d.mu.Unlock()
				if len(d.causes) != 1 || !errors.Is(d.causes[0], api.ErrClosed) || len(d.parked) > 0 {
					t.Errorf("canceled with %v, %d are parked", d.causes, len(d.parked))
				}
				for i, n := range d.came {
					if !n.ended || (n.err == nil) != (i < 3) {
						t.Errorf("post %d: ended %v, %v", i, n.ended, n.err)
					}
				}
			})
		})
	}
}

// A provider that is going refuses rows as it does posts.
func TestRowWhileGoing(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, p *Provider, _ *echo) {
		v := newCustomer(t, p, 1<<20, 1<<20)
		p.refusing.Store(true)
		for _, s := range v.seats {
			for range 10 {
				v.post(s, methodTake, "")
			}
		}
		v.flush()
		for _, s := range v.seats {
			if s.ended != 10 || s.refused != 10 || !errors.Is(s.failure, api.ErrClosed) || len(s.notes()) > 0 {
				t.Errorf("%d ended, %d refused: %v", s.ended, s.refused, s.failure)
			}
		}
	})
}

// What follows the closing of a resource, or of its session, in a batch concerns
// nothing there is.
func TestRowOnWhatIsClosed(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, p *Provider, _ *echo) {
		v := newCustomer(t, p, 1<<20, 1<<20)
		for _, s := range v.seats {
			for range 3 {
				v.post(s, methodTake, "before")
			}
			v.calls++
			v.add(wire.ClientEntry{Kind: wire.CloseResource, Call: v.calls, Session: s.session, Handle: s.handle})
			for range 3 {
				v.post(s, methodTake, "after")
			}
		}
		v.flush()
		for _, s := range v.seats {
			if got := s.notes(); len(got) != 3 || s.ended != 3 || s.refused != 3 || !errors.Is(s.failure, api.ErrUnknownHandle) {
				t.Errorf("%d came; %d ended, %d refused: %v", len(got), s.ended, s.refused, s.failure)
			}
		}
	})
}

// The limit for messages holds in rows too.
func TestRowOfTooLarge(t *testing.T) {
	bubble(t, Options{Limits: Limits{Message: 1000}}, func(t *testing.T, p *Provider, _ *echo) {
		v := newCustomer(t, p, 1<<20, 1<<20)
		most := 1000 + api.ArgsSlack
		for _, s := range v.seats {
			for _, size := range []int{1, most, most + 1, 1, most + 1} {
				v.post(s, methodTake, strings.Repeat("x", size))
			}
			v.add(wire.ClientEntry{Kind: wire.Flush, Handle: s.handle})
		}
		v.flush()
		for i, s := range v.seats {
			if got := s.notes(); len(got) != 3 || s.ended != 5 || s.refused != 2 || !errors.Is(s.failure, api.ErrTooLarge) {
				t.Errorf("seat %d: %d came; %d ended, %d refused: %v", i, len(got), s.ended, s.refused, s.failure)
			}
		}
	})
}

// Posts before a malformed entry count, as all entries do: the sender meant them.
func TestRowBeforeTheFault(t *testing.T) {
	for _, fault := range [][]byte{{0x0a, 0x05, 0x00}, {0x0a, 0x00}, wire.AppendClient(nil, &wire.ClientEntry{Kind: wire.Hello})} {
		bubble(t, Options{}, func(t *testing.T, p *Provider, _ *echo) {
			v := newCustomer(t, p, 1<<20, 1<<20)
			var batch []byte
			for _, s := range v.seats {
				for range 3 {
					v.post(s, methodTake, "meant")
				}
			}
			for i := range v.entries {
				batch = wire.AppendClient(batch, &v.entries[i])
			}
			if err := v.stream.Send(&wire.Batch{Data: append(batch, fault...)}); err != nil {
				t.Fatal(err)
			}
			v.expectEnd()
			synctest.Wait()
			for i, s := range v.seats {
				if got := len(s.notes()); got != 3 {
					t.Errorf("before %x: of seat %d %d came, want 3", fault, i, got)
				}
			}
		})
	}
}

// However many posts there are in a batch, a row has an end: no more are gathered
// than a client of the default window may post.
func TestRowHasABound(t *testing.T) {
	const most = defaultWindow/api.EntryCharge + 1
	w, n := &row{limit: 1 << 20}, 0
	for n <= most && w.add(&wire.ClientEntry{Kind: wire.Invoke, Handle: 1}) {
		n++
	}
	if n < 2 || n > most {
		t.Errorf("a row of %d, want %d at most", n, most)
	}
}

// Posts that are too many for a row are several.
func TestLongRows(t *testing.T) {
	for _, park := range []bool{false, true} {
		bubble(t, Options{}, func(t *testing.T, p *Provider, _ *echo) {
			const posts = 2*longRow + longRow/2
			v := newCustomer(t, p, posts*api.EntryCharge*2)
			s := v.seats[0]
			s.desk.mood = func(int) treatment { return treatment{first: 1, park: park} }
			for i := range posts {
				v.post(s, methodTake, fmt.Sprint(i))
			}
			v.flush()
			s.check(t, false)
			if s.desk.rows != 3 {
				t.Errorf("%d rows", s.desk.rows)
			}
			v.finish(t)
		})
	}
}
