package notification

import (
	"testing"
	"time"

	"crier.local/api"
)

func TestAdmissionIsInOrder(t *testing.T) {
	p := newPool()
	a, b, slow := p.add("a", 100, api.Connect{}), p.add("b", 100, api.Connect{}), p.add("slow", 100, api.Connect{})
	p.send(a, 100, "")
	p.send(a, 10, "") // slow and b are full
	p.send(b, 1, "a") // could be taken, but not before the others
	p.send(a, 1, "")  // so could this, by none
	p.drain(b, 1, true)
	p.expectLog(t, "admit  a/1")
	p.drain(slow, 1, true)
	p.expectLog(t, "admit  a/2", "admit a b/3", "admit  a/4")
}

func TestAdmissionOfOneDoesNotWaitForOthers(t *testing.T) {
	p := newPool()
	a, b, c := p.add("a", 100, api.Connect{}), p.add("b", 100, api.Connect{}), p.add("c", 100, api.Connect{})
	p.send(a, 100, "b")
	p.send(a, 100, "c")
	p.send(a, 1, "nobody")
	p.expectLog(t, "admit b a/1", "admit c a/2", "admit nobody a/3")
	p.send(a, 1, "c")
	if b.conn.awaited != nil || c.conn.awaited == nil {
		t.Error("a waits for the wrong one")
	}
}

func TestAdmissionWithdrawnOrDeadSendsAreNotCarriedOut(t *testing.T) {
	p := newPool()
	a, b, c := p.add("a", 100, api.Connect{}), p.add("b", 100, api.Connect{SendOnly: true}), p.add("c", 100, api.Connect{})
	p.send(b, 100, "")
	first, second := p.send(b, 50, ""), p.send(b, 10, "")
	p.send(a, 5, "")
	p.drain(a, 1, true)
	if !p.withdraw(first) || p.withdraw(first) {
		t.Error("a parked send can be withdrawn once")
	}
	p.settle(p.now)
	p.die(b, api.ErrClosed)
	if p.withdraw(second) {
		t.Error("a send of one who is gone waits")
	}
	p.expectLog(t, "admit  b/1", "refuse b/3: closed")
	p.die(c, api.ErrClosed)
	p.expectLog(t, "admit  a/4")
}

func TestAdmissionTakesWhatAnEmptyQueueTakes(t *testing.T) {
	p := newPool()
	a := p.add("a", 100, api.Connect{})
	b := p.add("b", 100, api.Connect{})
	p.send(a, 1000, "")
	p.send(a, 1000, "")
	p.drain(b, 1, true)
	p.expectLog(t, "admit  a/1", "admit  a/2")
}

func TestAdmissionNeverWaitsForEcho(t *testing.T) {
	p := newPool()
	a, b := p.add("a", 100, api.Connect{Echo: true}), p.add("b", 150, api.Connect{})
	p.send(a, 100, "")
	p.send(a, 10, "")
	p.expectLog(t, "admit  a/1", "refuse a/2: queue full")
	p.drain(a, 1, true)
	p.send(a, 60, "") // parked because of b, and then a's own queue fills up
	p.send(b, 90, "")
	p.expectLog(t)
	a.push(90)
	p.settle(p.now)
	p.expectLog(t, "refuse a/3: queue full")
	p.drain(a, 1, true)
	p.expectLog(t, "admit  b/4")
}

func TestAdmissionNoticesWhatWasTakenBeforeItWatched(t *testing.T) {
	p := newPool()
	a, b := p.add("a", 100, api.Connect{}), p.add("b", 100, api.Connect{})
	p.race = func(v *vessel) { v.held = nil }
	p.send(a, 100, "")
	p.send(a, 100, "")
	p.expectLog(t, "admit  a/1", "admit  a/2")
	if _, ok := p.due(); ok || b.watched {
		t.Error("a clock runs for nobody")
	}
}

func TestStallClock(t *testing.T) {
	p := newPool()
	a := p.add("a", 100<<10, api.Connect{})
	b := p.add("b", 100<<10, api.Connect{})
	p.send(a, 80<<10, "")
	p.advance(time.Hour) // nobody waits for b
	for range 3 {
		p.send(a, 10<<10, "")
	}
	p.expectLog(t, "admit  a/1", "admit  a/2", "admit  a/3")
	p.advance(4 * time.Second)
	b.taken += stallStep - 1
	p.progress(b.conn, p.now) // not enough
	expectEvicted(t, p.advance(time.Second-1))
	b.taken++
	p.progress(b.conn, p.now) // just enough, just in time
	expectEvicted(t, p.advance(5*time.Second-1))
	expectEvicted(t, p.advance(1), "b")
	p.expectLog(t, "admit  a/4")
}

func TestStallClockEndsWithTheWait(t *testing.T) {
	p := newPool()
	a, b := p.add("a", 100, api.Connect{SendOnly: true}), p.add("b", 100, api.Connect{})
	p.send(a, 100, "")
	p.send(a, 100, "")
	p.advance(4 * time.Second)
	p.drain(b, 1, true)
	if _, ok := p.due(); ok {
		t.Error("the clock runs on")
	}
	p.advance(time.Hour)
	p.send(a, 100, "")
	expectEvicted(t, p.advance(5*time.Second-1))
	expectEvicted(t, p.advance(1), "b")
}

// A receiver that takes a little, and is full again in the same step, has not
// got away with it.
func TestStallClockGoesOnFromSendToSend(t *testing.T) {
	p := newPool()
	a, b := p.add("a", 100, api.Connect{SendOnly: true}), p.add("b", 100, api.Connect{})
	for range 5 {
		p.send(a, 100, "")
	}
	p.advance(3 * time.Second)
	p.drain(b, 1, true)
	expectEvicted(t, p.advance(2*time.Second), "b")
}

func TestStallSparesTheOneWhoIsStuckHimself(t *testing.T) {
	p := newPool()
	a, b := p.add("a", 100, api.Connect{}), p.add("b", 100, api.Connect{})
	p.send(a, 100, "")
	p.send(b, 100, "")
	p.send(a, 1, "")
	p.send(b, 1, "")
	p.send(b, 2, "")
	p.expectLog(t, "admit  a/1", "admit  b/2")
	expectEvicted(t, p.advance(5*time.Second))
	p.expectLog(t, "refuse b/4: queue full", "refuse b/5: queue full")
	p.send(b, 3, "")
	p.expectLog(t, "refuse b/6: queue full")
	expectEvicted(t, p.advance(5*time.Second-1))
	expectEvicted(t, p.advance(1), "b")
	p.expectLog(t, "admit  a/3")
}

func TestStallSparesAgainAfterProgress(t *testing.T) {
	p := newPool()
	a, b := p.add("a", 10, api.Connect{}), p.add("b", 100<<10, api.Connect{})
	p.send(b, 10, "") // a is full
	for range 10 {
		p.send(a, 20<<10, "")
	}
	for range 3 {
		p.send(b, 1, "")
		expectEvicted(t, p.advance(5*time.Second))
		if b.conn.turn.parked > 0 || !b.conn.spared {
			t.Fatal("b was not spared")
		}
		p.drain(b, 1, true)
		if b.conn.spared {
			t.Fatal("b took something, and is not forgiven")
		}
	}
}

func TestStallOfSeveralAtOnce(t *testing.T) {
	p := newPool()
	a := p.add("a", 100, api.Connect{SendOnly: true})
	p.add("b", 100, api.Connect{})
	p.add("c", 100, api.Connect{})
	p.send(a, 100, "")
	p.send(a, 100, "")
	expectEvicted(t, p.advance(5*time.Second), "b", "c")
	p.expectLog(t, "admit  a/1", "admit  a/2")
}

func TestAdmissionDoesNotAllocate(t *testing.T) {
	p := newPool()
	a, b := p.add("a", 1<<30, api.Connect{}), p.add("b", 1<<30, api.Connect{})
	q := &countingQueues{}
	p.admission.queues = q
	s := &send{from: a.conn}
	if n := testing.AllocsPerRun(100, func() { p.submit(s, p.now) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if q.admitted == 0 || b.conn.awaited != nil {
		t.Error("nothing was admitted")
	}
}

// countingQueues take everything.
type countingQueues struct{ admitted int }

func (q *countingQueues) fits(*send) bool                { return true }
func (q *countingQueues) full(*send, func(*connection))  {}
func (q *countingQueues) blocks(*send, *connection) bool { return false }
func (q *countingQueues) echoFits(*send) bool            { return true }
func (q *countingQueues) watch(*connection, bool)        {}
func (q *countingQueues) taken(*connection) uint64       { return 0 }
func (q *countingQueues) admit(*send) bool               { q.admitted++; return true }
func (q *countingQueues) refuse(*send, error)            {}

func BenchmarkAdmit(b *testing.B) {
	p := newPool()
	p.admission.queues = &countingQueues{}
	s := &send{from: p.add("a", 1, api.Connect{}).conn}
	b.ReportAllocs()
	for b.Loop() {
		p.submit(s, p.now)
	}
}
