package provider

import (
	"bytes"
	"fmt"
	"slices"

	"pgregory.net/rapid"

	"crier.local/api"
	"crier.local/api/wire"
)

// rig is some resources of some processes in a group, without clients: what they
// are sent is read here.
type rig struct {
	p         *Provider
	outs      []*outbox
	resources []*Resource
	group     Group
	heard     map[api.Handle][]string
	lost      map[*Resource]int
	dropped   bool // of what somebody had a hold on
}

// place says where a resource is, and what it can do.
type place struct {
	process                int
	credit, limit, reserve int64
	lossy, held, outside   bool // outside the group
}

func newRig(places []place, processQueue, totalQueue int64) *rig {
	r := &rig{
		p:     New(Options{Limits: Limits{ProcessQueue: processQueue, TotalQueue: totalQueue}}),
		heard: map[api.Handle][]string{}, lost: map[*Resource]int{},
	}
	var processes []*process
	for i, at := range places {
		for at.process >= len(processes) {
			o := newOutbox(r.p.options.Limits.ProcessQueue, &r.p.budget, nil)
			r.outs = append(r.outs, o)
			processes = append(processes, &process{p: r.p, out: o})
		}
		res := &Resource{
			session: &Session{process: processes[at.process]}, out: r.outs[at.process], handle: api.Handle(2*i + 1),
			queue: queue{limit: at.limit, reserve: at.reserve, credit: at.credit, held: at.held},
		}
		if at.lossy {
			res.overflow = func(n *Notification) { r.makeRoom(res, n) }
		}
		res.out.ledger.join(1)
		r.resources = append(r.resources, res)
		if !at.outside {
			r.group.Add(res)
		}
	}
	return r
}

// makeRoom is the policy of the lossy: the oldest go, and a record says how many.
func (r *rig) makeRoom(res *Resource, n *Notification) {
	before := r.lost[res]
	res.Shed(n, false, func(*Notification) { r.lost[res]++ })
	if r.lost[res] > before {
		res.SwapHead(func(*Notification) *Notification {
			return &Notification{Body: fmt.Appendf(nil, "%d lost", r.lost[res]), Urgent: true}
		})
	}
}

// write sends the next n items of a process, and checks what a client reads of them.
func (r *rig) write(t *rapid.T, o *outbox, n int) {
	items := o.items[:min(n, len(o.items))]
	o.items = slices.Clone(o.items[len(items):])
	for rest := items; len(rest) > 0; {
		n, _ := batch(rest, wire.BatchSize)
		var data, tail []byte
		for i := range rest[:n] {
			data, tail, _ = rest[i].encode(data, nil)
		}
		r.hear(t, append(data, tail...))
		rest = rest[n:]
	}
	o.sent(items, nil)
}

func (r *rig) hear(t *rapid.T, batch []byte) {
	reader := wire.NewReader(batch)
	for {
		var e wire.ProviderEntry
		more, err := reader.NextProvider(&e)
		if err != nil {
			t.Fatal(err)
		}
		if !more {
			return
		}
		if e.Kind != wire.Notification || len(e.Handles) == 0 || len(e.Bodies) == 0 {
			t.Fatalf("an entry %+v", e)
		}
		for body, ok := e.Bodies.Next(); ok; body, ok = e.Bodies.Next() {
			for _, h := range e.Handles {
				r.heard[h] = append(r.heard[h], string(body))
			}
		}
	}
}

// state describes everything that can be seen of the rig.
func (r *rig) state() (lines []string) {
	for _, res := range r.resources {
		q := &res.queue
		var waiting []*Notification
		for _, p := range q.backlog {
			waiting = append(waiting, contents(p)...)
		}
		lines = append(lines, fmt.Sprintf("%d: credit %d, %d of %d bytes, held %d, closed %v, lost %d, waiting %s, heard %s", res.handle,
			q.credit, q.len(), q.bytes(), res.held.Load(), q.closed, r.lost[res], say(waiting), r.heard[res.handle]))
	}
	for i, o := range r.outs {
		lines = append(lines, fmt.Sprintf("process %d: %d blocked, %d bytes", i, o.blocked, o.ledger.queued.Load()))
	}
	return lines
}

// checkHolds holds those that a series has against those who have it. Who was
// buried with one leaves the series to the garbage collector.
func (r *rig) checkHolds(t *rapid.T) {
	holds := map[*Series]int32{}
	for _, res := range r.resources {
		for _, p := range res.queue.backlog {
			holds[p.series]++
		}
	}
	for _, o := range r.outs {
		for _, it := range o.items {
			holds[it.what.series]++
		}
	}
	delete(holds, nil)
	for s, want := range holds {
		if got := s.holds.Load(); got < want || got > want && !r.dropped {
			t.Fatalf("a series of %d has %d holds, want %d", s.Len(), got, want)
		}
	}
}

// scribble makes a series of what memory is free, and uses it up.
func scribble() {
	var taken []*Series
	for i := range 6 {
		size := []int{MaxSeries, MaxSeries / 4}[i%2]
		s := NewSeries(1, size)
		_ = append(s.Add(size, 0), bytes.Repeat([]byte{'!'}, size)...)
		taken = append(taken, s)
	}
	for _, s := range taken {
		s.release()
	}
}

// checkLedgers holds what is counted against what there is.
func (r *rig) checkLedgers(t *rapid.T) {
	r.checkHolds(t)
	held, blocked := map[*outbox]int64{}, map[*outbox]int{}
	for _, res := range r.resources {
		held[res.out] += res.queue.bytes()
		if res.queue.blocked() {
			blocked[res.out]++
		}
		if res.held.Load() != res.queue.bytes() {
			t.Fatalf("%d holds %d bytes, said to be %d", res.handle, res.queue.bytes(), res.held.Load())
		}
	}
	for i, o := range r.outs {
		if o.ledger.queued.Load() != held[o] || o.blocked != blocked[o] || o.unsent != len(o.items) {
			t.Fatalf("process %d: %d bytes, %d blocked, %d unsent; there are %d, %d, %d",
				i, o.ledger.queued.Load(), o.blocked, o.unsent, held[o], blocked[o], len(o.items))
		}
	}
}

// empty lets everything go, and checks that nothing is left.
func (r *rig) empty(t *rapid.T) {
	for range 2 { // what came with the first may have been a record before the rest
		for _, res := range r.resources {
			res.out.update(res, func(q *queue) { q.held, q.credit = false, 1<<40 })
		}
		for _, o := range r.outs {
			r.write(t, o, len(o.items))
		}
	}
	r.checkLedgers(t)
	for i, o := range r.outs {
		if o.closed { // what waits in queues is not taken any more
			o.bury()
		} else if n := o.ledger.queued.Load(); n != 0 {
			t.Fatalf("process %d: %d bytes are left", i, n)
		}
	}
	if n := r.p.budget.queued.Load(); n != 0 {
		t.Fatalf("%d bytes are left", n)
	}
}

// at returns a resource, nil for none.
func (r *rig) at(i int) *Resource {
	if i < 0 {
		return nil
	}
	return r.resources[i]
}
