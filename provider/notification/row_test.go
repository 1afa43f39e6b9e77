package notification

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"crier.local/api"
	"crier.local/api/wire"
	"crier.local/provider"
)

// play is what happens in a room: who hears what one sends, and then steps.
type play struct {
	sender    api.Connect
	listeners []api.Connect
	together  bool // in one process, the sender's
	options   Options
	steps     []step
}

// step is one of: posts of these sizes; that somebody takes; that somebody comes,
// or goes; that senders are out of patience.
type step struct {
	posts   []int
	taker   int
	take    int
	visitor string
	stall   bool
}

func drawPlay(t *rapid.T) (p play) {
	p.options = Options{Queue: rapid.SampledFrom([]int{4 << 10, 8 << 10, 30 << 10}).Draw(t, "queue"), Reserve: 2 << 10}
	p.together = rapid.Bool().Draw(t, "together")
	p.sender = rapid.SampledFrom([]api.Connect{
		{Name: "a", SendOnly: true}, {Name: "a"}, {Name: "a", Presence: true},
	}).Draw(t, "sender")
	for i := range rapid.IntRange(1, 4).Draw(t, "listeners") {
		o := api.Connect{Name: fmt.Sprintf("l%d", i), Presence: rapid.Bool().Draw(t, "presence")}
		if rapid.Bool().Draw(t, "lossy") {
			o.Overflow = api.OverflowGap
		}
		if rapid.IntRange(0, 2).Draw(t, "slow") > 0 {
			o.Window = 1
		}
		p.listeners = append(p.listeners, o)
	}
	for range rapid.IntRange(1, 8).Draw(t, "steps") {
		p.steps = append(p.steps, drawStep(t, len(p.listeners)))
	}
	return p
}

func drawStep(t *rapid.T, listeners int) step {
	switch rapid.IntRange(0, 9).Draw(t, "step") {
	case 0:
		return step{visitor: rapid.SampledFrom([]string{"v", "w"}).Draw(t, "visitor")}
	case 1:
		return step{stall: true}
	case 2, 3, 4:
		return step{taker: rapid.IntRange(0, listeners-1).Draw(t, "taker"), take: rapid.IntRange(1, 20).Draw(t, "take")}
	default:
		most := rapid.SampledFrom([]int{0, 100, 1000, 3000}).Draw(t, "largest")
		return step{posts: rapid.SliceOfN(rapid.IntRange(most/2, most), 2, 20).Draw(t, "sizes")}
	}
}

// TestRowsAreLikeSingles: whether posts come in one batch or each in its own, all
// hear the same, the same is held for them, and the sender is told the same.
func TestRowsAreLikeSingles(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p := drawPlay(rt)
		rows, singles := p.perform(t, rt, true), p.perform(t, rt, false)
		if diff := cmp.Diff(singles, rows); diff != "" {
			rt.Fatalf("%+v (-singles +rows):\n%s", p, diff)
		}
	})
}

// perform plays, and returns what can be seen after each step.
func (p play) perform(t *testing.T, rt *rapid.T, rows bool) (seen []string) {
	var failure any
	synctest.Test(t, func(*testing.T) {
		defer func() { failure = recover() }()
		h := openHouse(rt, provider.Limits{}, p.options)
		defer func() {
			for _, process := range h.processes {
				process.die()
			}
			h.close(rt)
		}()
		c := &company{play: p, house: h, rt: rt, visitors: map[string]*seat{}}
		c.gather()
		for _, s := range p.steps {
			c.step(s, rows)
			seen = append(seen, c.look())
		}
		h.pass(10 * DefaultStall)
		c.sender.write(wire.ClientEntry{Kind: wire.Flush, Handle: c.sender.handle})
		for _, s := range c.listeners {
			if s.end == nil {
				s.takeAll()
			}
		}
		seen = append(seen, c.look())
	})
	if failure != nil {
		panic(failure)
	}
	return seen
}

// company is those who play.
type company struct {
	play
	house     *house
	rt        *rapid.T
	sender    *seat
	listeners []*seat
	visitors  map[string]*seat
	sent      int
}

// gather connects all, and lets the slow ones use up their windows.
func (c *company) gather() {
	own := c.house.attach(c.rt)
	for _, o := range c.play.listeners {
		process := own
		if !c.together {
			process = c.house.attach(c.rt)
		}
		c.listeners = append(c.listeners, process.connect(o))
	}
	c.sender = own.connect(c.play.sender)
	c.sender.post("first")
	synctest.Wait()
}

func (c *company) step(s step, rows bool) {
	switch {
	case s.stall:
		c.house.pass(DefaultStall)
	case s.visitor != "":
		if v := c.visitors[s.visitor]; v != nil {
			v.close()
			delete(c.visitors, s.visitor)
		} else {
			c.visitors[s.visitor] = c.house.attach(c.rt).connect(api.Connect{Name: s.visitor, Overflow: api.OverflowGap})
		}
	case s.take > 0:
		// What is on its way to a lossy one counts, so that it would matter when it leaves.
		if l, o := c.listeners[s.taker], c.play.listeners[s.taker]; l.end == nil && (o.Overflow == api.OverflowWait || o.Window == 0) {
			l.take(min(s.take, len(l.untaken)))
		}
	default:
		c.post(s.posts, rows)
	}
	synctest.Wait()
}

func (c *company) post(sizes []int, row bool) {
	var list []string
	for _, size := range sizes {
		c.sent++
		text := fmt.Sprint(c.sent)
		list = append(list, text+strings.Repeat(".", max(0, size-len(text))))
	}
	if row {
		c.sender.post(list...)
		return
	}
	for _, text := range list {
		c.sender.post(text)
		synctest.Wait()
	}
}

// look describes what has become of all.
func (c *company) look() string {
	synctest.Wait()
	var b strings.Builder
	fmt.Fprintf(&b, "posts %d refused %d %v", c.sender.ended, c.sender.refused, c.sender.refusal)
	for _, s := range append([]*seat{c.sender}, c.listeners...) {
		fmt.Fprintf(&b, "\n%s:", s.connected.Name)
		for _, e := range s.events() {
			fmt.Fprintf(&b, " %d:%s", e.Seq, strings.ReplaceAll(sayOne(e), ".", ""))
		}
		if s.end != nil {
			fmt.Fprintf(&b, " ended %v %q", s.end.Reason, s.end.Note)
		}
	}
	for _, seat := range c.sender.who("") {
		fmt.Fprintf(&b, "\n%s holds %d, %d bytes, awaited %v", seat.Name, seat.Queued, seat.QueuedBytes, seat.Awaited)
	}
	return b.String()
}

// A row of which only a part can be carried out waits, and goes on; what has been
// carried out is counted once it is.
func TestRowIsCarriedOutInParts(t *testing.T) {
	bubble(t, Options{Queue: 8 << 10, Reserve: 1}, func(t *testing.T, h *house) {
		slow := h.attach(t).connect(api.Connect{Name: "slow", Window: 1})
		quick := h.attach(t).connect(api.Connect{Name: "quick"})
		a := h.attach(t).connect(api.Connect{Name: "a", SendOnly: true, Window: 20 << 10})
		var want []string
		for i := range 20 {
			want = append(want, fmt.Sprintf("a:%02d", i))
		}
		a.post(texts(20, 900)...)
		for n := 0; len(want) > 0; n++ {
			heard := quick.events()
			if n == 0 && (len(heard) == 0 || len(heard) == 20) {
				t.Errorf("of 20 %d were carried out at once", len(heard))
			}
			for _, e := range heard {
				if got := strings.ReplaceAll(sayOne(e), ".", ""); len(want) == 0 || got != want[0] {
					t.Fatalf("quick hears %s, want %q", got, want)
				}
				want = want[1:]
			}
			a.write(wire.ClientEntry{Kind: wire.Flush, Handle: a.handle})
			if slow.take(1); a.refused > 0 || slow.end != nil {
				t.Fatalf("%d refused: %v", a.refused, a.refusal)
			}
		}
		if synctest.Wait(); a.ended != 20 || a.sendCredit != a.sendWindow {
			t.Errorf("%d ended, %d bytes may be sent", a.ended, a.sendCredit)
		}
		slow.takeAll()
		if got := len(slow.events()); got != 20 {
			t.Errorf("slow hears %d", got)
		}
	})
}

// What waits of a row ends with its sender: as many as had been carried out are
// heard, by all, and no more.
func TestRowEndsInTheMiddle(t *testing.T) {
	for name, end := range map[string]func(a *seat){
		"session": func(a *seat) { a.call(wire.ClientEntry{Kind: wire.CloseSession, Session: a.session}) },
		"close":   func(a *seat) { a.close() },
		"death":   func(a *seat) { a.die() },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, Options{Queue: 8 << 10, Reserve: 1}, func(t *testing.T, h *house) {
				slow := h.attach(t).connect(api.Connect{Name: "slow", Window: 1})
				quick := h.attach(t).connect(api.Connect{Name: "quick"})
				a, b := h.attach(t).connect(api.Connect{Name: "a"}), h.attach(t).connect(api.Connect{Name: "b"})
				a.post(texts(20, 900)...)
				heard := say(quick.events())
				if n := strings.Count(heard, "a:"); n == 0 || n == 20 {
					t.Fatalf("of 20 %d were carried out at once", n)
				}
				b.post("behind")
				end(a)
				slow.takeAll()
				if got := say(quick.events()); got != "b:behind" {
					t.Errorf("quick hears %s", got)
				}
				if got := say(slow.events()); got != heard+" b:behind" {
					t.Errorf("slow hears %s\nquick %s", got, heard)
				}
			})
		})
	}
}

// texts returns n messages of a size, which begin with their number.
func texts(n, size int) (list []string) {
	for i := range n {
		list = append(list, fmt.Sprintf("%02d%s", i, strings.Repeat(".", size-2)))
	}
	return list
}

// Two send each other more in rows than they read: the one that is waited for has
// what waits of its rows refused, and neither dies of it.
func TestRowsOfMutualSenders(t *testing.T) {
	bubble(t, Options{Queue: 8 << 10, Reserve: 1}, func(t *testing.T, h *house) {
		a := h.attach(t).connect(api.Connect{Name: "a", Window: 32 << 10})
		b := h.attach(t).connect(api.Connect{Name: "b", Window: 32 << 10})
		sent := map[*seat]int{}
		for range 3 {
			for _, s := range []*seat{a, b} {
				n := 0
				for left := s.sendCredit; n < 20 && left > 0; n++ {
					left -= int64(api.Charge(1000))
				}
				s.post(texts(n, 1000)...)
				sent[s] += n
				synctest.Wait()
			}
		}
		h.pass(DefaultStall)
		h.pass(time.Second)
		for _, s := range []*seat{a, b} {
			if s.end != nil {
				t.Fatalf("%s is told %+v", s.connected.Name, s.end)
			}
			s.takeAll()
			s.write(wire.ClientEntry{Kind: wire.Flush, Handle: s.handle})
		}
		for pair := range 2 {
			from, to := []*seat{a, b}[pair], []*seat{b, a}[pair]
			heard := len(to.events())
			if from.ended != sent[from] || from.ended-from.refused != heard || from.sendCredit != from.sendWindow {
				t.Errorf("%s: of %d %d ended, %d refused; %d heard; %d bytes of %d may be sent", from.connected.Name,
					sent[from], from.ended, from.refused, heard, from.sendCredit, from.sendWindow)
			}
			if from.refused > 0 && !errors.Is(from.refusal, api.ErrFull) {
				t.Errorf("%s: %d refused: %v", from.connected.Name, from.refused, from.refusal)
			}
		}
		if a.refused+b.refused == 0 {
			t.Error("nobody was freed from its rows")
		}
	})
}

// What of a row does not fit into the sender's own queue is refused, and not what
// does.
func TestRowWithEcho(t *testing.T) {
	bubble(t, Options{Queue: 4 << 10, Reserve: 2 << 10}, func(t *testing.T, h *house) {
		w := h.attach(t).connect(api.Connect{Name: "w"})
		e := h.attach(t).connect(api.Connect{Name: "e", Echo: true, Window: 10_000})
		for _, size := range []int{9000, 900, 800} { // of which the last does not go to the wire
			e.post(strings.Repeat("x", size))
			synctest.Wait()
		}
		w.events()
		e.write(wire.ClientEntry{Kind: wire.Flush, Handle: e.handle})
		synctest.Wait()
		e.post(strings.Repeat("y", 1500), "1", strings.Repeat("y", 1500), "2")
		expectEvents(t, w, "e:1 e:2")
		e.write(wire.ClientEntry{Kind: wire.Flush, Handle: e.handle})
		synctest.Wait()
		if e.ended != 7 || e.refused != 2 || !errors.Is(e.refusal, api.ErrFull) {
			t.Errorf("%d ended, %d refused: %v", e.ended, e.refused, e.refusal)
		}
	})
}

// A connection with echo, one of version 1.0 and one that is too long: what does
// not go in a row goes one by one, and in order.
func TestRowsOneByOne(t *testing.T) {
	bubble(t, Options{MaxMessage: 1000}, func(t *testing.T, h *house) {
		w := h.attach(t).connect(api.Connect{Name: "w"})
		echo := h.attach(t).connect(api.Connect{Name: "e", Echo: true})
		echo.post("1", "2", "", "4")
		expectEvents(t, echo, "e:1 e:2 e: e:4")
		expectEvents(t, w, "e:1 e:2 e: e:4")
		a := h.attach(t).connect(api.Connect{Name: "a"})
		a.post("1", strings.Repeat("x", 1001), "3", strings.Repeat("x", 1001), "")
		expectEvents(t, w, "a:1 a:3 a:")
		if a.ended < 4 || a.refused != 2 || !errors.Is(a.refusal, api.ErrTooLarge) {
			t.Errorf("%d ended, %d refused: %v", a.ended, a.refused, a.refusal)
		}
		p := h.attach(t)
		old := p.connectIn(p.open(0), api.Connect{})
		lobby := h.attach(t).connect(api.Connect{})
		w.events()
		old.post("1", "", "3")
		name := old.connected.Name
		expectEvents(t, lobby, fmt.Sprintf("%[1]s:1 %[1]s: %[1]s:3", name))
		if old.refused > 0 {
			t.Errorf("refused: %v", old.refusal)
		}
	})
}
