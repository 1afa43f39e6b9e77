package client

import (
	"context"
	"sync"
	"testing"

	"crier.local/api"
	"crier.local/api/wire"
)

// serveBench plays a provider that returns all credit at half a window, answers
// flushes, and sends another batch of notifications for as long as there is
// credit. What it sends is encoded beforehand.
func (p *peer) serveBench(batch []byte, cost int) {
	var posts, args, left int
	left = windows
	for {
		var b wire.Batch
		for batch != nil && left > 0 {
			left -= cost
			if p.stream.Send(&wire.Batch{Data: append(wire.GetBuffer(), batch...)}) != nil {
				return
			}
		}
		if p.stream.Recv(&b) != nil {
			return
		}
		flush := false
		for r := wire.NewReader(b.Data); ; {
			var e wire.ClientEntry
			if more, _ := r.NextClient(&e); !more {
				break
			}
			switch e.Kind {
			case wire.Invoke:
				posts++
				args += api.Charge(len(e.Args))
			case wire.GrantCredit:
				left += int(e.Bytes)
			case wire.CloseSession:
				p.send(wire.ProviderEntry{Kind: wire.Reply, Call: e.Call})
			case wire.Flush:
				flush = true
			}
		}
		if args > windows/2 || flush {
			p.send(wire.ProviderEntry{Kind: wire.Posted, Handle: 3, Ended: uint32(posts), Bytes: uint32(args)})
			posts, args = 0, 0
		}
	}
}

func BenchmarkPost(b *testing.B) {
	c, p := newDoor(b).dial(Options{})
	r := p.make(openSession(b, c, p), 3, windows, windows)
	go p.serveBench(nil, 0)
	args := make([]byte, 128)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	b.SetBytes(128)
	b.ReportAllocs()
	for b.Loop() {
		if err := r.Post(ctx, 1, args); err != nil {
			b.Fatal(err)
		}
	}
	if flushed, err := r.Flush(ctx); err != nil || flushed.Ended < b.N {
		b.Errorf("flushed %+v, %v", flushed, err)
	}
	b.StopTimer()
	c.Close()
}

func BenchmarkReceive(b *testing.B) {
	c, p := newDoor(b).dial(Options{})
	r := p.make(openSession(b, c, p), 3, windows, windows)
	var batch []byte
	for range 400 {
		batch = wire.AppendProvider(batch, notification([]api.Handle{3}, make([]byte, 128)))
	}
	go p.serveBench(batch, 400*api.Charge(128))
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	b.SetBytes(128)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Receive(ctx); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	p.end()
	c.Close()
}

// BenchmarkTakeIn is the reader's part alone: a batch of 400 notifications.
func BenchmarkTakeIn(b *testing.B) {
	l := newLink(context.Background(), api.Endpoint{})
	s := &Session{link: l, resources: map[api.Handle]*Resource{}}
	r := newResource(s, &wire.ProviderEntry{Handle: 3, ReceiveWindow: windows})
	l.resources[3] = r
	var batch []byte
	for range 400 {
		batch = wire.AppendProvider(batch, notification([]api.Handle{3}, make([]byte, 128)))
	}
	b.ReportAllocs()
	for b.Loop() {
		l.reader.rest = wire.NewReader(batch)
		if err := l.reader.batch(); err != nil {
			b.Fatal(err)
		}
		r.in.pending = r.in.pending[:0]
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/400, "ns/notification")
}

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
