package provider

import (
	"context"
	"testing"

	"google.golang.org/protobuf/proto"

	"crier.local/api"
	"crier.local/api/wire"
	"crier.local/api/wire/wirepb"
)

// FuzzHello attaches with any bytes as the first batch. A hello in order is
// welcomed; anything else is told why it is not, and nothing is left of it.
func FuzzHello(f *testing.F) {
	good := wire.ClientEntry{Kind: wire.Hello, Version: api.WireVersion, Instance: api.InstanceID{1}}
	hello := wire.AppendClient(nil, &good)
	old := good
	old.Version = 99
	for _, batch := range [][]byte{
		nil, hello, wire.AppendClient(nil, &old), append(hello, hello...), hello[:len(hello)-1], {0x0a}, {0x0a, 0}, {0xff},
		wire.AppendClient(hello, &wire.ClientEntry{Kind: wire.Open, Call: 1, Selector: echoSelector}),
		wire.AppendClient(hello, &wire.ClientEntry{Kind: wire.Ping, Call: 1}),
		wire.AppendClient(hello, &wire.ClientEntry{Kind: wire.Invoke, Call: 1, Session: 1, Handle: 3, Args: []byte("x")}),
		wire.AppendClient(hello, &wire.ClientEntry{Kind: wire.GrantCredit, Handle: 1, Bytes: 1 << 31}),
		wire.AppendClient(nil, &wire.ClientEntry{Kind: wire.Ping, Call: 1}),
		{0x0a, 4, 0x0a, 2, 0x08, 1}, {0x0a, 6, 0x0a, 4, 0x08, 1, 0x12, 0}, {0x8a, 0x00, 0x02, 0x0a, 0x00},
		append([]byte{0x12, 0x02, 0, 0}, hello...), // a field of a later version before it
		{0xe0, 0x94, 0xe0, 0x94, 0x30, 0x30},       // one with a number that there cannot be
	} {
		f.Add(batch)
	}
	f.Fuzz(func(t *testing.T, first []byte) {
		p := New(Options{})
		if err := p.Provide(echoSelector, &echo{release: make(chan struct{})}, ServiceOptions{}); err != nil {
			t.Fatal(err)
		}
		answer := greetWith(t, p, first, hello)
		want := wire.Welcome
		if !isHello(first) {
			want = wire.Farewell
		}
		if answer.Kind != want {
			t.Errorf("answered with %+v, want kind %d", answer, want)
		}
		if answer.Kind == wire.Farewell && (answer.Failure.Err() == nil || answer.Reason != api.ReasonLimit) {
			t.Errorf("a farewell without words: %+v", answer)
		}
		p.Close()
		if len(p.processes) > 0 || len(p.sessions.live) > 0 || len(p.handles.live) > 0 || p.budget.queued.Load() != 0 {
			t.Errorf("left behind: %d processes, %d sessions, %d handles, %d bytes",
				len(p.processes), len(p.sessions.live), len(p.handles.live), p.budget.queued.Load())
		}
	})
}

// isHello reports whether the first entry that comes is a hello that can be
// welcomed. If there is none in the batch, the one after it is.
func isHello(batch []byte) bool {
	var m wirepb.ClientBatch
	if proto.Unmarshal(batch, &m) == nil {
		hello := firstHello(&m)
		return len(m.Entries) == 0 || hello.GetWireVersion() == api.WireVersion && len(hello.GetInstance()) == 16
	}
	// What comes before the malformed counts, and fields that nobody knows may have
	// numbers that protobuf does not allow.
	reader := wire.NewReader(batch)
	var e wire.ClientEntry
	more, err := reader.NextClient(&e)
	return err == nil && (!more || e.Kind == wire.Hello && e.Version == api.WireVersion)
}

func firstHello(m *wirepb.ClientBatch) *wirepb.Hello {
	if len(m.Entries) == 0 {
		return nil
	}
	return m.Entries[0].GetHello()
}

// greetWith sends two batches and returns the first entry of the answer.
func greetWith(t *testing.T, p *Provider, batches ...[]byte) (answer wire.ProviderEntry) {
	t.Helper()
	ctx, die := context.WithCancel(context.Background())
	defer die()
	stream, err := p.Local().Attach(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range batches {
		if err := stream.Send(&wire.Batch{Data: append([]byte{}, b...)}); err != nil {
			t.Fatal(err)
		}
	}
	var b wire.Batch
	if err := stream.Recv(&b); err != nil {
		t.Fatalf("no answer: %v", err)
	}
	reader := wire.NewReader(b.Data)
	if more, err := reader.NextProvider(&answer); err != nil || !more {
		t.Fatalf("an answer of nothing: %v", err)
	}
	return answer
}
