package provider

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"

	"crier.local/api"
	"crier.local/api/wire"
)

var deskSelector = api.Selector{UUID: "test/desk", Major: 1}

// methodTake and methodPass are posts for a desk, methodSeat makes a resource to
// post on.
const (
	methodSeat api.Method = iota
	methodTake
	methodPass
)

// desk is a service that takes posts, several in a row if mood says so, and keeps
// a list of them.
type desk struct {
	mood   func(posts int) treatment // of a row; nil: it is taken
	window uint32

	mu     sync.Mutex
	came   []note
	rows   int // of more than one post
	parked []*Call
	left   map[*Call][]int // of what is parked: which of came they are
	causes []error
}

// note is a post that came, and how it ended.
type note struct {
	handle api.Handle
	text   string
	ended  bool
	err    error
}

// treatment is what a desk does with a row: it ends some first, and then all
// others, or keeps them.
type treatment struct {
	unwilling bool // they are to come one by one
	first     int
	park      bool
	crash     bool
	silent    bool
	err       error
}

var errDesk = &api.CallError{Text: "not at this desk"}

func (d *desk) Handle(context.Context, *Call) (Result, error) { return Result{}, api.ErrNoMethod }

// HandleInline takes a post that comes alone: "no…" is refused, "park…" is kept.
func (d *desk) HandleInline(c *Call) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case c.Method == methodSeat:
		r, err := c.Session.NewResource(nil, ResourceOptions{SendWindow: d.window})
		c.Reply(Result{Resource: r}, err)
		return true
	case c.Method == methodPass:
		return false
	}
	notes := d.note(c)
	switch text := string(c.Args); {
	case strings.HasPrefix(text, "no"):
		d.end(notes, errDesk)
		c.Reply(Result{}, errDesk)
	case strings.HasPrefix(text, "park"):
		d.park(c, notes)
	default:
		d.end(notes, nil)
		c.Reply(Result{}, nil)
	}
	return true
}

// note puts the posts of c on the list.
func (d *desk) note(c *Call) (notes []int) {
	for _, args := range c.Posts() {
		notes = append(notes, len(d.came))
		d.came = append(d.came, note{handle: c.Handle, text: string(args)})
	}
	return notes
}

func (d *desk) end(notes []int, err error) {
	for _, i := range notes {
		d.came[i].ended, d.came[i].err = true, err
	}
}

func (d *desk) park(c *Call, notes []int) {
	var kept *Call
	kept = c.Park(func(cause error) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.causes = append(d.causes, cause)
		d.finish(kept, cause)
	})
	d.parked = append(d.parked, kept)
	d.left[kept] = notes
}

// finish ends all that is left of a parked call, if that has not happened.
func (d *desk) finish(c *Call, err error) {
	d.end(d.left[c], err)
	delete(d.left, c)
	d.parked = slices.DeleteFunc(d.parked, func(other *Call) bool { return other == c })
	c.Reply(Result{}, err)
}

func (d *desk) end1(notes *[]int, c *Call, n int) {
	d.end((*notes)[:n], nil)
	*notes = (*notes)[n:]
	c.Done(n)
}

// HandlePosts treats a row as it is in the mood for.
func (d *desk) HandlePosts(c *Call) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	posts := c.Posts()
	how := treatment{}
	if d.mood != nil {
		how = d.mood(len(posts))
	}
	if how.unwilling || c.Method == methodPass {
		return false
	}
	d.rows++
	notes := d.note(c)
	if how.first > 0 {
		d.end1(&notes, c, how.first)
	}
	if got := c.Posts(); len(got) != len(notes) || string(got[0]) != d.came[notes[0]].text || string(c.Args) != string(got[0]) {
		panic(fmt.Sprintf("of the row is left %q, want %d from %q on", got, len(notes), d.came[notes[0]].text))
	}
	switch {
	case how.crash:
		d.end(notes, errDesk)
		panic("test")
	case how.silent:
		d.end(notes, errDesk)
	case how.park:
		d.park(c, notes)
	default:
		d.end(notes, how.err)
		c.Reply(Result{}, how.err)
	}
	return true
}

// plainDesk is a desk without the power over rows.
type plainDesk struct{ desk *desk }

func (p plainDesk) Handle(ctx context.Context, c *Call) (Result, error) { return p.desk.Handle(ctx, c) }
func (p plainDesk) HandleInline(c *Call) bool                           { return p.desk.HandleInline(c) }

// bench is a client at desks, of which the second is plain, and what it was told.
type bench struct {
	*rawPeer
	desks   []*desk
	seats   []*seatAtDesk
	entries []wire.ClientEntry // of the next batch
}

// seatAtDesk is a resource of a bench.
type seatAtDesk struct {
	desk    *desk
	session api.SessionID
	handle  api.Handle
	texts   []string // posted
	credit  int64
	window  int64

	ended, refused int
	failure        error
	closed         bool
}

func newBench(t *testing.T, p *Provider, windows ...uint32) *bench {
	b := &bench{rawPeer: greetRaw(t, p, 1)}
	for i, window := range windows {
		d := &desk{window: window, left: map[*Call][]int{}}
		b.desks = append(b.desks, d)
		selector := deskSelector
		selector.Major = uint32(i + 1)
		var h Handler = d
		if i%2 == 1 {
			h = plainDesk{d}
		}
		if err := p.Provide(selector, h, ServiceOptions{}); err != nil {
			t.Fatal(err)
		}
		session := b.open(selector)
		for range 2 {
			reply := b.ask(wire.ClientEntry{Kind: wire.Invoke, Session: session, Method: methodSeat})
			b.seats = append(b.seats, &seatAtDesk{
				desk: d, session: session, handle: reply.Handle, credit: int64(reply.SendWindow), window: int64(reply.SendWindow),
			})
		}
	}
	return b
}

// post adds a post to the next batch.
func (b *bench) post(s *seatAtDesk, m api.Method, text string) {
	s.credit -= int64(api.Charge(len(text)))
	if m == methodTake {
		s.texts = append(s.texts, text)
	}
	b.add(wire.ClientEntry{Kind: wire.Invoke, Session: s.session, Handle: s.handle, Method: m, Args: []byte(text)})
}

func (b *bench) add(e wire.ClientEntry) { b.entries = append(b.entries, e) }

// flush sends the batch, and hears what comes of it.
func (b *bench) flush() {
	b.t.Helper()
	b.calls++
	b.add(wire.ClientEntry{Kind: wire.Ping, Call: b.calls})
	b.send(b.entries...)
	b.entries = nil
	synctest.Wait()
	b.reply(b.calls)
	for _, e := range b.seen {
		for _, s := range b.seats {
			if e.Kind == wire.Posted && e.Handle == s.handle && !s.closed {
				s.hear(b.t, &e)
			}
		}
	}
	b.seen = nil
}

// hear takes in a report, of which all must be true at once.
func (s *seatAtDesk) hear(t *testing.T, e *wire.ProviderEntry) {
	s.credit += int64(e.Bytes)
	s.ended += int(e.Ended)
	s.refused += int(e.Refused)
	if s.failure == nil {
		s.failure = e.Failure.Err()
	}
	if e.Ended < e.Refused || s.credit > s.window {
		t.Errorf("reported: %+v", e)
	}
}

// notes returns what came of the posts of s.
func (s *seatAtDesk) notes() (notes []note) {
	s.desk.mu.Lock()
	defer s.desk.mu.Unlock()
	for _, n := range s.desk.came {
		if n.handle == s.handle {
			notes = append(notes, n)
		}
	}
	return notes
}

// check holds what s was told against what the desk did. At the end nothing is kept
// back.
func (s *seatAtDesk) check(t *testing.T, end bool) {
	t.Helper()
	notes := s.notes()
	var came []string
	ended, refused, failure := 0, 0, error(nil)
	for _, n := range notes {
		came = append(came, n.text)
	}
	for ended < len(notes) && notes[ended].ended {
		ended++
	}
	for _, n := range notes[:min(s.ended, len(notes))] {
		if n.err != nil {
			if refused++; failure == nil {
				failure = n.err
			}
		}
	}
	if !slices.Equal(came, s.texts) {
		t.Fatalf("there came %q, want %q", came, s.texts)
	}
	if s.ended > ended || s.refused != refused || end && s.ended != len(notes) {
		t.Fatalf("told of %d, %d refused, at the end %v; %d of %d ended, %d refused", s.ended, s.refused, end, ended, len(notes), refused)
	}
	if (s.failure == nil) != (failure == nil) || end && s.credit != s.window {
		t.Fatalf("failure %v, want %v; credit %d of %d", s.failure, failure, s.credit, s.window)
	}
}

// TestRowModel: whatever comes between posts, and whatever desks do with them, they
// come in order, and the client is told exactly how they ended.
func TestRowModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var failure any
		bubble(t, Options{}, func(t *testing.T, p *Provider, _ *echo) {
			defer func() { failure = recover() }()
			b := newBench(t, p, 4000, 4000)
			for range rapid.IntRange(1, 15).Draw(rt, "batches") {
				for _, d := range b.desks {
					d.mood = drawMood(rt)
				}
				b.draw(rt)
				b.flush()
				for _, s := range b.seats {
					s.check(t, false)
				}
				b.release(rt)
			}
			b.finish(t)
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
func (b *bench) draw(rt *rapid.T) {
	for range rapid.IntRange(1, 6).Draw(rt, "runs") {
		s := b.seats[rapid.IntRange(0, len(b.seats)-1).Draw(rt, "seat")]
		for i := range rapid.IntRange(1, 8).Draw(rt, "posts") {
			if s.credit <= 0 {
				break
			}
			text := rapid.SampledFrom([]string{"", "", "", "no", "park"}).Draw(rt, "text") + fmt.Sprint(len(s.texts))
			b.post(s, methodTake, text)
			if i == 3 {
				b.between(rt, s)
			}
		}
	}
}

func (b *bench) between(rt *rapid.T, s *seatAtDesk) {
	b.calls++
	b.add([]wire.ClientEntry{
		{Kind: wire.Flush, Handle: s.handle},
		{Kind: wire.Ping, Call: b.calls},
		{Kind: wire.Cancel, Call: b.calls},
		{Kind: wire.GrantCredit, Handle: 4_000_000},
		{Kind: wire.Invoke, Session: s.session, Method: 99, Call: b.calls},
	}[rapid.IntRange(0, 4).Draw(rt, "between")])
}

// release lets desks end what they have parked, some of it or all.
func (b *bench) release(rt *rapid.T) {
	for _, d := range b.desks {
		d.mu.Lock()
		for _, c := range slices.Clone(d.parked) {
			notes := d.left[c]
			switch n := rapid.IntRange(0, 3).Draw(rt, "release"); {
			case n == 0:
				d.finish(c, nil)
			case n == 1:
				d.finish(c, errDesk)
			case n == 2 && len(notes) > 1:
				d.end1(&notes, c, rapid.IntRange(1, len(notes)-1).Draw(rt, "some"))
				d.left[c] = notes
				if got := c.Posts(); len(got) != len(notes) || string(got[0]) != d.came[notes[0]].text {
					rt.Fatalf("of what is parked is left %q, want %d from %q on", got, len(notes), d.came[notes[0]].text)
				}
			}
		}
		d.mu.Unlock()
	}
}

// finish ends all that is parked, and checks that everything is accounted for.
func (b *bench) finish(t *testing.T) {
	for _, d := range b.desks {
		d.mu.Lock()
		for _, c := range slices.Clone(d.parked) {
			d.finish(c, nil)
		}
		d.mu.Unlock()
	}
	for _, s := range b.seats {
		b.add(wire.ClientEntry{Kind: wire.Flush, Handle: s.handle})
	}
	b.flush()
	for _, s := range b.seats {
		s.check(t, true)
	}
}

func TestRowComesTogether(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, p *Provider, _ *echo) {
		b := newBench(t, p, 1<<20, 1<<20)
		with, without := b.seats[0], b.seats[2]
		for _, s := range []*seatAtDesk{with, without} {
			for i := range 100 {
				b.post(s, methodTake, fmt.Sprint(i))
			}
			b.flush()
			large := strings.Repeat("x", largePost)
			for _, text := range []string{"a", large, "b", large[1:], "c"} {
				b.post(s, methodTake, text)
			}
			b.add(wire.ClientEntry{Kind: wire.Flush, Handle: s.handle})
			b.flush()
			s.check(t, true)
			for range 3 { // another method is another row
				b.post(s, methodTake, "d")
				b.post(s, methodPass, "")
			}
			b.add(wire.ClientEntry{Kind: wire.Flush, Handle: s.handle})
			b.flush()
			b.flush() // those that another goroutine handled are told behind the first
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
			b := newBench(t, p, 1000) // 16 posts of 64 overdraw it
			b.desks[0].mood = func(int) treatment { return treatment{park: true} }
			for range posts {
				b.post(b.seats[0], methodTake, "")
			}
			if legal {
				b.flush()
				b.finish(t)
				return
			}
			b.send(b.entries...)
			if farewell := b.expectEnd(); !strings.Contains(farewell.Failure.Text, "credit") {
				t.Errorf("farewell %+v", farewell)
			}
		})
	}
}

// What is parked of a row ends with its session, once; what has been ended before
// stays so.
func TestParkedRowEndsWithItsSession(t *testing.T) {
	for name, end := range map[string]func(b *bench){
		"closed": func(b *bench) { b.ask(wire.ClientEntry{Kind: wire.CloseSession, Session: b.seats[0].session}) },
		"dead":   func(b *bench) { b.die() },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, Options{}, func(t *testing.T, p *Provider, _ *echo) {
				b := newBench(t, p, 1<<20)
				d := b.desks[0]
				d.mood = func(int) treatment { return treatment{first: 3, park: true} }
				for i := range 10 {
					b.post(b.seats[0], methodTake, fmt.Sprint(i))
				}
				b.flush()
				end(b)
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
		b := newBench(t, p, 1<<20, 1<<20)
		p.refusing.Store(true)
		for _, s := range b.seats {
			for range 10 {
				b.post(s, methodTake, "")
			}
		}
		b.flush()
		for _, s := range b.seats {
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
		b := newBench(t, p, 1<<20, 1<<20)
		for _, s := range b.seats {
			for range 3 {
				b.post(s, methodTake, "before")
			}
			b.calls++
			b.add(wire.ClientEntry{Kind: wire.CloseResource, Call: b.calls, Session: s.session, Handle: s.handle})
			for range 3 {
				b.post(s, methodTake, "after")
			}
		}
		b.flush()
		for _, s := range b.seats {
			if got := s.notes(); len(got) != 3 || s.ended != 3 || s.refused != 3 || !errors.Is(s.failure, api.ErrUnknownHandle) {
				t.Errorf("%d came; %d ended, %d refused: %v", len(got), s.ended, s.refused, s.failure)
			}
		}
	})
}

// The limit for messages holds in rows too.
func TestRowOfTooLarge(t *testing.T) {
	bubble(t, Options{Limits: Limits{Message: 1000}}, func(t *testing.T, p *Provider, _ *echo) {
		b := newBench(t, p, 1<<20, 1<<20)
		most := 1000 + api.ArgsSlack
		for _, s := range b.seats {
			for _, size := range []int{1, most, most + 1, 1, most + 1} {
				b.post(s, methodTake, strings.Repeat("x", size))
			}
			b.add(wire.ClientEntry{Kind: wire.Flush, Handle: s.handle})
		}
		b.flush()
		for i, s := range b.seats {
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
			b := newBench(t, p, 1<<20, 1<<20)
			var batch []byte
			for _, s := range b.seats {
				for range 3 {
					b.post(s, methodTake, "meant")
				}
			}
			for i := range b.entries {
				batch = wire.AppendClient(batch, &b.entries[i])
			}
			if err := b.stream.Send(&wire.Batch{Data: append(batch, fault...)}); err != nil {
				t.Fatal(err)
			}
			b.expectEnd()
			synctest.Wait()
			for i, s := range b.seats {
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
	for w.add(&wire.ClientEntry{Kind: wire.Invoke, Handle: 1}) {
		if n++; n > most {
			t.Fatalf("a row of more than %d", most)
		}
	}
}
