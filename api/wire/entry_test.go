package wire_test

import (
	"bytes"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"crier.local/api"
	"crier.local/api/wire"
	"crier.local/api/wire/wirepb"
)

// clientCase is an entry and the message that it is on the wire.
type clientCase struct {
	name    string
	entry   wire.ClientEntry
	message *wirepb.ClientEntry
}

func clientCases() []clientCase {
	instance := api.InstanceID{0, 1, 2, 15: 255}
	most := uint32(math.MaxUint32)
	return []clientCase{
		{"hello", wire.ClientEntry{Kind: wire.Hello, Version: 1, Instance: instance},
			&wirepb.ClientEntry{Entry: &wirepb.ClientEntry_Hello{Hello: &wirepb.Hello{WireVersion: 1, Instance: instance[:]}}}},
		{"open", wire.ClientEntry{Kind: wire.Open, Call: 7, Selector: api.Selector{UUID: "ping", Major: 7, Minor: 9}},
			&wirepb.ClientEntry{Entry: &wirepb.ClientEntry_Open{Open: &wirepb.Open{Call: 7,
				Selector: &wirepb.Selector{Uuid: "ping", Major: 7, Minor: 9}}}}},
		{"open nothing", wire.ClientEntry{Kind: wire.Open, Call: 7},
			&wirepb.ClientEntry{Entry: &wirepb.ClientEntry_Open{Open: &wirepb.Open{Call: 7}}}},
		{"invoke", wire.ClientEntry{Kind: wire.Invoke, Call: 1, Session: 2, Method: 3, Handle: 5, Args: []byte("hello"), Timeout: time.Second},
			invokeMessage(&wirepb.Invoke{Call: 1, Session: 2, Method: 3, Handle: 5, Args: []byte("hello"), TimeoutNs: 1e9})},
		{"invoke, all zero", wire.ClientEntry{Kind: wire.Invoke}, invokeMessage(&wirepb.Invoke{})},
		{"invoke, all at their most", wire.ClientEntry{Kind: wire.Invoke, Call: most, Session: 1<<31 - 1, Method: api.Method(most),
			Handle: api.MaxHandle, Args: bytes.Repeat([]byte{0xff}, 70_000), Timeout: math.MaxInt64},
			invokeMessage(&wirepb.Invoke{Call: most, Session: 1<<31 - 1, Method: most, Handle: 1<<31 - 1,
				Args: bytes.Repeat([]byte{0xff}, 70_000), TimeoutNs: math.MaxInt64})},
		{"post", wire.ClientEntry{Kind: wire.Invoke, Session: 300, Method: 1, Handle: 301, Args: []byte{0}},
			invokeMessage(&wirepb.Invoke{Session: 300, Method: 1, Handle: 301, Args: []byte{0}})},
		{"cancel", wire.ClientEntry{Kind: wire.Cancel, Call: most},
			&wirepb.ClientEntry{Entry: &wirepb.ClientEntry_Cancel{Cancel: &wirepb.Cancel{Call: most}}}},
		{"credit", wire.ClientEntry{Kind: wire.GrantCredit, Handle: 301, Bytes: 1 << 20},
			&wirepb.ClientEntry{Entry: &wirepb.ClientEntry_Credit{Credit: &wirepb.Credit{Handle: 301, Bytes: 1 << 20}}}},
		{"credit, all zero", wire.ClientEntry{Kind: wire.GrantCredit},
			&wirepb.ClientEntry{Entry: &wirepb.ClientEntry_Credit{Credit: &wirepb.Credit{}}}},
		{"close resource", wire.ClientEntry{Kind: wire.CloseResource, Call: 1, Session: 2, Handle: 4},
			&wirepb.ClientEntry{Entry: &wirepb.ClientEntry_CloseResource{CloseResource: &wirepb.CloseResource{Call: 1, Session: 2, Handle: 4}}}},
		{"close session", wire.ClientEntry{Kind: wire.CloseSession, Call: 1, Session: 2},
			&wirepb.ClientEntry{Entry: &wirepb.ClientEntry_CloseSession{CloseSession: &wirepb.CloseSession{Call: 1, Session: 2}}}},
		{"flush", wire.ClientEntry{Kind: wire.Flush, Handle: 4},
			&wirepb.ClientEntry{Entry: &wirepb.ClientEntry_Flush{Flush: &wirepb.Flush{Handle: 4}}}},
		{"ping", wire.ClientEntry{Kind: wire.Ping, Call: 1},
			&wirepb.ClientEntry{Entry: &wirepb.ClientEntry_Ping{Ping: &wirepb.Ping{Call: 1}}}},
	}
}

func invokeMessage(m *wirepb.Invoke) *wirepb.ClientEntry {
	return &wirepb.ClientEntry{Entry: &wirepb.ClientEntry_Invoke{Invoke: m}}
}

// providerCase is an entry and the message that it is on the wire.
type providerCase struct {
	name    string
	entry   wire.ProviderEntry
	message *wirepb.ProviderEntry
}

func providerCases() []providerCase {
	epoch := api.Epoch{0, 1, 2, 15: 255}
	most := uint32(math.MaxUint32)
	ping := api.Selector{UUID: "ping", Major: 7, Minor: 9}
	pingMessage := &wirepb.Selector{Uuid: "ping", Major: 7, Minor: 9}
	return []providerCase{
		{"welcome", wire.ProviderEntry{Kind: wire.Welcome, Welcome: wire.Terms{WireVersion: 1, Epoch: epoch, Name: "crier",
			Version: api.Version{Major: 1, Minor: 2, Patch: 5}, Tags: []string{"a", "b"}, MaxMessage: 1 << 20, HardTop: 16 << 20, MaxResources: 65536}},
			&wirepb.ProviderEntry{Entry: &wirepb.ProviderEntry_Welcome{Welcome: &wirepb.Welcome{WireVersion: 1, Epoch: epoch[:], Name: "crier",
				Version: &wirepb.Version{Major: 1, Minor: 2, Patch: 5}, Tags: []string{"a", "b"}, MaxMessage: 1 << 20, HardTop: 16 << 20, MaxResources: 65536}}}},
		{"opened", wire.ProviderEntry{Kind: wire.Opened, Call: 1, Session: 1<<31 - 1, Provided: ping},
			&wirepb.ProviderEntry{Entry: &wirepb.ProviderEntry_Opened{Opened: &wirepb.Opened{Call: 1, Session: 1<<31 - 1, Provided: pingMessage}}}},
		{"reply", wire.ProviderEntry{Kind: wire.Reply, Call: 1, Body: []byte("result")},
			replyMessage(&wirepb.Reply{Call: 1, Result: []byte("result")})},
		{"reply with a resource", wire.ProviderEntry{Kind: wire.Reply, Call: most, Handle: api.MaxHandle, SendWindow: 1 << 20, ReceiveWindow: most},
			replyMessage(&wirepb.Reply{Call: most, Handle: 1<<31 - 1, SendWindow: 1 << 20, ReceiveWindow: most})},
		{"reply, all zero", wire.ProviderEntry{Kind: wire.Reply}, replyMessage(&wirepb.Reply{})},
		{"reply with a failure", wire.ProviderEntry{Kind: wire.Reply, Call: 1, Failure: api.Failure{Code: 1, Text: "no", AppCode: -7}},
			replyMessage(&wirepb.Reply{Call: 1, Failure: &wirepb.Failure{Code: 1, Text: "no", AppCode: -7}})},
		{"reply with a version", wire.ProviderEntry{Kind: wire.Reply, Call: 1, Failure: api.Failure{Code: 4, Asked: ping, Provided: ping, Provider: "p"}},
			replyMessage(&wirepb.Reply{Call: 1, Failure: &wirepb.Failure{Code: 4, Asked: pingMessage, Provided: pingMessage, Provider: "p"}})},
		{"notification", wire.ProviderEntry{Kind: wire.Notification, Handles: []api.Handle{1, 301, api.MaxHandle}, Bodies: bodiesOf("body")},
			notificationMessage([]uint32{1, 301, 1<<31 - 1}, []byte("body"))},
		{"notification, large", wire.ProviderEntry{Kind: wire.Notification, Handles: make([]api.Handle, 1000), Bodies: wire.Bodies(nil).Append(bytes.Repeat([]byte{7}, 70_000))},
			notificationMessage(make([]uint32, 1000), bytes.Repeat([]byte{7}, 70_000))},
		{"notification of nothing", wire.ProviderEntry{Kind: wire.Notification, Handles: []api.Handle{3}}, notificationMessage([]uint32{3})},
		{"empty notification", wire.ProviderEntry{Kind: wire.Notification, Handles: []api.Handle{3}, Bodies: bodiesOf("")}, notificationMessage([]uint32{3}, []byte{})},
		{"notifications in a row", wire.ProviderEntry{Kind: wire.Notification, Handles: []api.Handle{3, 301}, Bodies: bodiesOf("a", "", "ccc", "")},
			notificationMessage([]uint32{3, 301}, []byte("a"), []byte{}, []byte("ccc"), []byte{})},
		{"notifications for nobody", wire.ProviderEntry{Kind: wire.Notification, Bodies: bodiesOf("a", "b")}, notificationMessage(nil, []byte("a"), []byte("b"))},
		{"notification for nobody", wire.ProviderEntry{Kind: wire.Notification, Bodies: bodiesOf("\x00")}, notificationMessage(nil, []byte{0})},
		{"closed", wire.ProviderEntry{Kind: wire.Closed, Handle: 3, Reason: api.ReasonSlow, Note: "too slow"},
			&wirepb.ProviderEntry{Entry: &wirepb.ProviderEntry_Closed{Closed: &wirepb.Closed{Handle: 3, Reason: 4, Note: "too slow"}}}},
		{"closed with a last word", wire.ProviderEntry{Kind: wire.Closed, Handle: 3, Reason: api.ReasonClosed, Body: []byte("bye")},
			&wirepb.ProviderEntry{Entry: &wirepb.ProviderEntry_Closed{Closed: &wirepb.Closed{Handle: 3, Reason: 1, Body: []byte("bye")}}}},
		{"credit", wire.ProviderEntry{Kind: wire.ReturnCredit, Handle: 3, Bytes: most},
			&wirepb.ProviderEntry{Entry: &wirepb.ProviderEntry_Credit{Credit: &wirepb.Credit{Handle: 3, Bytes: most}}}},
		{"posted", wire.ProviderEntry{Kind: wire.Posted, Handle: 3, Bytes: 4, Ended: 5, Refused: 6, Failure: api.Failure{Code: 11, Text: "full"}},
			&wirepb.ProviderEntry{Entry: &wirepb.ProviderEntry_Posted{Posted: &wirepb.Posted{Handle: 3, Bytes: 4, Ended: 5, Refused: 6,
				Failure: &wirepb.Failure{Code: 11, Text: "full"}}}}},
		{"farewell", wire.ProviderEntry{Kind: wire.Farewell, Reason: api.ReasonGoingAway, Final: true, Failure: api.Failure{Code: 5, Text: "closed"}},
			&wirepb.ProviderEntry{Entry: &wirepb.ProviderEntry_Farewell{Farewell: &wirepb.Farewell{Reason: 7, Final: true,
				Failure: &wirepb.Failure{Code: 5, Text: "closed"}}}}},
	}
}

func replyMessage(m *wirepb.Reply) *wirepb.ProviderEntry {
	return &wirepb.ProviderEntry{Entry: &wirepb.ProviderEntry_Reply{Reply: m}}
}

func notificationMessage(handles []uint32, bodies ...[]byte) *wirepb.ProviderEntry {
	return &wirepb.ProviderEntry{Entry: &wirepb.ProviderEntry_Notification{
		Notification: &wirepb.Notification{Handles: handles, Bodies: bodies}}}
}

// What we write, protobuf reads; what protobuf writes, we read.
func TestClientEntriesAreProtobuf(t *testing.T) {
	for _, tc := range clientCases() {
		t.Run(tc.name, func(t *testing.T) {
			var read wirepb.ClientBatch
			unmarshal(t, wire.AppendClient(nil, &tc.entry), &read)
			sameMessage(t, "protobuf reads", &read, &wirepb.ClientBatch{Entries: []*wirepb.ClientEntry{tc.message}})

			entries, err := readClient(marshal(t, &wirepb.ClientBatch{Entries: []*wirepb.ClientEntry{tc.message}}))
			if err != nil {
				t.Fatal(err)
			}
			same(t, "we read", entries, []wire.ClientEntry{tc.entry})
			if model, ok := clientModel(tc.message); !ok {
				t.Error("the model refuses it")
			} else {
				same(t, "the model says", model, tc.entry)
			}
		})
	}
}

func TestProviderEntriesAreProtobuf(t *testing.T) {
	for _, tc := range providerCases() {
		t.Run(tc.name, func(t *testing.T) {
			var read wirepb.ProviderBatch
			unmarshal(t, wire.AppendProvider(nil, &tc.entry), &read)
			sameMessage(t, "protobuf reads", &read, &wirepb.ProviderBatch{Entries: []*wirepb.ProviderEntry{tc.message}})

			entries, err := readProvider(marshal(t, &wirepb.ProviderBatch{Entries: []*wirepb.ProviderEntry{tc.message}}))
			if err != nil {
				t.Fatal(err)
			}
			same(t, "we read", entries, []wire.ProviderEntry{tc.entry})
			if model, ok := providerModel(tc.message); !ok {
				t.Error("the model refuses it")
			} else {
				same(t, "the model says", model, tc.entry)
			}
		})
	}
}

// A last notification of no bytes is one, and no last notification is none.
func TestClosedTellsEmptyFromNone(t *testing.T) {
	for name, body := range map[string][]byte{"none": nil, "empty": {}} {
		entries, err := readProvider(wire.AppendProvider(nil, &wire.ProviderEntry{Kind: wire.Closed, Handle: 3, Body: body}))
		if err != nil || len(entries) != 1 {
			t.Fatalf("%s: %v, %v", name, entries, err)
		}
		if got := entries[0].Body; (got == nil) != (body == nil) {
			t.Errorf("%s: read %#v, want %#v", name, got, body)
		}
	}
}

// Whatever the kinds, a batch is its entries one after the other.
func TestBatches(t *testing.T) {
	var up, down []byte
	var sent []wire.ClientEntry
	var told []wire.ProviderEntry
	for range 3 {
		for _, tc := range clientCases() {
			up, sent = wire.AppendClient(up, &tc.entry), append(sent, tc.entry)
		}
		for _, tc := range providerCases() {
			down, told = wire.AppendProvider(down, &tc.entry), append(told, tc.entry)
		}
	}
	gotSent, err := readClient(up)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "client's", gotSent, sent)
	gotTold, err := readProvider(down)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "provider's", gotTold, told)
}

// What the reader hands out may be appended to without harm to the rest of the batch.
func TestEntriesDoNotOverlap(t *testing.T) {
	first := wire.ClientEntry{Kind: wire.Invoke, Call: 1, Args: []byte("first")}
	second := wire.ClientEntry{Kind: wire.Invoke, Call: 2, Args: []byte("second")}
	reader := wire.NewReader(wire.AppendClient(wire.AppendClient(nil, &first), &second))
	var e wire.ClientEntry
	if _, err := reader.NextClient(&e); err != nil {
		t.Fatal(err)
	}
	_ = append(e.Args, strings.Repeat("x", 64)...)
	if _, err := reader.NextClient(&e); err != nil {
		t.Fatal(err)
	}
	same(t, "the second entry", e, second)
}

func TestNotificationOverhead(t *testing.T) {
	for _, handles := range []int{0, 1, 2, 10, 1000, 65536} {
		list := make([]api.Handle, handles)
		for i := range list {
			list[i] = api.MaxHandle
		}
		for _, bodies := range []int{0, 1, 127, 128, 1 << 20, 16 << 20} {
			if size, most := len(wire.AppendNotification(nil, list, bodies)), wire.NotificationOverhead(handles); size > most {
				t.Errorf("%d handles, %d bytes: %d more, said to be %d at most", handles, bodies, size, most)
			}
		}
	}
}

// Text that is not UTF-8 must not keep a message from being written.
func TestInvalidTextIsMended(t *testing.T) {
	const bad, mended = "\xffbad", "\uFFFDbad"
	for name, tc := range map[string]struct{ written, read wire.ProviderEntry }{
		"name":     {welcome(wire.Terms{Name: bad}), welcome(wire.Terms{Name: mended})},
		"tags":     {welcome(wire.Terms{Tags: []string{bad}}), welcome(wire.Terms{Tags: []string{mended}})},
		"uuid":     {opened(bad), opened(mended)},
		"text":     {failed(api.Failure{Code: 1, Text: bad}), failed(api.Failure{Code: 1, Text: mended})},
		"provider": {failed(api.Failure{Code: 4, Provider: bad}), failed(api.Failure{Code: 4, Provider: mended})},
		"note":     {wire.ProviderEntry{Kind: wire.Closed, Note: bad}, wire.ProviderEntry{Kind: wire.Closed, Note: mended}},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if v := recover(); v != nil {
					t.Errorf("panic: %v", v)
				}
			}()
			got, err := readProvider(wire.AppendProvider(nil, &tc.written))
			if err != nil {
				t.Fatal(err)
			}
			same(t, "entries", got, []wire.ProviderEntry{tc.read})
		})
	}
	open := wire.ClientEntry{Kind: wire.Open, Selector: api.Selector{UUID: bad}}
	if got, err := readClient(wire.AppendClient(nil, &open)); err != nil || got[0].Selector.UUID != mended {
		t.Errorf("%+v, %v", got, err)
	}
}

func welcome(t wire.Terms) wire.ProviderEntry {
	return wire.ProviderEntry{Kind: wire.Welcome, Welcome: t}
}

func opened(uuid string) wire.ProviderEntry {
	return wire.ProviderEntry{Kind: wire.Opened, Provided: api.Selector{UUID: uuid}}
}

func failed(f api.Failure) wire.ProviderEntry {
	return wire.ProviderEntry{Kind: wire.Reply, Failure: f}
}

func marshal(t testing.TB, m proto.Message) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func unmarshal(t testing.TB, b []byte, m proto.Message) {
	t.Helper()
	if err := proto.Unmarshal(b, m); err != nil {
		t.Fatal(err)
	}
}

func sameMessage(t *testing.T, what string, got, want proto.Message) {
	t.Helper()
	if diff := cmp.Diff(want, got, protocmp.Transform(), quick()); diff != "" {
		t.Errorf("%s (- want, + got):\n%s", what, diff)
	}
}
