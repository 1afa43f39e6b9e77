package provider

import (
	"bytes"
	"slices"
	"sync"
	"sync/atomic"

	"crier.local/api/wire"
)

// Series is notifications in a row that go to the same resources: they are
// encoded once for all, and queued in one step. Its maker adds to it before it is
// queued, and then leaves it alone.
//
// Its memory is used again once nobody has a hold on it: its maker, a queue that it
// waits in, an outbox, or a batch on its way. Whoever is buried with a hold leaves
// the series to the garbage collector.
type Series struct {
	bodies wire.Bodies
	marks  []mark
	holds  atomic.Int32
	class  *sync.Pool // where it goes in the end; nil for nowhere
}

// mark is where a notification of a series ends.
type mark struct {
	tag    uint64
	end    uint32 // of its body, in bodies
	charge uint32 // its own and that of all before it
}

// MaxSeries is how many bytes a series should have at most: as many as a batch.
const MaxSeries = wire.BatchSize

// classes are the sizes of series that are used again. One that has less than half
// of a class's size does not get it, since it is charged for what it has.
var classes = [...]struct {
	size int
	pool *sync.Pool
}{
	{MaxSeries / 2, &sync.Pool{New: func() any { return new(Series) }}},
	{MaxSeries + MaxSeries/4, &sync.Pool{New: func() any { return new(Series) }}},
}

// NewSeries returns an empty series with room for so many notifications, whose
// bodies have so many bytes together.
func NewSeries(notifications, bytes int) *Series {
	var s *Series
	size := bytes + notifications*wire.BodyOverhead
	for i := range classes {
		if class := &classes[i]; size <= class.size && 2*size >= class.size {
			s, size = class.pool.Get().(*Series), class.size
			s.class = class.pool
			break
		}
	}
	if s == nil {
		s = &Series{}
	}
	s.bodies = slices.Grow(s.bodies[:0], size)
	s.marks = slices.Grow(s.marks[:0], notifications)
	s.holds.Store(1)
	return s
}

func (s *Series) hold() { s.holds.Add(1) }

func (s *Series) release() {
	if s.holds.Add(-1) == 0 && s.class != nil {
		s.class.Put(s)
	}
}

// Add appends a notification with a body of size bytes, and returns the empty slice
// to which the body is to be appended before the next is added. The tag is the
// service's own.
func (s *Series) Add(size int, tag uint64) []byte {
	b := slices.Grow(s.bodies.AppendHead(size), size)
	start := len(b)
	s.bodies = b[:start+size]
	s.marks = append(s.marks, mark{
		tag: tag, end: uint32(start + size), charge: uint32(s.chargeTo(len(s.marks)) + charge(size)),
	})
	return b[start : start : start+size]
}

// Len returns how many notifications there are.
func (s *Series) Len() int { return len(s.marks) }

// startOf returns where the body of notification i begins, chargeTo the charge of
// all before it.
func (s *Series) startOf(i int) int {
	if i == 0 {
		return 0
	}
	return int(s.marks[i-1].end)
}

func (s *Series) chargeTo(i int) int64 {
	if i == 0 {
		return 0
	}
	return int64(s.marks[i-1].charge)
}

// at returns notification i, with a body of its own, so that it does not keep the
// others in memory.
func (s *Series) at(i int) *Notification {
	one := s.bodies[s.startOf(i):s.marks[i].end]
	body, _ := one.Next()
	return &Notification{Body: bytes.Clone(body), Tag: s.marks[i].tag}
}

// parcel is what queues hold and outboxes send: a notification, or some of a
// series. The zero parcel is nothing.
type parcel struct {
	one      *Notification // or
	series   *Series
	from, to int // of series
}

func whole(s *Series) parcel { return parcel{series: s, to: len(s.marks)} }

func (p *parcel) empty() bool { return p.one == nil && p.from == p.to }

// len is how many notifications p has.
func (p *parcel) len() int {
	if p.one != nil {
		return 1
	}
	return p.to - p.from
}

func (p *parcel) charge() int64 {
	switch {
	case p.one != nil:
		return p.one.charge()
	case p.series == nil:
		return 0
	}
	return p.series.chargeTo(p.to) - p.series.chargeTo(p.from)
}

func (p *parcel) urgent() bool { return p.one != nil && p.one.Urgent }

// cut splits p: first is what credit lets through, of which the last may overdraw
// it, rest is the rest.
func (p parcel) cut(credit int64) (first, rest parcel) {
	switch {
	case credit <= 0:
		return parcel{}, p
	case p.one != nil || p.charge() <= credit:
		return p, parcel{}
	}
	first, rest = p, p
	base := p.series.chargeTo(p.from)
	first.to = p.from
	for first.to < p.to && p.series.chargeTo(first.to)-base < credit {
		first.to++
	}
	if rest.from = first.to; rest.empty() {
		rest = parcel{}
	}
	return first, rest
}

// drop removes the first notification and returns it.
func (p *parcel) drop() *Notification {
	if n := p.one; n != nil {
		*p = parcel{}
		return n
	}
	n := p.series.at(p.from)
	if p.from++; p.from == p.to {
		*p = parcel{}
	}
	return n
}

// settled returns p with a hold for a longer stay. What is left of a series does not
// keep one of more than twice its size in memory: else it is copied.
func (p parcel) settled() parcel {
	if p.series == nil || p.empty() || 2*len(p.bodies()) >= len(p.series.bodies) {
		p.hold()
		return p
	}
	kept := &Series{bodies: bytes.Clone(p.bodies()), marks: make([]mark, 0, p.len())}
	start, paid := p.series.startOf(p.from), p.series.chargeTo(p.from)
	for _, m := range p.series.marks[p.from:p.to] {
		kept.marks = append(kept.marks, mark{tag: m.tag, end: m.end - uint32(start), charge: m.charge - uint32(paid)})
	}
	kept.hold()
	return whole(kept)
}

// hold and release are the holds of whoever has p.
func (p *parcel) hold() {
	if p.series != nil {
		p.series.hold()
	}
}

func (p *parcel) release() {
	if p.series != nil {
		p.series.release()
	}
}

// bodies are those of a series, as an entry has them.
func (p *parcel) bodies() wire.Bodies {
	return p.series.bodies[p.series.startOf(p.from):p.series.startOf(p.to)]
}

// largeBody is from how many bytes on what is sent is not copied into a batch.
// What goes to hundreds of processes is in memory once then, and not once for each.
const largeBody = 16 << 10

// shared returns the bytes that are not copied into a batch, nil for none.
func (p *parcel) shared() []byte {
	var b []byte
	switch {
	case p.one != nil:
		b = p.one.Body
	case p.series != nil:
		b = p.bodies()
	}
	if len(b) < largeBody {
		return nil
	}
	return b
}
