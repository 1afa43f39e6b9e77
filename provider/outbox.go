package provider

import (
	"sync"

	"crier.local/api"
	"crier.local/api/wire"
)

// outbox is the one way to a process: what is put in leaves in that order.
// Nothing here blocks but next, which the process's writer calls.
//
// Its lock guards the queues of the process's resources too, so that what credit
// allows moves from a queue to the wire in one step.
type outbox struct {
	ledger ledger // bytes of notifications held, those in queues included

	mu      sync.Mutex
	wake    sync.Cond // of the writer
	items   []item
	unsent  int    // items put in that have not left yet
	control int    // bytes of entries other than notifications and answers
	answers int    // bytes of large entries, which are answers
	blocked int    // resources whose queue waits for credit
	overrun func() // called once, on a goroutine of its own, when too much is unread
	closed  bool   // nothing is put in any more
	drained chan struct{}
}

// item is an entry on its way: encoded, or notifications with their receivers, and
// a hold on them.
type item struct {
	entry []byte
	what  parcel
	one   *Resource   // the receiver, or
	many  []*Resource // the receivers; the slice is never changed
}

// What may be unread of entries other than notifications. A client exceeds it
// only by asking without end and never reading.
const (
	maxControl = 8 << 20
	// maxAnswers is for entries of more than largeEntry bytes. Calls wait to be
	// started while manyAnswers are unread.
	maxAnswers  = 128 << 20
	manyAnswers = 8 << 20
	largeEntry  = 4 << 10
	// itemCost is what an entry costs besides its bytes.
	itemCost = 128
)

func newOutbox(limit int64, whole *budget, overrun func()) *outbox {
	o := &outbox{overrun: overrun, ledger: ledger{budget: budget{limit: limit}, whole: whole}}
	o.wake.L = &o.mu
	return o
}

// put appends an entry.
func (o *outbox) put(e *wire.ProviderEntry) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.putLocked(e)
}

func (o *outbox) putLocked(e *wire.ProviderEntry) {
	if o.closed {
		return
	}
	entry := wire.AppendProvider(make([]byte, 0, len(e.Body)+48), e)
	o.countLocked(entry, 1)
	o.appendLocked(item{entry: entry})
	if (o.control > maxControl || o.answers > maxAnswers) && o.overrun != nil {
		go o.overrun()
		o.overrun = nil
	}
}

// countLocked counts an entry that comes, or one that goes if sign is -1.
func (o *outbox) countLocked(entry []byte, sign int) {
	if len(entry) > largeEntry {
		o.answers += sign * len(entry)
	} else {
		o.control += sign * (len(entry) + itemCost)
	}
}

func (o *outbox) appendLocked(it item) {
	if len(o.items) == 0 {
		o.wake.Signal()
	}
	o.items = append(o.items, it)
	o.unsent++
}

// finish appends the last entry, if there is one, and lets nothing more in.
func (o *outbox) finish(last *wire.ProviderEntry) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if last != nil {
		o.putLocked(last)
	}
	o.closed = true
	o.wake.Signal()
	o.noteDrainedLocked()
}

// next takes all that is to be sent, in order, and leaves the empty slice spare
// in its place. It waits for some, and returns nothing when the outbox is closed
// and empty.
func (o *outbox) next(spare []item) []item {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.items) == 0 && !o.closed {
		o.wake.Wait()
	}
	items := o.items
	o.items = spare
	return items
}

// batch returns how many of items make the next batch, of limit bytes or a single
// larger item, and how much room they take. A shared body ends it.
func batch(items []item, limit int) (n, size int) {
	for n < len(items) {
		more := items[n].size()
		if n > 0 && size+more > limit {
			break
		}
		n, size = n+1, size+more
		if items[n-1].what.shared() != nil {
			break
		}
	}
	return n, size
}

// size bounds what the item takes of a batch's buffer.
func (it *item) size() int {
	if it.entry != nil {
		return len(it.entry)
	}
	size := wire.NotificationOverhead(max(1, len(it.many))) + wire.BodyOverhead
	switch {
	case it.what.shared() != nil:
	case it.what.one != nil:
		size += len(it.what.one.Body)
	default:
		size += len(it.what.bodies())
	}
	return size
}

// encode appends the item to b. What is shared is returned as tail, and has to
// follow at once.
func (it *item) encode(b []byte, handles []api.Handle) (head, tail []byte, scratch []api.Handle) {
	if it.entry != nil {
		return append(b, it.entry...), nil, handles
	}
	handles = handles[:0]
	if it.one != nil {
		handles = append(handles, it.one.handle)
	}
	for _, r := range it.many {
		handles = append(handles, r.handle)
	}
	tail = it.what.shared()
	if n := it.what.one; n != nil {
		var room [wire.BodyOverhead]byte
		before := wire.Bodies(room[:0]).AppendHead(len(n.Body))
		b = append(wire.AppendNotification(b, handles, len(before)+len(n.Body)), before...)
		if tail == nil {
			b = append(b, n.Body...)
		}
		return b, tail, handles
	}
	b = wire.AppendNotification(b, handles, len(it.what.bodies()))
	if tail == nil {
		b = append(b, it.what.bodies()...)
	}
	return b, tail, handles
}

// sent accounts for items that have left, and appends to watchers the resources
// that want to know.
func (o *outbox) sent(items []item, watchers []*Resource) []*Resource {
	o.mu.Lock()
	defer o.mu.Unlock()
	freed := int64(0)
	left := func(r *Resource, p *parcel) {
		charge := p.charge()
		r.queue.sent(p.len(), charge)
		r.held.Store(r.queue.bytes())
		freed += charge
		if r.watched && (len(watchers) == 0 || watchers[len(watchers)-1] != r) {
			watchers = append(watchers, r)
		}
	}
	for i := range items {
		switch it := &items[i]; {
		case it.entry != nil:
			o.countLocked(it.entry, -1)
		case it.one != nil:
			left(it.one, &it.what)
		default:
			for _, r := range it.many {
				left(r, &it.what)
			}
		}
		items[i].what.release()
	}
	o.unsent -= len(items)
	o.ledger.add(-freed)
	o.noteDrainedLocked()
	return watchers
}

// drain returns a channel that is closed once nothing is queued.
func (o *outbox) drain() <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	done := make(chan struct{})
	o.drained = done
	o.noteDrainedLocked()
	return done
}

func (o *outbox) noteDrainedLocked() {
	if o.drained != nil && o.unsent == 0 && (o.blocked == 0 || o.closed) {
		close(o.drained)
		o.drained = nil
	}
}

// fits reports whether r can take so much. It takes no lock: what it reads only
// shrinks as long as the caller keeps others from notifying r.
func (o *outbox) fits(r *Resource, charge int64, urgent bool) bool {
	return o.takes(r, r.held.Load(), charge, urgent)
}

// takes reports whether r can take so much while it holds held bytes.
func (o *outbox) takes(r *Resource, held, charge int64, urgent bool) bool {
	return held == 0 || (r.queue.within(held, charge, urgent) &&
		!o.ledger.full(held, urgent) && !o.ledger.whole.full(held, urgent))
}

// room is how much r can take that is not urgent: whatever fits one by one up to
// that, fits together. It takes no lock, as fits does.
func (o *outbox) room(r *Resource) int64 {
	held := r.held.Load()
	return min(r.queue.limit-r.queue.reserve-held, o.ledger.room(held), o.ledger.whole.room(held))
}

// notify queues n for r, whether it fits or not if force is set.
func (o *outbox) notify(r *Resource, n *Notification, force bool) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.closed || r.queue.closed:
		return api.ErrClosed
	case !force && !o.fits(r, n.charge(), n.Urgent):
		return api.ErrFull
	}
	if passed := o.pushLocked(r, parcel{one: n}); !passed.empty() {
		o.appendLocked(item{what: passed, one: r})
	}
	o.ledger.add(n.charge())
	return nil
}

// pushLocked queues p for r, and returns what of it goes to the wire at once.
// The caller adds the charge to the ledger.
func (o *outbox) pushLocked(r *Resource, p parcel) (passed parcel) {
	wasBlocked := r.queue.blocked()
	passed = r.queue.push(p)
	if !wasBlocked && r.queue.blocked() {
		o.blocked++
	}
	r.held.Store(r.queue.bytes())
	return passed
}

// notifyMany queues p for members of this process, except for one, and returns
// for how many. Those that are full and have a policy for it are appended to
// overflowing instead.
func (o *outbox) notifyMany(p parcel, members []*Resource, except *Resource, overflowing []*Resource) (int, []*Resource) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return 0, overflowing
	}
	it := item{what: p, many: members}
	if len(members) == 1 {
		it.one, it.many = members[0], nil
	}
	charge, count := p.charge(), p.len()
	queued, passed := 0, 0
	for i, r := range members {
		if r == except || r.queue.closed || o.overflows(r, &p, charge) {
			if r != except && !r.queue.closed {
				overflowing = append(overflowing, r)
			}
			it.leaveOut(members, i, passed)
			continue
		}
		queued++
		part := o.pushLocked(r, p)
		if part.len() < count {
			it.leaveOut(members, i, passed)
			if !part.empty() {
				part.hold()
				o.appendLocked(item{what: part, one: r})
			}
			continue
		}
		if passed++; it.one == nil && passed <= i {
			it.many = append(it.many, r)
		}
	}
	if passed > 0 {
		it.what.hold()
		o.appendLocked(it)
	}
	o.ledger.add(int64(queued) * charge)
	return queued, overflowing
}

// overflows reports whether r's policy for overflow is to be asked: for a series,
// if not all of it fits for certain.
func (o *outbox) overflows(r *Resource, p *parcel, charge int64) bool {
	switch {
	case r.overflow == nil:
		return false
	case p.series != nil:
		return charge > o.room(r)
	}
	return !o.fits(r, charge, p.urgent())
}

// leaveOut makes it.many a slice of its own, of the passed members before i, the
// first time that not all goes to the wire at once for a member.
func (it *item) leaveOut(members []*Resource, i, passed int) {
	if it.one == nil && passed == i {
		it.many = append(make([]*Resource, 0, len(members)-1), members[:i]...)
	}
}

// update changes r's queue in ways other than push, and sends on what may go.
func (o *outbox) update(r *Resource, change func(*queue)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	wasBlocked, before := r.queue.blocked(), r.queue.bytes()
	change(&r.queue)
	for !o.closed {
		p := r.queue.pull()
		if p.empty() {
			break
		}
		o.appendLocked(item{what: p, one: r})
	}
	if wasBlocked {
		o.blocked--
	}
	if r.queue.blocked() {
		o.blocked++
	}
	after := r.queue.bytes()
	r.held.Store(after)
	o.ledger.add(after - before)
	o.noteDrainedLocked()
}

// unreadAnswers reports whether so much is unread that calls have to wait.
func (o *outbox) unreadAnswers() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.answers > manyAnswers
}

// bury takes the process out of the provider's budget. Its writer has ended.
func (o *outbox) bury() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ledger.close()
}
