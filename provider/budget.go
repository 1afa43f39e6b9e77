package provider

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
)

// budget is an amount of memory that many queues share.
type budget struct {
	limit   int64
	queued  atomic.Int64
	members atomic.Int64 // the queues

	mu      sync.Mutex
	waiting map[*Resource]struct{} // to be told when queues that are full may not be any more
	telling bool                   // somebody is about to tell them
}

// add counts n bytes more. When that leaves half of the budget free again, queues
// are not full any more that did nothing for it.
func (b *budget) add(n int64) {
	half := b.limit / 2
	if after := b.queued.Add(n); after <= half && after-n > half {
		b.relieve()
	}
}

// join counts n queues more. Fewer have larger shares.
func (b *budget) join(n int64) {
	if b.members.Add(n); n < 0 && b.queued.Load() > b.limit/2 {
		b.relieve()
	}
}

// await puts r on the list of those to be told, or takes it off.
func (b *budget) await(r *Resource, on bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case !on:
		delete(b.waiting, r)
	case b.waiting == nil:
		b.waiting = map[*Resource]struct{}{r: {}}
	default:
		b.waiting[r] = struct{}{}
	}
}

// relieve has those told who wait: by a goroutine, which ends then, since what
// they do about it takes locks that the caller may hold.
func (b *budget) relieve() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.waiting) > 0 && !b.telling {
		b.telling = true
		go b.tell()
	}
}

func (b *budget) tell() {
	b.mu.Lock()
	b.telling = false
	waiting := slices.Collect(maps.Keys(b.waiting))
	b.mu.Unlock()
	for _, r := range waiting {
		r.moved()
	}
}

// full reports whether a queue that holds n bytes is over its share. While half
// the budget is free none is; from then on those are that hold more than the
// average, the one that holds most among them. What is urgent has all of the
// budget.
func (b *budget) full(n int64, urgent bool) bool {
	limit := b.limit
	if !urgent {
		limit /= 2
	}
	return b.queued.Load() > limit && n > limit/max(1, b.members.Load())
}

// room is how much a queue that holds n bytes can take that is not urgent before it
// is over its share.
func (b *budget) room(n int64) int64 {
	limit, members := b.limit/2, max(1, b.members.Load())
	return max(limit/members-n, (limit-b.queued.Load())/members)
}

// settleStep is how far a process's own count may be off the provider's budget.
const settleStep = 8 << 10

// ledger is a process's part of the provider's budget, with its own limit. The
// provider's is told of changes once they are worth a write to memory that all
// processes share. Its owner's lock guards it.
type ledger struct {
	budget
	whole   *budget
	settled int64 // the part of queued that whole knows of
	closed  bool
}

func (l *ledger) add(n int64) {
	l.budget.add(n)
	if l.closed {
		return
	}
	queued := l.queued.Load()
	if off := queued - l.settled; off >= settleStep || off <= -settleStep || (queued == 0 && off != 0) {
		l.whole.add(off)
		l.settled = queued
	}
}

func (l *ledger) join(n int64) {
	l.budget.join(n)
	l.whole.join(n)
}

// close takes what is left of l out of the whole.
func (l *ledger) close() {
	l.closed = true
	l.whole.add(-l.settled)
	l.settled = 0
}
