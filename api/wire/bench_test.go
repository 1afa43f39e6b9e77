package wire_test

import (
	"fmt"
	"testing"
	"time"

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

// countBytes says of how many messages with the payload an operation consists.
func countBytes(b *testing.B, messages int, payload []byte) {
	b.SetBytes(int64(messages * len(payload)))
	b.ReportMetric(float64(messages), "messages/op")
}

func post(payload []byte) *wire.ClientEntry {
	return &wire.ClientEntry{Kind: wire.Invoke, Session: 7, Method: api.MethodSend, Handle: 15, Args: payload}
}

func head(seq int) *wire.MessageHead {
	return &wire.MessageHead{Seq: api.Seq(seq), Time: time.Unix(1, 1), From: "somebody", UID: 1000}
}

// posts appends a batch of posts.
func posts(b []byte, e *wire.ClientEntry) (batch []byte, n int) {
	for ; len(b) < wire.BatchSize-len(e.Args); n++ {
		b = wire.AppendClient(b, e)
	}
	return b, n
}

// messages appends bodies for a batch.
func messages(b wire.Bodies, payload []byte) (bodies wire.Bodies, n int) {
	for ; len(b) < wire.BatchSize-2*len(payload); n++ {
		h := head(n + 1)
		b = wire.AppendMessage(b.AppendHead(wire.SizeMessage(h, len(payload))), h, payload)
	}
	return b, n
}

func listeners() []api.Handle { return []api.Handle{3, 5, 7, 9, 11, 13, 15, 17, 19, 21} }

// BenchmarkAppendPosts is what a client encodes: a batch of posts.
func BenchmarkAppendPosts(b *testing.B) {
	everySize(b, func(b *testing.B, payload []byte) {
		e, n := post(payload), 0
		batch := make([]byte, 0, 2*wire.BatchSize)
		for b.Loop() {
			_, n = posts(batch, e)
		}
		countBytes(b, n, payload)
	})
}

// BenchmarkReadPosts is what a provider decodes: a batch of posts.
func BenchmarkReadPosts(b *testing.B) {
	everySize(b, func(b *testing.B, payload []byte) {
		batch, n := posts(nil, post(payload))
		var e wire.ClientEntry
		for b.Loop() {
			came := 0
			for r := wire.NewReader(batch); ; came++ {
				if more, err := r.NextClient(&e); err != nil {
					b.Fatal(err)
				} else if !more {
					break
				}
			}
			if came != n {
				b.Fatalf("%d posts, want %d", came, n)
			}
		}
		countBytes(b, n, payload)
	})
}

// BenchmarkAppendSeries is what a provider encodes: a batch that is one entry, of
// messages in a row to ten handles.
func BenchmarkAppendSeries(b *testing.B) {
	everySize(b, func(b *testing.B, payload []byte) {
		bodies, batch := make(wire.Bodies, 0, 2*wire.BatchSize), make([]byte, 0, 2*wire.BatchSize)
		handles, n := listeners(), 0
		for b.Loop() {
			series, count := messages(bodies, payload)
			_, n = append(wire.AppendNotification(batch, handles, len(series)), series...), count
		}
		countBytes(b, n, payload)
	})
}

// BenchmarkReadSeries is what a client decodes: a batch that is one entry, with
// the messages in it.
func BenchmarkReadSeries(b *testing.B) {
	everySize(b, func(b *testing.B, payload []byte) {
		bodies, n := messages(nil, payload)
		benchmarkRead(b, append(wire.AppendNotification(nil, listeners(), len(bodies)), bodies...), n)
		countBytes(b, n, payload)
	})
}

// BenchmarkReadSingles is BenchmarkReadSeries, but that each message is an entry.
func BenchmarkReadSingles(b *testing.B) {
	everySize(b, func(b *testing.B, payload []byte) {
		bodies, n := messages(nil, payload)
		var batch []byte
		for body, ok := bodies.Next(); ok; body, ok = bodies.Next() {
			e := wire.ProviderEntry{Kind: wire.Notification, Handles: listeners(), Bodies: wire.Bodies(nil).Append(body)}
			batch = wire.AppendProvider(batch, &e)
		}
		benchmarkRead(b, batch, n)
		countBytes(b, n, payload)
	})
}

func benchmarkRead(b *testing.B, batch []byte, n int) {
	var e wire.ProviderEntry
	for b.Loop() {
		came := 0
		for r := wire.NewReader(batch); ; {
			if more, err := r.NextProvider(&e); err != nil {
				b.Fatal(err)
			} else if !more {
				break
			}
			for body, ok := e.Bodies.Next(); ok; body, ok = e.Bodies.Next() {
				if _, ok := wire.ReadMessage(body); ok {
					came++
				}
			}
		}
		if came != n {
			b.Fatalf("%d messages, want %d", came, n)
		}
	}
}

// BenchmarkDecodeEvent is what a client decodes with protobuf's help: all but
// messages.
func BenchmarkDecodeEvent(b *testing.B) {
	since := time.Unix(1, 1)
	for _, e := range []wire.Event{
		{Event: api.Event{Kind: api.KindJoined, Seq: 5, Time: since, From: "somebody", UID: 1000}},
		{
			Event:      api.Event{Kind: api.KindLeft, Seq: 5, Time: since},
			Departures: []wire.Departure{{Name: "somebody", UID: 1000}},
		},
		{Event: api.Event{Kind: api.KindGap, First: 5, Last: 8, Count: 4}},
		{Event: api.Event{Kind: api.KindMembers, Members: []api.Member{{Name: "somebody", UID: 1000, Since: since}}}},
	} {
		b.Run(e.Kind.String(), func(b *testing.B) {
			body := wire.EncodeEvent(&e)
			b.ReportAllocs()
			for b.Loop() {
				var e wire.Event
				if err := wire.DecodeEvent(body, &e); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkCodec is a full batch as gRPC has it encoded and decoded: there and
// back through the pool, with a tail or without.
func BenchmarkCodec(b *testing.B) {
	codec := wire.Codec()
	for _, size := range []int{0, wire.BatchSize / 2} {
		b.Run(fmt.Sprintf("tail=%d", size), func(b *testing.B) {
			tail := make([]byte, size)
			b.ReportAllocs()
			b.SetBytes(wire.BatchSize)
			sent := 0
			for b.Loop() {
				out := wire.Batch{Data: wire.GetBuffer()[:wire.BatchSize-len(tail)], Tail: tail}
				if size > 0 {
					out.Sent = func() { sent++ }
				}
				parts, err := codec.Marshal(&out)
				if err != nil {
					b.Fatal(err)
				}
				in := wire.Batch{Borrow: true}
				if err := codec.Unmarshal(mem.BufferSlice(parts), &in); err != nil {
					b.Fatal(err)
				}
				parts.Free()
				if len(in.Data) != wire.BatchSize || in.Loan == nil {
					b.Fatalf("%d bytes came, lent: %v", len(in.Data), in.Loan != nil)
				}
				in.Loan.Repay()
			}
			if size > 0 && sent != b.N {
				b.Fatalf("%d of %d tails are not needed any more", sent, b.N)
			}
		})
	}
}
