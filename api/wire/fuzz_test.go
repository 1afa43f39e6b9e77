package wire_test

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"crier.local/api"
	"crier.local/api/wire"
	"crier.local/api/wire/wirepb"
)

// Each target checks that no bytes make a reader panic, and that whatever
// protobuf accepts is read as protobuf means it.

func FuzzClientBatch(f *testing.F) {
	for _, tc := range clientCases() {
		f.Add(wire.AppendClient(nil, &tc.entry))
		f.Add(block(entries, []byte{}, marshal(f, tc.message), field(99, 1)))
	}
	addOddities(f)
	f.Fuzz(func(t *testing.T, batch []byte) {
		got, err := readClient(batch)
		var m wirepb.ClientBatch
		if proto.Unmarshal(batch, &m) != nil {
			return
		}
		for i, message := range m.Entries {
			want, ok := clientModel(message)
			if !ok {
				refusedAt(t, i, len(got), err)
				return
			}
			if i >= len(got) {
				t.Fatalf("entry %d was refused: %v", i, err)
			}
			same(t, "entry", got[i], want)
		}
		if err != nil || len(got) != len(m.Entries) {
			t.Errorf("%d entries and %v, want %d", len(got), err, len(m.Entries))
		}
	})
}

func FuzzProviderBatch(f *testing.F) {
	for _, tc := range providerCases() {
		f.Add(wire.AppendProvider(nil, &tc.entry))
		f.Add(block(entries, []byte{}, marshal(f, tc.message), field(99, 1)))
	}
	addOddities(f)
	f.Fuzz(func(t *testing.T, batch []byte) {
		got, err := readProvider(batch)
		var m wirepb.ProviderBatch
		if proto.Unmarshal(batch, &m) != nil {
			return
		}
		for i, message := range m.Entries {
			want, ok := providerModel(message)
			if !ok {
				refusedAt(t, i, len(got), err)
				return
			}
			if i >= len(got) {
				t.Fatalf("entry %d was refused: %v", i, err)
			}
			same(t, "entry", got[i], want)
		}
		if err != nil || len(got) != len(m.Entries) {
			t.Errorf("%d entries and %v, want %d", len(got), err, len(m.Entries))
		}
	})
}

func FuzzEvent(f *testing.F) {
	f.Add(wire.AppendMessage(nil, &wire.MessageHead{Seq: 7, From: "anna", UID: 1000, To: "bert"}, []byte("hello")))
	f.Add(wire.EncodeEvent(&wire.Event{Event: api.Event{Kind: api.KindGap, First: 5, Last: 9, Count: 4}}))
	f.Add(wire.EncodeEvent(&wire.Event{Event: api.Event{Kind: api.KindMembers, Members: []api.Member{{Name: "a"}}}, More: true}))
	f.Add(wire.EncodeEvent(&wire.Event{Event: api.Event{Kind: api.KindLeft}, Departures: []wire.Departure{{Name: "a", UID: 1}}}))
	f.Add([]byte{0x08, 0x01})
	f.Add([]byte{0x08, 0x01, 0x22, 0x01, 0xff})
	f.Fuzz(func(t *testing.T, body []byte) {
		var got wire.Event
		err := wire.DecodeEvent(body, &got)
		quick, isQuick := wire.ReadMessage(body)
		var m wirepb.Event
		if proto.Unmarshal(body, &m) != nil {
			return
		}
		if err != nil {
			t.Fatalf("refused: %v", err)
		}
		same(t, "event", got, eventModel(&m))
		if isQuick {
			same(t, "message", eventOf(&quick), got)
		}
	})
}

// addOddities adds legal encodings that no writer of ours makes, and illegal ones.
func addOddities(f *testing.F) {
	f.Helper()
	for _, batch := range [][]byte{
		nil,
		{0x0a},
		{0x0a, 0x00},
		{0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		{0x0c},
		field(entries, 5),
		{0x8a, 0x00, 0x02, 0x4a, 0x00},
		{0x8a, 0x80, 0x80, 0x00, 0x80, 0x00},
		block(entries, text(50, "?")),
		block(entries, block(3, padded(1, 1), padded(2, 2))),
		block(entries, block(3, field(6, 1<<63))),
		block(entries, block(3, text(5, "a")), block(3, field(1, 1))),
		block(entries, block(4, field(1, 1), block(1, []byte{3, 5}), text(2, "b"))),
		block(entries, block(4, block(1, []byte{3, 0x80}))),
		block(entries, block(5, field(1, 1), field(1, 2), field(2, 1<<40))),
		block(entries, block(9, field(1, 1)), block(3, field(1, 2))),
		block(entries, block(1, field(1, 1), block(2, make([]byte, 15)))),
	} {
		f.Add(batch)
	}
}

// refusedAt checks that reading stopped with an error at entry i.
func refusedAt(t *testing.T, i, read int, err error) {
	t.Helper()
	if err == nil || read != i {
		t.Errorf("%d entries and %v, want an error after %d", read, err, i)
	}
}
