package notification

import (
	"bytes"
	"encoding/binary"
	"sync"
	"testing"

	"crier.local/api"
	service "crier.local/provider/notification"
)

// marked returns a publisher's n-th message: its size follows from its number, each
// byte from both.
func marked(publisher, n int) []byte {
	size := 8 + n*37%300
	switch n % 100 {
	case 7:
		size = 3000
	case 63:
		size = 20 << 10
	}
	b := make([]byte, size)
	binary.LittleEndian.PutUint32(b, uint32(publisher))
	binary.LittleEndian.PutUint32(b[4:], uint32(n))
	for i := 8; i < size; i++ {
		b[i] = byte(publisher*31 + n + i)
	}
	return b
}

// TestPayloadsAreKept: what was received stays as it was, whatever comes after it,
// for each of those who received it; and nobody's is anybody else's memory that is
// used again.
func TestPayloadsAreKept(t *testing.T) {
	everywhere(t, func(t *testing.T, h *house) {
		const publishers, each = 3, 2000
		h.restart(api.NotificationSelector, service.Options{Queue: 128 << 10, Reserve: 16 << 10}) // so that senders wait too
		var publishing, receiving sync.WaitGroup
		shared := h.dial()
		listeners := []*Connection{
			h.connect(api.Connect{}), h.connect(api.Connect{Window: 10_000}),
			h.connectBy(shared, api.Connect{}), h.connectBy(shared, api.Connect{Window: 100_000}),
		}
		late := h.connect(api.Connect{Overflow: api.OverflowGap}) // takes nothing before the end
		begin := make(chan struct{})
		for _, x := range append(listeners, late) {
			receiving.Go(func() {
				if x == late {
					<-begin
				}
				var kept []api.Event
				for n := 0; n < publishers*each; {
					e, err := x.Receive(h.ctx)
					if err != nil {
						t.Errorf("after %d: %v", n, err)
						return
					}
					switch e.Kind {
					case api.KindMessage:
						kept = append(kept, e)
						n++
					case api.KindGap:
						n += int(e.Count)
					}
				}
				checkKept(t, kept, each, x != late)
			})
		}
		for i := range publishers {
			x := h.connect(api.Connect{SendOnly: true, Name: string(rune('a' + i))})
			publishing.Go(func() {
				for n := range each {
					payload := marked(i, n)
					if err := x.Post(h.ctx, payload); err != nil {
						t.Error(err)
						return
					}
					clear(payload) // it is the caller's again
				}
				if flushed, err := x.Flush(h.ctx); err != nil || flushed.Ended < each {
					t.Errorf("flushed %+v, %v", flushed, err)
				}
			})
		}
		publishing.Wait()
		close(begin)
		receiving.Wait()
	})
}

// checkKept holds what one kept against what was sent.
func checkKept(t *testing.T, kept []api.Event, each int, all bool) {
	last := map[string]int{}
	seq := api.Seq(0)
	for _, e := range kept {
		n := int(binary.LittleEndian.Uint32(e.Payload[4:]))
		if want := marked(int(e.From[0]-'a'), n); !bytes.Equal(e.Payload, want) {
			t.Errorf("%d bytes of %s, number %d, are not what was sent", len(e.Payload), e.From, n)
			return
		}
		if before, ok := last[e.From]; e.Seq <= seq || ok && n <= before || all && n != before+1 && (ok || n != 0) {
			t.Errorf("%s's %d, number %d, after %d, number %d", e.From, n, e.Seq, before, seq)
			return
		}
		last[e.From], seq = n, e.Seq
	}
	for from, n := range last {
		if all && n != each-1 {
			t.Errorf("the last of %s is %d", from, n)
		}
	}
}
