package provider

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"crier.local/api"
)

// TestQueueModel checks the queue against lists: what is pushed, alone or in a
// series, leaves once and in order, or is shed; as much moves as credit lets
// through, nothing without it or before the client knows the handle; the bound
// holds; the head goes first; what waits keeps little else in memory.
func TestQueueModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		window := rapid.Int64Range(1, 2000).Draw(t, "window")
		q := &queue{limit: 1500, reserve: 300, credit: window, held: true}
		m := &queueModel{window: window}
		t.Repeat(map[string]func(*rapid.T){
			"": func(t *rapid.T) { m.compare(t, q) },
			"push": func(t *rapid.T) {
				n := m.notification(t)
				fits := q.within(q.bytes(), n.charge(), n.Urgent)
				if want := m.fits(n, 1500, 300); fits != want {
					t.Fatalf("fits %d bytes: %v, want %v", n.charge(), fits, want)
				}
				if !fits {
					t.Skip("full")
				}
				m.push(t, q, parcel{one: n}, n)
			},
			"push series": func(t *rapid.T) {
				list := m.several(t)
				m.push(t, q, whole(seriesOf(list)), list...)
			},
			"push series again": func(t *rapid.T) { // of which others have had the beginning
				list := m.several(t)
				_, rest := whole(seriesOf(list)).cut(rapid.Int64Range(0, 3000).Draw(t, "their credit"))
				if rest.empty() {
					t.Skip("nothing is left")
				}
				m.push(t, q, rest, list[len(list)-rest.len():]...)
			},
			"pull": func(t *rapid.T) {
				p := q.pull()
				if p.empty() && m.mayMove() {
					t.Fatal("nothing moves though it may")
				}
				m.move(t, p)
			},
			"pull all": func(t *rapid.T) {
				for p := q.pull(); !p.empty(); p = q.pull() {
					m.move(t, p)
				}
				if m.mayMove() {
					t.Fatal("something is left that may move")
				}
			},
			"sent": func(t *rapid.T) {
				if len(m.passed) == 0 {
					t.Skip("nothing on its way")
				}
				q.sent(m.passed[0].len(), m.passed[0].charge())
				m.passed = m.passed[1:]
			},
			"grant": func(t *rapid.T) {
				n := rapid.Int64Range(1, 500).Draw(t, "credit")
				q.credit += n
				m.window += n
			},
			"born": func(t *rapid.T) { q.held, m.known = false, true },
			"head": func(t *rapid.T) {
				if q.closed {
					t.Skip("closed")
				}
				n := m.notification(t)
				q.swapHead(func(old *Notification) *Notification {
					if old != m.head {
						t.Fatalf("old head is %v, want %v", old, m.head)
					}
					return n
				})
				m.head = n
			},
			"shed": func(t *rapid.T) {
				n, all := m.notification(t), rapid.Bool().Draw(t, "all")
				tooMuch := func() bool { return all || !q.within(q.bytes(), n.charge(), n.Urgent) }
				q.shed(tooMuch, func(dropped *Notification) {
					sameNotifications(t, "shed", []*Notification{dropped}, m.waiting[:1])
					m.waiting = m.waiting[1:]
				})
				if len(m.waiting) > 0 && tooMuch() {
					t.Fatal("too much is left")
				}
			},
			"close": func(t *rapid.T) {
				if rapid.IntRange(0, 9).Draw(t, "close") > 0 {
					t.Skip("it would end too many")
				}
				q.close()
				m.head, m.waiting = nil, nil
			},
		})
	})
}

// queueModel is what a queue should be: three lists and what is left of a window.
type queueModel struct {
	head    *Notification
	waiting []*Notification
	passed  []parcel
	window  int64
	known   bool
	tags    uint64
}

func (m *queueModel) notification(t *rapid.T) *Notification {
	m.tags++
	size := rapid.OneOf(rapid.IntRange(0, 50), rapid.IntRange(0, 2000)).Draw(t, "size")
	n := &Notification{Body: make([]byte, size), Urgent: rapid.Bool().Draw(t, "urgent"), Tag: m.tags}
	for i := range n.Body {
		n.Body[i] = byte(m.tags)
	}
	return n
}

// several returns what may be in a series.
func (m *queueModel) several(t *rapid.T) (list []*Notification) {
	for range rapid.IntRange(1, 20).Draw(t, "notifications") {
		n := m.notification(t)
		n.Urgent = false
		list = append(list, n)
	}
	return list
}

// seriesOf returns list as a series.
func seriesOf(list []*Notification) *Series {
	bytes := 0
	for _, n := range list {
		bytes += len(n.Body)
	}
	s := NewSeries(len(list), bytes)
	for _, n := range list {
		_ = append(s.Add(len(n.Body), n.Tag), n.Body...)
	}
	return s
}

// contents returns what is in p.
func contents(p parcel) (list []*Notification) {
	if p.one != nil {
		return []*Notification{p.one}
	}
	if p.empty() {
		return nil
	}
	bodies := p.bodies()
	for _, m := range p.series.marks[p.from:p.to] {
		body, _ := bodies.Next()
		list = append(list, &Notification{Body: body, Tag: m.tag})
	}
	if len(bodies) > 0 {
		list = append(list, &Notification{Body: bodies}) // too many
	}
	return list
}

func sumOf(list []*Notification) (sum int64) {
	for _, n := range list {
		sum += int64(len(n.Body)) + api.EntryCharge
	}
	return sum
}

// sameNotifications compares what came with what was put in.
func sameNotifications(t *rapid.T, what string, got, want []*Notification) {
	t.Helper()
	same := slices.EqualFunc(got, want, func(a, b *Notification) bool {
		return a.Tag == b.Tag && string(a.Body) == string(b.Body)
	})
	if !same {
		t.Fatalf("%s %s, want %s", what, say(got), say(want))
	}
}

// say returns a list of notifications in few words.
func say(list []*Notification) string {
	var words []string
	for _, n := range list {
		words = append(words, fmt.Sprintf("%d of %d bytes", n.Tag, len(n.Body)))
	}
	return fmt.Sprintf("%q", words)
}

// push puts p, which is list, into both.
func (m *queueModel) push(t *rapid.T, q *queue, p parcel, list ...*Notification) {
	if q.closed {
		t.Skip("closed")
	}
	before := q.blocked()
	m.waiting = append(m.waiting, list...)
	passed := q.push(p)
	if before && !passed.empty() {
		t.Fatalf("%s overtook what waits", say(contents(passed)))
	}
	m.move(t, passed)
	if !before && m.mayMove() {
		t.Fatal("something waits though it may move")
	}
}

func (m *queueModel) all() []*Notification {
	all := slices.Clone(m.waiting)
	for _, p := range m.passed {
		all = append(all, contents(p)...)
	}
	if m.head != nil {
		all = append(all, m.head)
	}
	return all
}

func (m *queueModel) fits(n *Notification, limit, reserve int64) bool {
	if !n.Urgent {
		limit -= reserve
	}
	return len(m.all()) == 0 || sumOf(m.all())+int64(len(n.Body))+api.EntryCharge <= limit
}

func (m *queueModel) mayMove() bool {
	return m.known && m.window > 0 && (m.head != nil || len(m.waiting) > 0)
}

// move notes that p has moved to the wire.
func (m *queueModel) move(t *rapid.T, p parcel) {
	if p.empty() {
		return
	}
	list := contents(p)
	if len(list) != p.len() || sumOf(list) != p.charge() {
		t.Fatalf("%d notifications of %d bytes are said to be %d of %d", len(list), sumOf(list), p.len(), p.charge())
	}
	for _, n := range list {
		if !m.mayMove() {
			t.Fatalf("something moves that may not, of %s", say(list))
		}
		next := m.head
		if m.head = nil; next == nil {
			next, m.waiting = m.waiting[0], m.waiting[1:]
		}
		sameNotifications(t, "moved", []*Notification{n}, []*Notification{next})
		m.window -= int64(len(n.Body)) + api.EntryCharge
	}
	m.passed = append(m.passed, p)
}

func (m *queueModel) compare(t *rapid.T, q *queue) {
	got := []int64{q.bytes(), int64(q.len()), q.credit}
	want := []int64{sumOf(m.all()), int64(len(m.all())), m.window}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("bytes, entries, credit (-want +got):\n%s", diff)
	}
	var waiting []*Notification
	for _, p := range q.backlog {
		waiting = append(waiting, contents(p)...)
		checkMemory(t, p)
	}
	sameNotifications(t, "waiting", waiting, m.waiting)
}

// checkMemory holds what p keeps in memory against what is in it.
func checkMemory(t *rapid.T, p parcel) {
	if p.series == nil {
		return
	}
	if kept, used := len(p.series.bodies), len(p.bodies()); kept > 2*used {
		t.Fatalf("%d bytes are kept for %d", kept, used)
	}
}
