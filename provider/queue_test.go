package provider

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"crier.local/api"
)

// TestQueueModel checks the queue against lists: what is pushed leaves once and
// in order, or is shed; nothing leaves without credit or before the client knows
// the handle; the bound holds; the head goes first.
func TestQueueModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		window := rapid.Int64Range(1, 2000).Draw(t, "window")
		q := &queue{limit: 1500, reserve: 300, credit: window, held: true}
		m := &queueModel{window: window}
		t.Repeat(map[string]func(*rapid.T){
			"": func(t *rapid.T) { m.compare(t, q) },
			"push": func(t *rapid.T) {
				n := m.notification(t)
				fits := q.within(q.bytes(), n)
				if want := m.fits(n, 1500, 300); fits != want {
					t.Fatalf("fits %d bytes: %v, want %v", n.charge(), fits, want)
				}
				if !fits {
					t.Skip("full")
				}
				m.waiting = append(m.waiting, n)
				if q.push(n) {
					m.move(t, n)
				}
			},
			"pull": func(t *rapid.T) {
				switch n := q.pull(); {
				case n == nil && m.mayMove():
					t.Fatal("nothing moves though it may")
				case n != nil:
					m.move(t, n)
				}
			},
			"sent": func(t *rapid.T) {
				if len(m.passed) == 0 {
					t.Skip("nothing on its way")
				}
				q.sent(m.passed[0].charge())
				m.passed = m.passed[1:]
			},
			"grant": func(t *rapid.T) {
				n := rapid.Int64Range(1, 500).Draw(t, "credit")
				q.credit += n
				m.window += n
			},
			"born": func(t *rapid.T) { q.held, m.known = false, true },
			"head": func(t *rapid.T) {
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
				tooMuch := func() bool { return all || !q.within(q.bytes(), n) }
				q.shed(tooMuch, func(dropped *Notification) {
					if dropped != m.waiting[0] {
						t.Fatal("shed out of order")
					}
					m.waiting = m.waiting[1:]
				})
				if all && len(m.waiting) > 0 {
					t.Fatal("something is left")
				}
			},
		})
	})
}

// queueModel is what a queue should be: three lists and what is left of a window.
type queueModel struct {
	head    *Notification
	waiting []*Notification
	passed  []*Notification
	window  int64
	known   bool
}

func (m *queueModel) notification(t *rapid.T) *Notification {
	return &Notification{
		Body:   make([]byte, rapid.IntRange(0, 2000).Draw(t, "size")),
		Urgent: rapid.Bool().Draw(t, "urgent"),
	}
}

func (m *queueModel) all() []*Notification {
	all := slices.Concat(m.passed, m.waiting)
	if m.head != nil {
		all = append(all, m.head)
	}
	return all
}

func (m *queueModel) bytes() (sum int64) {
	for _, n := range m.all() {
		sum += int64(len(n.Body)) + api.EntryCharge
	}
	return sum
}

func (m *queueModel) fits(n *Notification, limit, reserve int64) bool {
	if !n.Urgent {
		limit -= reserve
	}
	return len(m.all()) == 0 || m.bytes()+int64(len(n.Body))+api.EntryCharge <= limit
}

func (m *queueModel) mayMove() bool {
	return m.known && m.window > 0 && (m.head != nil || len(m.waiting) > 0)
}

func (m *queueModel) move(t *rapid.T, n *Notification) {
	if !m.mayMove() {
		t.Fatal("something moves that may not")
	}
	next := m.head
	if m.head = nil; next == nil {
		next, m.waiting = m.waiting[0], m.waiting[1:]
	}
	if next != n {
		t.Fatal("out of order")
	}
	m.passed = append(m.passed, n)
	m.window -= n.charge()
}

func (m *queueModel) compare(t *rapid.T, q *queue) {
	got := []int64{q.bytes(), int64(q.len()), q.credit}
	want := []int64{m.bytes(), int64(len(m.all())), m.window}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("bytes, entries, credit (-want +got):\n%s", diff)
	}
}
