package wire_test

import (
	"bytes"
	"math"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"crier.local/api"
	"crier.local/api/wire"
	"crier.local/api/wire/wirepb"
)

// TestBodies: bodies come out as they went in, in order, each with its bound, here
// and at protobuf's.
func TestBodies(t *testing.T) {
	sizes := rapid.OneOf(rapid.IntRange(0, 3), rapid.IntRange(0, 300), rapid.IntRange(1<<14-2, 1<<14+2))
	rapid.Check(t, func(t *rapid.T) {
		var bodies wire.Bodies
		var list [][]byte
		for _, size := range rapid.SliceOfN(sizes, 0, 20).Draw(t, "sizes") {
			body := bytes.Repeat([]byte{byte(len(list))}, size)
			before := len(bodies)
			if rapid.Bool().Draw(t, "head alone") {
				bodies = append(bodies.AppendHead(size), body...)
			} else {
				bodies = bodies.Append(body)
			}
			if more := len(bodies) - before - size; more > wire.BodyOverhead {
				t.Fatalf("%d bytes more than the body", more)
			}
			list = append(list, body)
		}
		handles := rapid.SliceOfN(rapid.Uint32Range(1, math.MaxInt32), 0, 5).Draw(t, "handles")
		entry := wire.ProviderEntry{Kind: wire.Notification, Bodies: bodies}
		for _, h := range handles {
			entry.Handles = append(entry.Handles, api.Handle(h))
		}
		head := wire.AppendNotification(nil, entry.Handles, len(bodies))
		batch := wire.AppendProvider(nil, &entry)
		if !bytes.Equal(batch, append(head, bodies...)) {
			t.Fatal("an entry is not its head and its bodies")
		}
		read, err := readProvider(batch)
		if err != nil || len(read) != 1 || !slices.Equal(read[0].Handles, entry.Handles) {
			t.Fatalf("read %+v, %v", read, err)
		}
		rest := read[0].Bodies
		for i, want := range list {
			body, ok := rest.Next()
			if !ok || !bytes.Equal(body, want) {
				t.Fatalf("body %d is %d bytes, want %d", i, len(body), len(want))
			}
			_ = append(body, 0xff, 0xff, 0xff) // which must not be in the next one
		}
		if body, ok := rest.Next(); ok || len(rest) > 0 {
			t.Fatalf("one too many, %d bytes", len(body))
		}
		var m wirepb.ProviderBatch
		if err := proto.Unmarshal(batch, &m); err != nil {
			t.Fatal(err)
		}
		if got := m.Entries[0].GetNotification(); !slices.Equal(got.Handles, handles) || !slices.EqualFunc(got.Bodies, list, bytes.Equal) {
			t.Fatalf("protobuf reads %d handles and %d bodies", len(got.Handles), len(got.Bodies))
		}
	})
}

// What is no body is not taken for one.
func TestBodiesOfNothing(t *testing.T) {
	for name, bodies := range map[string]wire.Bodies{
		"none":                  nil,
		"another field":         {1<<3 | 2, 0},
		"another type":          {2 << 3, 0},
		"no length":             {2<<3 | 2},
		"shorter than it says":  {2<<3 | 2, 2, 'a'},
		"a length without end":  {2<<3 | 2, 0x80, 0x80},
		"a length far too long": {2<<3 | 2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 'a'},
	} {
		rest := slices.Clone(bodies)
		if body, ok := rest.Next(); ok || body != nil || len(rest) != len(bodies) {
			t.Errorf("%s: %q, %v, %d left", name, body, ok, len(rest))
		}
	}
}

// SizeMessage is exact: what it says is not filled in again.
func TestSizeMessage(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.Just(""), rapid.StringN(0, 10, 64), rapid.StringN(100, 200, -1))
		head := wire.MessageHead{
			Seq: api.Seq(rapid.Uint64().Draw(t, "seq")), UID: rapid.Uint32().Draw(t, "uid"),
			Time: time.Unix(0, rapid.OneOf(rapid.Just(int64(0)), rapid.Int64()).Draw(t, "time")),
			From: text.Draw(t, "from"), To: text.Draw(t, "to"),
		}
		size := rapid.OneOf(rapid.IntRange(0, 200), rapid.IntRange(1<<14-2, 1<<14+2)).Draw(t, "payload")
		b := wire.AppendMessage([]byte("before"), &head, make([]byte, size))
		if got, want := wire.SizeMessage(&head, size), len(b)-len("before"); got != want {
			t.Fatalf("%+v: %d bytes are said to be %d", head, want, got)
		}
		m, ok := wire.ReadMessage(b[len("before"):])
		if !ok || m.Seq != head.Seq || m.UID != head.UID || string(m.From) != head.From || string(m.To) != head.To || len(m.Payload) != size {
			t.Fatalf("%+v is read as %+v", head, m)
		}
		if nanos := head.Time.UnixNano(); nanos != m.Nanos || nanos != 0 && !m.Time().Equal(head.Time) {
			t.Fatalf("%v is read as %v", head.Time, m.Time())
		}
	})
}
