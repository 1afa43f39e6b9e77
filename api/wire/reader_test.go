package wire_test

import (
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"crier.local/api"
	"crier.local/api/wire"
	"crier.local/api/wire/wirepb"
)

// The encodings below are legal, but not those that this package writes. They
// are built field by field.

// field returns one varint field.
func field(number protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(nil, number, protowire.VarintType), v)
}

// block returns one field of bytes, which are those of parts.
func block(number protowire.Number, parts ...[]byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), slices.Concat(parts...))
}

// text returns one field of text.
func text(number protowire.Number, s string) []byte { return block(number, []byte(s)) }

// padded returns a varint field whose tag and value are longer than they need be.
func padded(number protowire.Number, v byte) []byte {
	return []byte{byte(number)<<3 | 0x80, 0x00, v | 0x80, 0x80, 0x00}
}

// The numbers of the fields that the cases need.
const (
	entries = 1 // of a batch

	invoke, credit, ping          = 3, 5, 9 // of a client's entry
	reply, notification, farewell = 3, 4, 8 // of a provider's entry
)

func TestClientReaderTakesAnyLegalEncoding(t *testing.T) {
	full := wire.ClientEntry{Kind: wire.Invoke, Call: 1, Session: 2, Method: 3, Handle: 5, Args: []byte("args"), Timeout: 6}
	for name, tc := range map[string]struct {
		batch []byte
		want  []wire.ClientEntry
	}{
		"empty batch": {nil, nil},
		"fields out of order": {
			block(entries, block(invoke, field(6, 6), text(5, "args"), field(4, 5), field(3, 3), field(2, 2), field(1, 1))),
			[]wire.ClientEntry{full}},
		"a field twice, the last counts": {
			block(entries, block(invoke, field(1, 9), field(1, 1), field(2, 2), field(3, 3), field(4, 5), text(5, "none"), text(5, "args"), field(6, 6))),
			[]wire.ClientEntry{full}},
		"the message in two parts": {
			block(entries, block(invoke, field(1, 1), field(2, 2), field(3, 9)), block(invoke, field(3, 3), field(4, 5), text(5, "args"), field(6, 6))),
			[]wire.ClientEntry{full}},
		"another kind before it": {
			block(entries, block(ping, field(1, 77)), block(invoke, field(1, 1), field(2, 2), field(3, 3), field(4, 5), text(5, "args"), field(6, 6))),
			[]wire.ClientEntry{full}},
		"unknown fields everywhere": {
			slices.Concat(field(99, 1), block(entries, text(98, "?"), block(invoke, field(1, 1), field(2, 2), field(97, 4), field(3, 3), field(4, 5), text(5, "args"), field(6, 6), text(96, "?"))), text(2, "x")),
			[]wire.ClientEntry{full}},
		"unknown group": {
			block(entries, block(invoke, field(1, 1), protowire.AppendTag(nil, 20, protowire.StartGroupType), field(1, 7), protowire.AppendTag(nil, 20, protowire.EndGroupType))),
			[]wire.ClientEntry{{Kind: wire.Invoke, Call: 1}}},
		"the batch's field with another type": {
			slices.Concat(field(entries, 5), block(entries, block(ping, field(1, 1)))),
			[]wire.ClientEntry{{Kind: wire.Ping, Call: 1}}},
		"zeros written out": {
			block(entries, block(invoke, field(1, 0), field(2, 0), field(3, 0), field(4, 0), text(5, ""), field(6, 0))),
			[]wire.ClientEntry{{Kind: wire.Invoke}}},
		"varints longer than need be": {
			block(entries, block(invoke, padded(1, 1), padded(2, 2))),
			[]wire.ClientEntry{{Kind: wire.Invoke, Call: 1, Session: 2}}},
		"numbers of more than 32 bits lose their head": {
			block(entries, block(credit, field(1, 1<<40|5), field(2, 1<<40|6))),
			[]wire.ClientEntry{{Kind: wire.GrantCredit, Handle: 5, Bytes: 6}}},
		"a timeout for ever": {
			block(entries, block(invoke, field(1, 1), field(6, 1<<63))),
			[]wire.ClientEntry{{Kind: wire.Invoke, Call: 1}}},
	} {
		t.Run(name, func(t *testing.T) {
			var m wirepb.ClientBatch
			unmarshal(t, tc.batch, &m) // it is legal
			got, err := readClient(tc.batch)
			if err != nil {
				t.Fatal(err)
			}
			same(t, "entries", got, tc.want)
		})
	}
}

func TestProviderReaderTakesAnyLegalEncoding(t *testing.T) {
	full := wire.ProviderEntry{Kind: wire.Notification, Handles: []api.Handle{1, 301, 3}, Bodies: bodiesOf("body")}
	for name, tc := range map[string]struct {
		batch []byte
		want  []wire.ProviderEntry
	}{
		"handles one by one": {
			block(entries, block(notification, field(1, 1), field(1, 301), field(1, 3), text(2, "body"))),
			[]wire.ProviderEntry{full}},
		"handles in both ways": {
			block(entries, block(notification, field(1, 1), block(1, []byte{0xad, 0x02}), text(2, "body"), field(1, 3))),
			[]wire.ProviderEntry{full}},
		"body first": {
			block(entries, block(notification, text(2, "body"), block(1, []byte{1, 0xad, 0x02, 3}))),
			[]wire.ProviderEntry{full}},
		"the message in two parts": {
			block(entries, block(notification, block(1, []byte{1}), text(2, "other")), block(notification, block(1, []byte{0xad, 0x02, 3}), text(2, "body"))),
			[]wire.ProviderEntry{{Kind: wire.Notification, Handles: full.Handles, Bodies: bodiesOf("other", "body")}}},
		"handles between bodies": {
			block(entries, block(notification, text(2, "a"), field(1, 1), text(2, ""), block(1, []byte{0xad, 0x02, 3}), text(2, "b"))),
			[]wire.ProviderEntry{{Kind: wire.Notification, Handles: full.Handles, Bodies: bodiesOf("a", "", "b")}}},
		"unknown fields between bodies": {
			block(entries, block(notification, block(1, []byte{1, 0xad, 0x02, 3}), text(2, "a"), text(9, "?"), text(2, "b"), field(8, 1))),
			[]wire.ProviderEntry{{Kind: wire.Notification, Handles: full.Handles, Bodies: bodiesOf("a", "b")}}},
		"lengths longer than need be": {
			block(entries, block(notification, block(1, []byte{1, 0xad, 0x02, 3}), []byte{2<<3 | 2, 0x81, 0x00, 'a', 2<<3 | 2, 0x80, 0x00}, text(2, "b"))),
			[]wire.ProviderEntry{{Kind: wire.Notification, Handles: full.Handles, Bodies: bodiesOf("a", "", "b")}}},
		"tags longer than need be": {
			block(entries, block(notification, block(1, []byte{1, 0xad, 0x02, 3}), []byte{2<<3 | 2 | 0x80, 0x00, 1, 'a'}, text(2, "b"))),
			[]wire.ProviderEntry{{Kind: wire.Notification, Handles: full.Handles, Bodies: bodiesOf("a", "b")}}},
		"handles of more than 32 bits lose their head": {
			block(entries, block(notification, block(1, protowire.AppendVarint(nil, 1<<40|5)))),
			[]wire.ProviderEntry{{Kind: wire.Notification, Handles: []api.Handle{5}}}},
		"reply, out of order": {
			block(entries, block(reply, field(6, 6), field(5, 5), field(3, 3), text(2, "r"), field(1, 1))),
			[]wire.ProviderEntry{{Kind: wire.Reply, Call: 1, Body: []byte("r"), Handle: 3, SendWindow: 5, ReceiveWindow: 6}}},
		"reply with a failure in two parts": {
			block(entries, block(reply, field(1, 1), block(4, field(1, 11)), block(4, text(2, "full")))),
			[]wire.ProviderEntry{{Kind: wire.Reply, Call: 1, Failure: api.Failure{Code: 11, Text: "full"}}}},
		"kinds of a newer version": {
			slices.Concat(block(entries, text(50, "?")), block(entries, block(farewell, field(3, 1))), block(entries)),
			[]wire.ProviderEntry{{}, {Kind: wire.Farewell, Final: true}, {}}},
	} {
		t.Run(name, func(t *testing.T) {
			var m wirepb.ProviderBatch
			unmarshal(t, tc.batch, &m)
			got, err := readProvider(tc.batch)
			if err != nil {
				t.Fatal(err)
			}
			same(t, "entries", got, tc.want)
		})
	}
}

// A tag may be a longer varint than it need be, that of an entry too.
func TestReaderTakesPaddedTags(t *testing.T) {
	pingEntry := block(ping, field(1, 7))
	batch := slices.Concat([]byte{entries<<3 | 2 | 0x80, 0x00, byte(len(pingEntry))}, pingEntry)
	got, err := readClient(batch)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "entries", got, []wire.ClientEntry{{Kind: wire.Ping, Call: 7}})
}

// A notification that the quick way gives up halfway must leave nothing behind.
func TestHandlesDoNotPileUp(t *testing.T) {
	odd := block(entries, block(notification, block(1, []byte{1, 3}), text(2, "a"), field(9, 9)))
	plain := wire.AppendProvider(nil, &wire.ProviderEntry{Kind: wire.Notification, Handles: []api.Handle{5}, Bodies: bodiesOf("b")})
	reader := wire.NewReader(slices.Concat(odd, odd, plain))
	var e wire.ProviderEntry
	for _, want := range [][]api.Handle{{1, 3}, {1, 3}, {5}} {
		if _, err := reader.NextProvider(&e); err != nil {
			t.Fatal(err)
		}
		same(t, "handles", e.Handles, want)
	}
}

func TestReadersRefuse(t *testing.T) {
	hello := func(n int) []byte { return block(entries, block(1, field(1, 1), block(2, make([]byte, n)))) }
	for name, tc := range map[string]struct {
		batch            []byte
		client, provider bool // refused by
	}{
		"a tag cut short":              {[]byte{0x80}, true, true},
		"field number 0":               {[]byte{0x02, 0x00}, true, true},
		"more bytes than there are":    {[]byte{0x0a, 0x05, 0x00}, true, true},
		"a length without end":         {[]byte{0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, true, true},
		"the end of no group":          {[]byte{0x0c}, true, true},
		"an unknown field cut short":   {[]byte{0x99, 0x06, 0x01}, true, true},
		"an entry cut short":           {block(entries, []byte{0x1a, 0x05}), true, true},
		"a field cut short":            {block(entries, block(3, []byte{0x08})), true, true},
		"a second body cut short":      {block(entries, block(notification, text(2, "a"), []byte{2<<3 | 2, 5, 'b'})), true, true}, // kind 4 of a client is a cancel
		"a varint of 11 bytes":         {block(entries, block(3, []byte{0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01})), true, true},
		"a kind that a client has not": {block(entries, text(50, "?")), true, false},
		"an entry of nothing":          {block(entries), true, false},
		"an instance too short":        {hello(15), true, true}, // to the provider's reader an epoch
		"an instance too long":         {hello(17), true, true},
		"no instance":                  {hello(0), true, true},
		"a uuid that is no UTF-8":      {block(entries, block(2, block(2, block(1, []byte{0xff})))), true, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := readClient(tc.batch); (err != nil) != tc.client {
				t.Errorf("client's entries %+v, %v", got, err)
			}
			if got, err := readProvider(tc.batch); (err != nil) != tc.provider {
				t.Errorf("provider's entries %+v, %v", got, err)
			}
		})
	}
}

// Entries before a malformed one count: the sender meant them.
func TestReaderStopsAtTheFault(t *testing.T) {
	good := wire.ClientEntry{Kind: wire.Ping, Call: 1}
	got, err := readClient(append(wire.AppendClient(nil, &good), 0x0a, 0xff))
	if err == nil {
		t.Error("the fault was not seen")
	}
	same(t, "entries", got, []wire.ClientEntry{good})
}

func TestEventsAreProtobuf(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 678901234, time.UTC)
	head := wire.MessageHead{Seq: 1 << 40, Time: now, From: "anna", UID: 1000, To: "bert"}
	member := api.Member{Name: "anna", UID: 1000, Since: now}
	for name, tc := range map[string]struct {
		body []byte
		want wire.Event
	}{
		"message": {wire.AppendMessage(nil, &head, []byte("hello")), wire.Event{Event: api.Event{
			Kind: api.KindMessage, Seq: 1 << 40, Time: now, From: "anna", UID: 1000, To: "bert", Payload: []byte("hello")}}},
		"message of nothing": {wire.AppendMessage(nil, &wire.MessageHead{Seq: 1, Time: now, From: "a"}, nil), wire.Event{Event: api.Event{
			Kind: api.KindMessage, Seq: 1, Time: now, From: "a"}}},
		"joined": event(wire.Event{Event: api.Event{Kind: api.KindJoined, Seq: 2, Time: now, From: "anna", UID: 1000}}),
		"left":   event(wire.Event{Event: api.Event{Kind: api.KindLeft, Seq: 3, Time: now, From: "anna", Reason: api.ReasonDied, Note: "n", By: "gateway"}}),
		"left together": event(wire.Event{Event: api.Event{Kind: api.KindLeft, Seq: 3, Time: now, Reason: api.ReasonDied},
			Departures: []wire.Departure{{Name: "a", UID: 1}, {Name: "b", UID: 2}}}),
		"renamed": event(wire.Event{Event: api.Event{Kind: api.KindRenamed, Seq: 4, Time: now, From: "anna", To: "hanna"}}),
		"gap":     event(wire.Event{Event: api.Event{Kind: api.KindGap, First: 5, Last: 9, Count: 4}}),
		"members": event(wire.Event{Event: api.Event{Kind: api.KindMembers, Members: []api.Member{member, member}}, More: true}),
	} {
		t.Run(name, func(t *testing.T) {
			var got wire.Event
			if err := wire.DecodeEvent(tc.body, &got); err != nil {
				t.Fatal(err)
			}
			same(t, "we read", got, tc.want)
			if m, ok := wire.ReadMessage(tc.body); ok != (got.Kind == api.KindMessage) {
				t.Errorf("a message, read as one: %v", ok)
			} else if ok {
				same(t, "we read quickly", eventOf(&m), tc.want)
			}
			var m wirepb.Event
			unmarshal(t, tc.body, &m)
			same(t, "the model says", eventModel(&m), tc.want)
			var again wire.Event
			if err := wire.DecodeEvent(marshal(t, &m), &again); err != nil {
				t.Fatal(err)
			}
			same(t, "we read from protobuf", again, tc.want)
		})
	}
}

func event(e wire.Event) (c struct {
	body []byte
	want wire.Event
}) {
	c.body, c.want = wire.EncodeEvent(&e), e
	return c
}

// An event means the same however it is encoded, one without a time included.
func TestEventTakesAnyLegalEncoding(t *testing.T) {
	for name, body := range map[string][]byte{
		"in order":     slices.Concat(field(1, 1), field(2, 7), text(4, "anna"), text(6, "hello")),
		"out of order": slices.Concat(text(6, "hello"), text(4, "anna"), field(2, 7), field(1, 1)),
		"twice":        slices.Concat(field(1, 2), field(1, 1), field(2, 7), text(4, "x"), text(4, "anna"), text(6, "hello")),
		"unknown":      slices.Concat(field(1, 1), field(2, 7), text(4, "anna"), text(6, "hello"), field(99, 1)),
		"padded":       slices.Concat(padded(1, 1), padded(2, 7), text(4, "anna"), text(6, "hello")),
	} {
		var got wire.Event
		if err := wire.DecodeEvent(body, &got); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		same(t, name, got, wire.Event{Event: api.Event{Kind: api.KindMessage, Seq: 7, From: "anna", Payload: []byte("hello")}})
	}
	var e wire.Event
	if err := wire.DecodeEvent([]byte{0x0a}, &e); err == nil {
		t.Error("half an event is one")
	}
}
