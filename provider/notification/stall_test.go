package notification

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"crier.local/api"
	"crier.local/api/wire"
	"crier.local/provider"
)

// small is a house whose queues are full soon.
var small = Options{Queue: 100 << 10, Reserve: 10 << 10}

func TestStallEvicts(t *testing.T) {
	bubble(t, Options{Queue: 100 << 10, Reserve: 10 << 10, Stall: 3 * time.Second}, func(t *testing.T, h *house) {
		w := h.attach(t).connect(api.Connect{Name: "w", Presence: true})
		deaf := h.attach(t).connect(api.Connect{Name: "deaf", Window: 1})
		a, b := h.attach(t).connect(api.Connect{Name: "a"}), h.attach(t).connect(api.Connect{Name: "b"})
		h.pass(time.Hour)
		_, parked := a.fill(9000)
		w.events()
		b.start("and b waits too")
		a.start("behind")
		h.pass(3*time.Second - 1)
		if _, ok := a.answer(parked); ok || deaf.end != nil {
			t.Error("too early")
		}
		h.pass(1)
		if got := w.events(); sayOne(got[0]) != "-deaf(slow)" || got[0].From != "deaf" || len(got) != 4 {
			t.Errorf("w hears %.200q", say(got))
		}
		if deaf.end == nil || deaf.end.Reason != api.ReasonSlow || deaf.end.Note != "stopped reading while 2 senders waited" {
			t.Errorf("deaf is told %+v", deaf.end)
		}
		if _, err := a.result(parked); err != nil {
			t.Error(err)
		}
		if _, err := deaf.send("x"); !errors.Is(err, api.ErrUnknownHandle) {
			t.Errorf("deaf sends: %v", err)
		}
	})
}

// stuckLog is a log that nobody reads: its lines wait until it is released.
type stuckLog struct {
	hclog.Logger
	lines    atomic.Int32
	released chan struct{}
}

func (l *stuckLog) Warn(string, ...any) {
	l.lines.Add(1)
	<-l.released
}

// Nobody waits for the log: what it does not take is lost.
func TestStallEvictsWhileTheLogIsStuck(t *testing.T) {
	log := &stuckLog{Logger: hclog.NewNullLogger()}
	o := small
	o.Logger = log
	bubble(t, o, func(t *testing.T, h *house) {
		log.released = make(chan struct{})
		release := sync.OnceFunc(func() { close(log.released) })
		defer release()
		a := h.attach(t).connect(api.Connect{Name: "a"})
		for i := range maxReports + 2 {
			deaf := h.attach(t).connect(api.Connect{Name: "deaf", Window: 1})
			_, parked := a.fill(9000)
			h.pass(DefaultStall)
			if _, ok := a.answer(parked); !ok || deaf.end == nil {
				t.Fatalf("eviction %d waits for the log", i)
			}
			if want := min(i+1, maxReports); int(log.lines.Load()) != want {
				t.Fatalf("%d lines after %d evictions, want %d", log.lines.Load(), i+1, want)
			}
		}
		release()
	})
}

func TestStallSparesWhoTakesSomething(t *testing.T) {
	bubble(t, small, func(t *testing.T, h *house) {
		lazy := h.attach(t).connect(api.Connect{Name: "lazy", Window: 1})
		a := h.attach(t).connect(api.Connect{Name: "a", SendOnly: true})
		a.fill(9000)
		for range 20 {
			a.start(string(make([]byte, 9000)))
		}
		for range 10 {
			h.pass(4 * time.Second)
			for range 2 { // 18,000 bytes and some
				lazy.take(1)
			}
		}
		if lazy.end != nil {
			t.Fatalf("evicted: %+v", lazy.end)
		}
		h.pass(DefaultStall)
		if lazy.end == nil {
			t.Error("not evicted")
		}
	})
}

// Two that send to each other from their receive loops, more than they receive,
// and that do not care for errors, do not die of it.
func TestStallOfMutualSenders(t *testing.T) {
	bubble(t, small, func(t *testing.T, h *house) {
		a := h.attach(t).connect(api.Connect{Name: "a", Window: 32 << 10})
		b := h.attach(t).connect(api.Connect{Name: "b", Window: 32 << 10})
		calls := map[*seat]uint32{}
		refused := map[*seat]int{}
		for step := range 2000 {
			for _, s := range []*seat{a, b} {
				e, answered := s.answer(calls[s])
				if calls[s] != 0 && !answered {
					continue // it is stuck in this send
				}
				switch err := e.Failure.Err(); {
				case errors.Is(err, api.ErrFull):
					refused[s]++
				case err != nil:
					t.Fatalf("%s: %v", s.connected.Name, err)
				}
				if step%3 == 0 && len(s.untaken) > 0 {
					s.take(1)
				}
				calls[s] = s.start(string(make([]byte, 9000)))
			}
			h.pass(100 * time.Millisecond)
		}
		if a.end != nil || b.end != nil || refused[a]+refused[b] == 0 {
			t.Errorf("ends %+v %+v, refused %d and %d", a.end, b.end, refused[a], refused[b])
		}
		if got := len(a.fresh) + len(b.fresh); got < 50 {
			t.Errorf("only %d messages went through", got)
		}
	})
}

func TestStallDoesNotConcernPublishers(t *testing.T) {
	bubble(t, small, func(t *testing.T, h *house) {
		p := h.attach(t)
		pub, other := p.connect(api.Connect{Name: "pub", SendOnly: true}), p.connect(api.Connect{SendOnly: true})
		for range 100 {
			if _, err := pub.send(string(make([]byte, 9000))); err != nil {
				t.Fatal(err)
			}
			other.send("x")
		}
		h.pass(time.Hour)
		if pub.end != nil {
			t.Error("evicted")
		}
	})
}

func TestStallOfOneWhoMissesPresenceToo(t *testing.T) {
	bubble(t, small, func(t *testing.T, h *house) {
		deaf := h.attach(t).connect(api.Connect{Name: "deaf", Window: 1, Presence: true})
		a := h.attach(t).connect(api.Connect{Name: "a"})
		a.fill(9000)
		h.attach(t).connect(api.Connect{Name: "b"})
		h.pass(DefaultStall)
		if deaf.end == nil || deaf.end.Reason != api.ReasonSlow {
			t.Errorf("told %+v", deaf.end)
		}
	})
}

func TestStallTimerRunsOnlyWhileSomebodyWaits(t *testing.T) {
	bubble(t, small, func(t *testing.T, h *house) {
		slow := h.attach(t).connect(api.Connect{Name: "slow", Window: 1})
		a := h.attach(t).connect(api.Connect{Name: "a"})
		room := h.service.all()[0]
		a.send("x")
		if room.timer != nil {
			t.Error("a timer, and nobody waits")
		}
		for range 3 {
			_, call := a.fill(9000)
			if !room.ticking {
				t.Error("no timer, and a waits")
			}
			slow.takeAll()
			if _, err := a.result(call); err != nil || room.ticking || room.timer.Stop() {
				t.Errorf("a timer, and nobody waits any more: %v", err)
			}
		}
	})
}

// Parked sends are admitted in the order in which they came, and each process
// sees that one order.
func TestParkedSendsOfSeveralKeepOneOrder(t *testing.T) {
	bubble(t, small, func(t *testing.T, h *house) {
		slow := h.attach(t).connect(api.Connect{Name: "slow", Window: 1})
		quick := h.attach(t).connect(api.Connect{Name: "quick", Overflow: api.OverflowGap})
		a, b := h.attach(t).connect(api.Connect{Name: "a", SendOnly: true}), h.attach(t).connect(api.Connect{Name: "b", SendOnly: true})
		a.fill(9000)
		var want []string
		for i := range 20 {
			s := []*seat{a, b}[i%3%2]
			text := string(rune('a' + i))
			s.post(text)
			synctest.Wait()
			want = append(want, s.connected.Name+":"+text)
		}
		slow.takeAll()
		quick.takeAll()
		for _, s := range []*seat{slow, quick} {
			events := s.events()
			if got := say(events[len(events)-20:]); got != strings.Join(want, " ") {
				t.Errorf("%s hears %s\nwant %s", s.connected.Name, got, strings.Join(want, " "))
			}
			if !slices.IsSortedFunc(events, func(a, b wire.Event) int { return int(a.Seq) - int(b.Seq) }) {
				t.Errorf("%s gets numbers out of order", s.connected.Name)
			}
		}
		a.write(wire.ClientEntry{Kind: wire.Flush, Handle: a.handle})
		synctest.Wait()
		if a.refused != 0 || a.ended != 13 {
			t.Errorf("%d posts of a ended, %d refused", a.ended, a.refused)
		}
	})
}

// Of the parked sends of one who dies none is carried out, also if the first is
// ended before the second.
func TestParkedSendsDieTogether(t *testing.T) {
	bubble(t, small, func(t *testing.T, h *house) {
		slow := h.attach(t).connect(api.Connect{Name: "slow", Window: 1})
		a := h.attach(t).connect(api.Connect{Name: "a", SendOnly: true})
		_, parked := a.fill(9000)
		for range 10 {
			b := h.attach(t).connect(api.Connect{Name: "b", SendOnly: true})
			b.post(string(make([]byte, 9000)))
			b.post("after it")
			synctest.Wait()
			if parked != 0 {
				a.write(wire.ClientEntry{Kind: wire.Cancel, Call: parked}) // b is first now, and its second would fit
				parked = 0
			}
			b.die()
		}
		slow.takeAll()
		if heard := say(slow.events()); strings.Contains(heard, "after it") {
			t.Error("the second was carried out")
		}
	})
}

// One member that is not waited for does not stall the others of its process.
func TestSlowConnectionsStallOnlyThemselves(t *testing.T) {
	bubble(t, small, func(t *testing.T, h *house) {
		p := h.attach(t)
		session := p.open(1)
		var deaf []*seat
		for range 20 {
			deaf = append(deaf, p.connectIn(session, api.Connect{Overflow: api.OverflowGap, Window: 1}))
		}
		w := p.connectIn(session, api.Connect{Name: "w"})
		a := h.attach(t).connect(api.Connect{Name: "a"})
		for range 100 {
			if _, err := a.send(string(make([]byte, 9000))); err != nil {
				t.Fatal(err)
			}
			w.takeAll()
		}
		if got := len(w.events()); got != 100 {
			t.Errorf("w heard %d messages", got)
		}
		for _, s := range deaf {
			if got := len(s.events()); got != 1 {
				t.Errorf("a deaf one heard %d messages", got)
			}
		}
	})
}

// What is held for others, of the same process or of all, keeps a send from one
// that holds little. When the others have read it, the send goes on at once,
// whoever does not read.
func TestSharedBoundIsFreedByOthers(t *testing.T) {
	t.Run("process", func(t *testing.T) {
		testSharedBound(t, provider.Limits{ProcessQueue: 8 << 20}, func(h *house) func() *process {
			crowd := h.attach(t)
			return func() *process { return crowd }
		})
	})
	t.Run("total", func(t *testing.T) {
		testSharedBound(t, provider.Limits{TotalQueue: 8 << 20}, func(h *house) func() *process {
			return func() *process { return h.attach(t) }
		})
	})
}

func testSharedBound(t *testing.T, l provider.Limits, processes func(*house) func() *process) {
	bubbleWithin(t, l, Options{}, func(t *testing.T, h *house) {
		next := processes(h)
		deaf := next().connect(api.Connect{Name: "deaf", Window: 1})
		var others []*seat
		for range 20 {
			others = append(others, next().connect(api.Connect{Window: 1}))
		}
		a := h.attach(t).connect(api.Connect{Name: "a"})
		_, parked := a.fill(64 << 10)
		if held := deaf.who("")[0].QueuedBytes; held > 1<<20 {
			t.Fatalf("deaf's own queue is full, with %d bytes", held)
		}
		for _, s := range others {
			s.takeAll()
		}
		if _, ok := a.answer(parked); !ok {
			t.Error("the send still waits")
		}
		if deaf.end != nil {
			t.Error("deaf is evicted, which was not full")
		}
	})
}
