package provider

import "sync/atomic"

// budget is an amount of memory that many queues share.
type budget struct {
	limit   int64
	queued  atomic.Int64
	members atomic.Int64 // the queues
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
	queued := l.queued.Add(n)
	if l.closed {
		return
	}
	if off := queued - l.settled; off >= settleStep || off <= -settleStep || (queued == 0 && off != 0) {
		l.whole.queued.Add(off)
		l.settled = queued
	}
}

func (l *ledger) join(n int64) {
	l.members.Add(n)
	l.whole.members.Add(n)
}

// close takes what is left of l out of the whole.
func (l *ledger) close() {
	l.closed = true
	l.whole.queued.Add(-l.settled)
	l.settled = 0
}
