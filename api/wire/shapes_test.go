package wire_test

import (
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"crier.local/api"
	"crier.local/api/wire"
	"crier.local/api/wire/wirepb"
)

// decoded returns what a shape decodes to, in a form that all shapes share.
func decoded[T any](t *testing.T, b []byte, decode func([]byte) (T, error)) T {
	t.Helper()
	v, err := decode(b)
	if err != nil {
		t.Error(err)
	}
	if _, err := decode([]byte{0x0a}); err == nil {
		t.Errorf("half a %T is one", v)
	}
	return v
}

// The shapes of the notification service arrive as they went.
func TestShapesRoundTrip(t *testing.T) {
	now := time.Unix(0, 1_700_000_000_123_456_789).UTC()
	connect := api.Connect{Room: "r", Name: "n", SendOnly: true, Overflow: api.OverflowGap, Echo: true, Presence: true, Window: 1 << 16}
	same(t, "connect", decoded(t, wire.EncodeConnect(connect), wire.DecodeConnect), connect)
	same(t, "connect with defaults", decoded(t, wire.EncodeConnect(api.Connect{}), wire.DecodeConnect), api.Connect{})

	joined := wire.Connected{Seq: 1 << 40, Name: "client-1-3", Room: "lobby"}
	same(t, "connected", decoded(t, wire.EncodeConnected(joined), wire.DecodeConnected), joined)

	for _, receipt := range []api.Receipt{{}, {Seq: 1 << 40, Receivers: 1000}, {Seq: 1}, {Receivers: 1}} {
		same(t, "receipt", decoded(t, wire.EncodeReceipt(receipt), wire.DecodeReceipt), receipt)
	}
	same(t, "rename", decoded(t, wire.EncodeRename("hanna"), wire.DecodeRename), "hanna")
	same(t, "who", decoded(t, wire.EncodeWho("lobby"), wire.DecodeWho), "lobby")

	seats := []api.Seat{{
		Room: "r", Name: "n", Handle: 301, Session: 7, Since: now, Queued: 5, QueuedBytes: 1 << 33, Awaited: true, Parked: 2, SendOnly: true,
		Identity: api.Identity{UID: 1000, GID: 100, PID: -1, Local: true, Subject: "s", Container: "c0ffee"},
	}, {Since: now}}
	same(t, "seats", decoded(t, wire.EncodeSeats(seats), wire.DecodeSeats), seats)
	rooms := []api.RoomInfo{{Name: "lobby", Members: 3, Seq: 9}, {Name: "x"}}
	same(t, "rooms", decoded(t, wire.EncodeRooms(rooms), wire.DecodeRooms), rooms)
	members := []api.Member{{Name: "anna", UID: 1000, Since: now}, {Name: "bert", Since: now}}
	same(t, "members", decoded(t, wire.EncodeMembers(members), wire.DecodeMembers), members)
}

func TestShapesOfTwoParts(t *testing.T) {
	name, payload, err := wire.DecodeSendTo(wire.EncodeSendTo("anna", []byte{0, 0xff}))
	if name != "anna" || string(payload) != "\x00\xff" || err != nil {
		t.Errorf("send to %q, %q, %v", name, payload, err)
	}
	reason, note, err := wire.DecodeCloseWith(wire.EncodeCloseWith(api.ReasonUnreachable, "gone\xff"))
	if reason != api.ReasonUnreachable || note != "gone\uFFFD" || err != nil {
		t.Errorf("close with %v, %q, %v", reason, note, err)
	}
}

// A receipt means the same however it is encoded.
func TestReceiptTakesAnyLegalEncoding(t *testing.T) {
	want := api.Receipt{Seq: 7, Receivers: 3}
	for name, b := range map[string][]byte{
		"out of order": append(field(2, 3), field(1, 7)...),
		"padded":       append(padded(1, 7), padded(2, 3)...),
		"unknown":      append(append(field(1, 7), field(2, 3)...), text(9, "?")...),
	} {
		var m wirepb.Receipt
		if err := proto.Unmarshal(b, &m); err != nil {
			t.Fatal(err)
		}
		same(t, name, decoded(t, b, wire.DecodeReceipt), want)
	}
}
