package notification

import (
	"fmt"
	"sync"
	"testing"

	"crier.local/api"
	"crier.local/api/wire"
	"crier.local/provider"
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

// BenchmarkFanout is rows of posts to so many processes, over the transport inside
// the process. An operation is a row, which is a batch, and its deliveries.
func BenchmarkFanout(b *testing.B) {
	for _, receivers := range []int{1, 10, 100} {
		b.Run(fmt.Sprintf("receivers=%d", receivers), func(b *testing.B) {
			everySize(b, func(b *testing.B, payload []byte) {
				newHall(b, Options{}).fanOut(payload, make([]api.Connect, receivers))
			})
		})
	}
}

// BenchmarkParked is BenchmarkFanout to one whose queue and window are smaller than
// most rows, so that they park and are released bit by bit.
func BenchmarkParked(b *testing.B) {
	everySize(b, func(b *testing.B, payload []byte) {
		h := newHall(b, Options{Queue: 64 << 10, Reserve: 32 << 10})
		h.fanOut(payload, []api.Connect{{Window: 16 << 10}})
		b.ReportMetric(float64(h.parked)/float64(b.N), "parked/op")
	})
}

// BenchmarkSend is a message with its receipt, and its deliveries.
func BenchmarkSend(b *testing.B) {
	for _, receivers := range []int{0, 1, 10} {
		b.Run(fmt.Sprintf("receivers=%d", receivers), func(b *testing.B) {
			everySize(b, func(b *testing.B, payload []byte) {
				h := newHall(b, Options{})
				var done sync.WaitGroup
				for range receivers {
					r := h.connect(api.Connect{})
					done.Go(func() { r.receive(b.N) })
				}
				s := h.connect(api.Connect{SendOnly: true})
				b.SetBytes(int64(len(payload)))
				b.ResetTimer()
				for range b.N {
					s.send(payload)
				}
				done.Wait()
			})
		})
	}
}

// hall is a provider, with the processes of a benchmark.
type hall struct {
	*Service
	b         *testing.B
	provider  *provider.Provider
	processes byte
	parked    int // rows that did not fit at once; guarded by the room's lock
}

func newHall(b *testing.B, o Options) *hall {
	h := &hall{Service: New(o), b: b, provider: provider.New(provider.Options{})}
	if err := h.provider.Provide(api.NotificationSelector, h, provider.ServiceOptions{}); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { h.provider.Close() })
	return h
}

// HandlePosts counts rows that park.
func (h *hall) HandlePosts(call *provider.Call) bool {
	taken := h.Service.HandlePosts(call)
	if c, err := connectionOf(call); err == nil {
		c.room.mu.Lock()
		defer c.room.mu.Unlock()
		if c.turn.parked > 0 {
			h.parked++
		}
	}
	return taken
}

// fanOut posts b.N rows to so many processes.
func (h *hall) fanOut(payload []byte, to []api.Connect) {
	s := h.connect(api.Connect{SendOnly: true})
	row, messages := s.row(payload)
	var done sync.WaitGroup
	for _, options := range to {
		r := h.connect(options)
		done.Go(func() { r.receive(messages * h.b.N) })
	}
	h.b.SetBytes(int64(messages * len(to) * len(payload)))
	h.b.ResetTimer()
	s.post(row, messages*api.Charge(len(payload)))
	done.Wait()
	h.b.StopTimer()
	h.b.ReportMetric(float64(messages*len(to)), "deliveries/op")
}

// runner is a process of a benchmark, with one connection.
type runner struct {
	b       *testing.B
	stream  wire.Stream
	session api.SessionID
	handle  api.Handle
	window  int // bytes of notifications
	credit  int // for posts
	batch   wire.Batch
	reader  wire.Reader
	entry   wire.ProviderEntry
}

func (h *hall) connect(c api.Connect) *runner {
	stream, err := h.provider.Local().Attach(h.b.Context())
	if err != nil {
		h.b.Fatal(err)
	}
	h.processes++
	r := &runner{b: h.b, stream: stream, batch: wire.Batch{Borrow: true}}
	r.write(wire.ClientEntry{Kind: wire.Hello, Version: api.WireVersion, Instance: api.InstanceID{h.processes}})
	r.write(wire.ClientEntry{Kind: wire.Open, Call: 1, Selector: api.NotificationSelector})
	r.session = r.await(wire.Opened).Session
	r.write(wire.ClientEntry{Kind: wire.Invoke, Call: 2, Session: r.session, Args: wire.EncodeConnect(c)})
	reply := r.await(wire.Reply)
	if err := reply.Failure.Err(); err != nil {
		h.b.Fatal(err)
	}
	r.handle, r.window, r.credit = reply.Handle, int(reply.ReceiveWindow), int(reply.SendWindow)
	return r
}

func (r *runner) write(e wire.ClientEntry) { r.push(wire.AppendClient(wire.GetBuffer(), &e)) }

func (r *runner) push(batch []byte) {
	if err := r.stream.Send(&wire.Batch{Data: batch}); err != nil {
		r.b.Error(err)
	}
}

// await returns the next entry of that kind, which is good until the next call.
func (r *runner) await(kind wire.ProviderKind) *wire.ProviderEntry {
	for !r.b.Failed() {
		more, err := r.reader.NextProvider(&r.entry)
		switch {
		case err == nil && !more:
			r.batch.Loan.Repay()
			if err = r.stream.Recv(&r.batch); err == nil {
				r.reader = wire.NewReader(r.batch.Data)
				continue
			}
			fallthrough
		case err != nil:
			r.b.Error(err)
		case r.entry.Kind == kind:
			return &r.entry
		}
	}
	return &wire.ProviderEntry{}
}

// receive takes n messages, and returns credit at half a window.
func (r *runner) receive(n int) {
	for taken := 0; n > 0 && !r.b.Failed(); {
		bodies := r.await(wire.Notification).Bodies
		for body, ok := bodies.Next(); ok; body, ok = bodies.Next() {
			taken += api.Charge(len(body))
			n--
		}
		if taken >= r.window/2 {
			r.write(wire.ClientEntry{Kind: wire.GrantCredit, Handle: r.handle, Bytes: uint32(taken)})
			taken = 0
		}
	}
}

// row returns a batch of posts, always as many: the handle's length varies.
func (r *runner) row(payload []byte) (batch []byte, posts int) {
	message := wire.ClientEntry{Kind: wire.Invoke, Session: r.session, Handle: r.handle, Method: api.MethodSend, Args: payload}
	posts = wire.BatchSize / (len(payload) + 24)
	for range posts {
		batch = wire.AppendClient(batch, &message)
	}
	return batch, posts
}

// post sends b.N rows, of that cost each.
func (r *runner) post(row []byte, cost int) {
	for range r.b.N {
		for r.credit < cost && !r.b.Failed() {
			posted := r.await(wire.Posted)
			if posted.Refused > 0 {
				r.b.Errorf("%d refused: %v", posted.Refused, posted.Failure.Err())
			}
			r.credit += int(posted.Bytes)
		}
		r.push(append(wire.GetBuffer(), row...))
		r.credit -= cost
	}
}

// send sends a message and awaits its receipt.
func (r *runner) send(payload []byte) {
	r.write(wire.ClientEntry{Kind: wire.Invoke, Call: 3, Session: r.session, Handle: r.handle,
		Method: api.MethodSend, Args: payload})
	if reply := r.await(wire.Reply); reply.Failure.Code != api.CodeNone {
		r.b.Error(reply.Failure.Err())
	}
}
