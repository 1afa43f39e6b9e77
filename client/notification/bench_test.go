package notification

import (
	"fmt"
	"testing"
	"time"

	"crier.local/api"
	"crier.local/api/wire"
	"crier.local/client"
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

// hereAndThere benchmarks a provider inside this process, and one behind a unix
// socket. Allocations are those of all: sender, provider and receiver.
func hereAndThere(b *testing.B, bench func(h *house, b *testing.B, payload []byte)) {
	b.Run("local", func(b *testing.B) {
		everySize(b, func(b *testing.B, payload []byte) { bench(newLocalHouse(b), b, payload) })
	})
	b.Run("unix", func(b *testing.B) {
		everySize(b, func(b *testing.B, payload []byte) {
			h := newUnixHouse(b)
			h.street.(*socketStreet).near = h.street.(*socketStreet).address // not through the proxy
			bench(h, b, payload)
		})
	})
}

// BenchmarkReceive is a message's whole way from one client to another, while
// others are under way.
func BenchmarkReceive(b *testing.B) {
	hereAndThere(b, func(h *house, b *testing.B, payload []byte) {
		sender, receiver := h.connect(api.Connect{SendOnly: true}), h.connect(api.Connect{})
		b.SetBytes(int64(len(payload)))
		b.ResetTimer()
		go func() {
			for range b.N {
				if sender.Post(h.ctx, payload) != nil {
					return
				}
			}
		}()
		for range b.N {
			h.receive(receiver)
		}
		b.StopTimer()
	})
}

// BenchmarkReceipt is a message's whole way, and its receipt's, while nothing else
// is under way.
func BenchmarkReceipt(b *testing.B) {
	hereAndThere(b, func(h *house, b *testing.B, payload []byte) {
		sender, receiver := h.connect(api.Connect{SendOnly: true}), h.connect(api.Connect{})
		b.SetBytes(int64(len(payload)))
		b.ResetTimer()
		for range b.N {
			if _, err := sender.Send(h.ctx, payload); err != nil {
				b.Fatal(err)
			}
			h.receive(receiver)
		}
		b.StopTimer()
	})
}

// BenchmarkMessage is what Receive does with a message that is there, in memory
// that is lent to it.
func BenchmarkMessage(b *testing.B) {
	everySize(b, func(b *testing.B, payload []byte) {
		var in intake
		body := wire.AppendMessage(nil, &wire.MessageHead{Seq: 1, From: "somebody", Time: time.Now()}, payload)
		b.SetBytes(int64(len(payload)))
		for b.Loop() {
			m, ok := wire.ReadMessage(body)
			if e := in.message(&m, true); !ok || len(e.Payload) != len(payload) {
				b.Fatalf("got %+v", e)
			}
		}
	})
}

// BenchmarkDecode is what Receive does with any other event, as that somebody left.
func BenchmarkDecode(b *testing.B) {
	var in intake
	in.begin(&segment{resource: &client.Resource{}})
	body := wire.EncodeEvent(&wire.Event{
		Event:      api.Event{Kind: api.KindLeft, Seq: 1, Time: time.Now()},
		Departures: []wire.Departure{{Name: "somebody", UID: 1000}},
	})
	b.ReportAllocs()
	for b.Loop() {
		if err := in.decode(body); err != nil || in.complete() || len(in.ready) != 1 {
			b.Fatalf("%d events, %v", len(in.ready), err)
		}
	}
}
