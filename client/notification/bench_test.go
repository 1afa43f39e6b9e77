package notification

import (
	"testing"
	"time"

	"crier.local/api"
	"crier.local/api/wire"
	"crier.local/client"
)

// BenchmarkReceive is a message's whole way, from one client to another.
func BenchmarkReceive(b *testing.B) {
	b.Run("local", func(b *testing.B) { newLocalHouse(b).benchmark(b) })
	b.Run("unix", func(b *testing.B) {
		h := newUnixHouse(b)
		h.street.(*socketStreet).near = h.street.(*socketStreet).address // not through the proxy
		h.benchmark(b)
	})
}

func (h *house) benchmark(b *testing.B) {
	sender, receiver := h.connect(api.Connect{SendOnly: true}), h.connect(api.Connect{})
	payload := make([]byte, 128)
	b.SetBytes(128)
	b.ReportAllocs()
	b.ResetTimer()
	go func() {
		for range b.N {
			if sender.Post(h.ctx, payload) != nil {
				return
			}
		}
	}()
	for range b.N {
		if _, err := receiver.Receive(h.ctx); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
}

// BenchmarkDecode is what Receive does with a message that is there.
func BenchmarkDecode(b *testing.B) {
	h := newLocalHouse(b)
	x := h.connect(api.Connect{})
	in := &x.in
	in.begin(&segment{resource: &client.Resource{}})
	body := wire.AppendMessage(nil, &wire.MessageHead{Seq: 1, From: "somebody", Time: time.Now()}, make([]byte, 128))
	b.ReportAllocs()
	for b.Loop() {
		if err := in.decode(body); err != nil || !in.complete() {
			b.Fatal(err)
		}
	}
}
