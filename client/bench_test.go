package client

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"google.golang.org/grpc/mem"

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

// serveBench plays a provider that returns all credit at half a window and answers
// flushes.
func (p *peer) serveBench() {
	var posts, args int
	var e wire.ClientEntry
	var b wire.Batch
	for p.stream.Recv(&b) == nil {
		flush := false
		for r := wire.NewReader(b.Data); ; {
			if more, _ := r.NextClient(&e); !more {
				break
			}
			switch e.Kind {
			case wire.Invoke:
				posts++
				args += api.Charge(len(e.Args))
			case wire.CloseSession:
				p.send(wire.ProviderEntry{Kind: wire.Reply, Call: e.Call})
			case wire.Flush:
				flush = true
			}
		}
		written(b.Data)
		if args > windows/2 || flush {
			p.send(wire.ProviderEntry{Kind: wire.Posted, Handle: 3, Ended: uint32(posts), Bytes: uint32(args)})
			posts, args = 0, 0
		}
	}
}

// written gives a batch's memory back, as gRPC does once a batch is written.
func written(data []byte) {
	if parts, err := wire.Codec().Marshal(&wire.Batch{Data: data}); err == nil {
		parts.Free()
	}
}

// BenchmarkPost is posts to a provider that takes them. An operation is one.
func BenchmarkPost(b *testing.B) {
	everySize(b, func(b *testing.B, payload []byte) {
		c, p := newDoor(b).dial(Options{})
		r := p.make(openSession(b, c, p), 3, windows, windows)
		go p.serveBench()
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		b.SetBytes(int64(len(payload)))
		for b.Loop() {
			if err := r.Post(ctx, 1, payload); err != nil {
				b.Fatal(err)
			}
		}
		if flushed, err := r.Flush(ctx); err != nil || flushed.Ended < b.N {
			b.Errorf("flushed %+v, %v", flushed, err)
		}
		b.StopTimer()
		c.Close()
	})
}

// BenchmarkTakeIn is a batch of notifications, as gRPC hands it over, that the
// reader takes in and a receiver takes out: all in one entry, or each in its own.
func BenchmarkTakeIn(b *testing.B) {
	for _, name := range []string{"series", "singles"} {
		b.Run(name, func(b *testing.B) {
			everySize(b, func(b *testing.B, payload []byte) {
				batch, n := notifications(payload, name == "series")
				benchmarkTakeIn(b, batch, n)
				b.SetBytes(int64(n * len(payload)))
				b.ReportMetric(float64(n), "messages/op")
			})
		})
	}
}

// notifications returns a batch of about as many as fit.
func notifications(payload []byte, inRow bool) (batch []byte, n int) {
	n = wire.BatchSize / (len(payload) + 16)
	if inRow {
		bodies := slices.Repeat([][]byte{payload}, n)
		return wire.AppendProvider(nil, notification([]api.Handle{3}, bodies...)), n
	}
	for range n {
		batch = wire.AppendProvider(batch, notification([]api.Handle{3}, payload))
	}
	return batch, n
}

func benchmarkTakeIn(b *testing.B, batch []byte, n int) {
	ctx, codec := context.Background(), wire.Codec()
	l := newLink(ctx, api.Endpoint{})
	r := newResource(&Session{link: l, resources: map[api.Handle]*Resource{}},
		&wire.ProviderEntry{Handle: 3, ReceiveWindow: windows})
	l.resources[3] = r
	came := mem.BufferSlice{mem.SliceBuffer(batch)}
	var granted [][]byte
	for b.Loop() {
		in := wire.Batch{Borrow: true}
		if err := codec.Unmarshal(came, &in); err != nil {
			b.Fatal(err)
		}
		l.reader.rest, l.reader.loan = wire.NewReader(in.Data), in.Loan
		if err := l.reader.batch(); err != nil {
			b.Fatal(err)
		}
		for range n {
			if _, _, err := r.Borrow(ctx); err != nil {
				b.Fatal(err)
			}
		}
		granted = l.out.take(granted[:0])
		for _, data := range granted {
			written(data)
		}
	}
}

// BenchmarkInvoke is a call and its answer, with many under way.
func BenchmarkInvoke(b *testing.B) {
	c, p := newDoor(b).dial(Options{})
	s := openSession(b, c, p)
	go p.echo()
	b.ReportAllocs()
	b.SetParallelism(32)
	var once sync.Once
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := s.Invoke(context.Background(), 1, nil); err != nil {
				once.Do(func() { b.Error(err) })
			}
		}
	})
	b.StopTimer()
	c.Close()
}
