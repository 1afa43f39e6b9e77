package provider

import (
	"context"
	"fmt"
	"io"
	"testing"

	"crier.local/api"
	"crier.local/api/wire"
)

// everySize benchmarks payloads of each size, in bytes.
func everySize(b *testing.B, bench func(b *testing.B, payload []byte)) {
	for _, size := range []int{16, 128, 1024} {
		b.Run(fmt.Sprintf("%dB", size), func(b *testing.B) {
			b.ReportAllocs()
			bench(b, make([]byte, size))
		})
	}
}

// countBytes says of how many messages with the payload an operation consists.
func countBytes(b *testing.B, messages int, payload []byte) {
	b.SetBytes(int64(messages * len(payload)))
	b.ReportMetric(float64(messages), "messages/op")
}

// fullSeries returns a series of as many notifications as fit a batch.
func fullSeries(body []byte) *Series {
	n := MaxSeries / (len(body) + wire.BodyOverhead)
	s := NewSeries(n, n*len(body))
	for tag := range n {
		_ = append(s.Add(len(body), uint64(tag)), body...)
	}
	return s
}

// BenchmarkSeries makes a series and gives it up.
func BenchmarkSeries(b *testing.B) {
	everySize(b, func(b *testing.B, body []byte) {
		n := 0
		for b.Loop() {
			s := fullSeries(body)
			n = s.Len()
			s.release()
		}
		countBytes(b, n, body)
	})
}

// endless is credit that no benchmark uses up.
const endless = 1 << 60

// BenchmarkQueue pushes, pulls what credit lets through, and reports it sent. A
// queue never looks at bodies. An operation is a notification or a full series.
func BenchmarkQueue(b *testing.B) {
	single := parcel{one: &Notification{Body: make([]byte, 128)}}
	series := whole(fullSeries(single.one.Body))
	for _, bm := range []struct {
		name    string
		what    parcel
		waiting int   // that wait for credit
		credit  int64 // that comes at a time; 0: there always is some
	}{
		{"single", single, 0, 0},
		{"single/waiting=64", single, 64, single.charge()},
		{"series", series, 0, 0},
		{"series/waiting=64", series, 64, series.charge()},
		{"series/waiting=64/thirds", series, 64, series.charge()/3 + charge(128)},
	} {
		b.Run(bm.name, func(b *testing.B) {
			q := queue{limit: defaultQueue, credit: endless}
			if bm.waiting > 0 {
				q.credit = 0
			}
			for range bm.waiting {
				q.push(bm.what)
			}
			b.ReportAllocs()
			for b.Loop() {
				passed := q.push(bm.what)
				q.sent(passed.len(), passed.charge())
				for left := bm.what.charge(); bm.credit > 0 && left > 0; left -= bm.credit {
					q.credit = bm.credit
					passed := q.pull()
					q.sent(passed.len(), passed.charge())
					passed.release()
				}
			}
		})
	}
}

// BenchmarkOutbox puts a notification, or a full series, into the outbox of a
// process, for so many of its resources, and waits until the writer has written
// it, as gRPC has it written.
func BenchmarkOutbox(b *testing.B) {
	for _, members := range []int{1, 100} {
		b.Run(fmt.Sprintf("single/members=%d", members), func(b *testing.B) {
			everySize(b, func(b *testing.B, body []byte) {
				benchmarkOutbox(b, members, func() parcel { return parcel{one: &Notification{Body: body}} })
				countBytes(b, 1, body)
			})
		})
		b.Run(fmt.Sprintf("series/members=%d", members), func(b *testing.B) {
			everySize(b, func(b *testing.B, body []byte) {
				n := 0
				benchmarkOutbox(b, members, func() parcel {
					s := fullSeries(body)
					n = s.Len()
					return whole(s)
				})
				countBytes(b, n, body)
			})
		})
	}
}

func benchmarkOutbox(b *testing.B, members int, what func() parcel) {
	w := newWorkplace(b)
	var list []*Resource
	for i := range members {
		list = append(list, w.resource(api.Handle(2*i+1)))
	}
	for b.Loop() {
		p := what()
		if n, _ := w.process.out.notifyMany(p, list, nil, nil); n != members {
			b.Fatalf("queued for %d, want %d", n, members)
		}
		p.release()
		<-w.sink.word
	}
}

// workplace is a process whose writer writes into a sink. Its client says nothing.
type workplace struct {
	process *process
	sink    sink
	taken   int // posts
}

func newWorkplace(b *testing.B) *workplace {
	w := &workplace{sink: sink{make(chan struct{}, 1)}}
	p := New(Options{})
	w.process = &process{
		p: p, stream: w.sink, out: newOutbox(defaultQueue, &p.budget, nil), peer: peer{end: func() {}},
		sessions: map[api.SessionID]*Session{}, calls: map[*Call]struct{}{},
	}
	w.process.row.limit = p.options.Limits.Message
	writer := make(chan struct{})
	go func() {
		defer close(writer)
		w.process.write()
	}()
	b.Cleanup(func() {
		w.process.out.finish(nil)
		<-writer
		p.Close()
	})
	return w
}

// resource returns a resource whose client always returns credit in time.
func (w *workplace) resource(h api.Handle) *Resource {
	s := w.process.sessions[1]
	if s == nil {
		s = &Session{process: w.process, id: 1, resources: map[api.Handle]*Resource{}}
		s.service = &service{provider: w.process.p, handler: w, inline: w, poster: w}
		w.process.sessions[1] = s
	}
	r := &Resource{session: s, out: w.process.out, handle: h}
	r.queue = queue{limit: endless, credit: endless}
	r.inbound = inbound{window: defaultWindow, left: defaultWindow}
	r.out.ledger.join(1)
	s.resources[h] = r
	return r
}

// HandlePosts, HandleInline and Handle make w a service that takes posts.
func (w *workplace) HandlePosts(c *Call) bool {
	w.taken += len(c.Posts())
	c.Reply(Result{}, nil)
	return true
}

func (w *workplace) HandleInline(c *Call) bool {
	w.taken++
	c.Reply(Result{}, nil)
	return true
}

func (w *workplace) Handle(context.Context, *Call) (Result, error) {
	return Result{}, api.ErrNoMethod
}

// sink is the provider's end of a stream of which nobody reads. It passes on word
// of what it took, if it is told to.
type sink struct{ word chan struct{} }

func (s sink) Send(b *wire.Batch) error {
	data, err := wire.Codec().Marshal(b)
	if err != nil {
		return err
	}
	data.Free()
	select {
	case s.word <- struct{}{}:
	default:
	}
	return nil
}

func (s sink) Recv(*wire.Batch) error { return io.EOF }

// BenchmarkRow has a process's reader take a batch of posts: all on one resource,
// which are one row, or on two by turns, which are none.
func BenchmarkRow(b *testing.B) {
	for _, handles := range []api.Handle{1, 2} {
		b.Run(fmt.Sprintf("resources=%d", handles), func(b *testing.B) {
			everySize(b, func(b *testing.B, payload []byte) {
				w := newWorkplace(b)
				var batch []byte
				n := 0
				for ; len(batch) < wire.BatchSize-len(payload); n++ {
					h := 2 * (1 + api.Handle(n)%handles)
					batch = wire.AppendClient(batch, &wire.ClientEntry{
						Kind: wire.Invoke, Session: 1, Method: 1, Handle: h, Args: payload})
				}
				for h := range handles {
					w.resource(2 * (1 + h))
				}
				for b.Loop() {
					w.read(b, batch)
				}
				if w.taken != n*b.N {
					b.Fatalf("%d posts were taken, want %d", w.taken, n*b.N)
				}
				countBytes(b, n, payload)
			})
		})
	}
}

// read has the process's reader read a batch.
func (w *workplace) read(b *testing.B, batch []byte) {
	var e wire.ClientEntry
	for r := wire.NewReader(batch); ; {
		more, err := r.NextClient(&e)
		if err == nil && more {
			err = w.process.do(&e)
		}
		if err != nil {
			b.Fatal(err)
		}
		if !more {
			break
		}
	}
	if err := w.process.endRow(); err != nil {
		b.Fatal(err)
	}
}
