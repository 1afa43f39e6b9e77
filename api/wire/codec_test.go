package wire_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"crier.local/api"
	"crier.local/api/wire"
	"crier.local/api/wire/wirepb"
)

// encoded returns v as the codec has it.
func encoded(t *testing.T, v any) []byte {
	t.Helper()
	data, err := wire.Codec().Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	defer data.Free()
	return data.Materialize()
}

func TestCodec(t *testing.T) {
	if name := wire.Codec().Name(); name != "proto" {
		t.Errorf("the codec is called %q; a plain client asks for proto", name)
	}
	for name, body := range map[string]string{"small": "x", "large": strings.Repeat("x", 200_000)} {
		message := &wirepb.ClientBatch{Entries: []*wirepb.ClientEntry{invokeMessage(&wirepb.Invoke{Call: 1, Args: []byte(body)})}}
		entry := wire.ClientEntry{Kind: wire.Invoke, Call: 1, Args: []byte(body)}
		batch := wire.Batch{Data: wire.AppendClient(wire.GetBuffer(), &entry)}

		ours, theirs := encoded(t, &batch), encoded(t, message)
		var back wirepb.ClientBatch
		if err := wire.Codec().Unmarshal(mem.BufferSlice{mem.SliceBuffer(ours)}, &back); err != nil || !proto.Equal(&back, message) {
			t.Errorf("%s: protobuf does not read our batch: %v", name, err)
		}
		var received wire.Batch
		if err := wire.Codec().Unmarshal(mem.BufferSlice{mem.SliceBuffer(theirs)}, &received); err != nil {
			t.Fatal(err)
		}
		got, err := readClient(received.Data)
		if err != nil {
			t.Fatal(err)
		}
		same(t, name, got, []wire.ClientEntry{entry})
		if batch.Data != nil {
			t.Errorf("%s: the batch keeps what belongs to the stream now", name)
		}
	}
}

// A buffer is empty, whoever had it before.
func TestGetBufferIsEmpty(t *testing.T) {
	for range 3 {
		b := wire.GetBuffer()
		if len(b) != 0 || cap(b) < wire.BatchSize {
			t.Fatalf("%d of %d bytes", len(b), cap(b))
		}
		encoded(t, &wire.Batch{Data: append(b, strings.Repeat("x", wire.BatchSize)...)})
	}
}

func TestCheckMessage(t *testing.T) {
	for n, tooLarge := range map[int]bool{0: false, 1000: false, 1001: true} {
		if err := wire.CheckMessage(n, 1000); errors.Is(err, api.ErrTooLarge) != tooLarge {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

// A body that many streams share is not copied, and what arrives is the same.
func TestCodecWithTail(t *testing.T) {
	handles, body := []api.Handle{3, 70_001}, []byte(strings.Repeat("x", 100_000))
	bodies := wire.Bodies(nil).AppendHead(len(body))
	size := len(bodies) + len(body)
	want := wire.AppendProvider(nil, &wire.ProviderEntry{Kind: wire.Notification, Handles: handles, Bodies: wire.Bodies(nil).Append(body)})
	for name, head := range map[string][]byte{"pooled": wire.GetBuffer(), "small": nil} {
		batch := wire.Batch{Data: append(wire.AppendNotification(head, handles, size), bodies...), Tail: body}
		data, err := wire.Codec().Marshal(&batch)
		if err != nil {
			t.Fatal(err)
		}
		if got := data.Materialize(); !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, want %d", name, len(got), len(want))
		}
		if last := data[len(data)-1].ReadOnlyData(); &last[0] != &body[0] {
			t.Errorf("%s: the body was copied", name)
		}
		data.Free()
		if batch.Data != nil || batch.Tail != nil {
			t.Errorf("%s: the batch keeps what belongs to the stream now", name)
		}
	}
	if body[0] != 'x' || body[len(body)-1] != 'x' {
		t.Error("the body went into the pool")
	}
}
