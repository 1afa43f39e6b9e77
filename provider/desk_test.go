package provider

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

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

func (d *desk) endSome(notes *[]int, c *Call, n int) {
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
		d.endSome(&notes, c, how.first)
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

// customer is a client at desks, of which the second is plain, and what it was told.
type customer struct {
	*rawPeer
	desks   []*desk
	seats   []*seatAtDesk
	entries []wire.ClientEntry // of the next batch
}

// seatAtDesk is a resource of a customer.
type seatAtDesk struct {
	desk    *desk
	session api.SessionID
	handle  api.Handle
	texts   []string // posted
	credit  int64
	window  int64

	ended, refused int
	failure        error
}

func newCustomer(t *testing.T, p *Provider, windows ...uint32) *customer {
	t.Helper()
	return newCustomerBy(t, p, p.Local(), windows...)
}

func newCustomerBy(t *testing.T, p *Provider, way wire.Transport, windows ...uint32) *customer {
	t.Helper()
	v := &customer{rawPeer: attachRawBy(t, way)}
	v.greet(p, 1)
	for i, window := range windows {
		d := &desk{window: window, left: map[*Call][]int{}}
		v.desks = append(v.desks, d)
		selector := deskSelector
		selector.Major = uint32(i + 1)
		var h Handler = d
		if i%2 == 1 {
			h = plainDesk{d}
		}
		if err := p.Provide(selector, h, ServiceOptions{}); err != nil {
			t.Fatal(err)
		}
		session := v.open(selector)
		for range 2 {
			reply := v.ask(wire.ClientEntry{Kind: wire.Invoke, Session: session, Method: methodSeat})
			v.seats = append(v.seats, &seatAtDesk{
				desk: d, session: session, handle: reply.Handle, credit: int64(reply.SendWindow), window: int64(reply.SendWindow),
			})
		}
	}
	return v
}

// post adds a post to the next batch.
func (v *customer) post(s *seatAtDesk, m api.Method, text string) {
	s.credit -= int64(api.Charge(len(text)))
	if m == methodTake {
		s.texts = append(s.texts, text)
	}
	v.add(wire.ClientEntry{Kind: wire.Invoke, Session: s.session, Handle: s.handle, Method: m, Args: []byte(text)})
}

func (v *customer) add(e wire.ClientEntry) { v.entries = append(v.entries, e) }

// flush sends the batch, and hears what comes of it.
func (v *customer) flush() {
	v.t.Helper()
	v.calls++
	v.add(wire.ClientEntry{Kind: wire.Ping, Call: v.calls})
	v.send(v.entries...)
	v.entries = nil
	synctest.Wait()
	v.reply(v.calls)
	for _, e := range v.seen {
		for _, s := range v.seats {
			if e.Kind == wire.Posted && e.Handle == s.handle {
				s.hear(v.t, &e)
			}
		}
	}
	v.seen = nil
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
