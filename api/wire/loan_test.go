package wire_test

import (
	"bytes"
	"testing"

	"google.golang.org/grpc/mem"

	"crier.local/api/wire"
)

// arrived returns a batch of n bytes x as the codec reads it, in pieces.
func arrived(t *testing.T, n int, borrow bool) *wire.Batch {
	t.Helper()
	b := &wire.Batch{Borrow: borrow, Loan: &wire.Loan{}} // of the one before
	data := bytes.Repeat([]byte{'x'}, n)
	parts := mem.BufferSlice{mem.SliceBuffer(data[:n/3]), mem.SliceBuffer(data[n/3:])}
	if err := wire.Codec().Unmarshal(parts, b); err != nil {
		t.Fatal(err)
	}
	clear(data)
	if !bytes.Equal(b.Data, bytes.Repeat([]byte{'x'}, n)) {
		t.Errorf("of %d bytes there are %d, or others", n, len(b.Data))
	}
	return b
}

func TestBatchesAreLent(t *testing.T) {
	for n, worth := range map[int]bool{0: false, 100: false, 8<<10 - 1: false, 8 << 10: true, wire.BatchSize: true, 1 << 20: false} {
		if b := arrived(t, n, true); (b.Loan != nil) != worth {
			t.Errorf("%d bytes: lent %v", n, b.Loan != nil)
		} else {
			b.Loan.Share()
			b.Loan.Repay()
			b.Loan.Repay()
		}
		if b := arrived(t, n, false); b.Loan != nil {
			t.Errorf("%d bytes are lent to one who did not ask", n)
		}
	}
}

// Memory that is lent is nobody else's until all have repaid.
func TestLoanIsHeldByAll(t *testing.T) {
	for range 20 {
		b := arrived(t, 20<<10, true)
		b.Loan.Share()
		b.Loan.Share()
		for range 2 {
			b.Loan.Repay()
			scribble(t)
			if !bytes.Equal(b.Data, bytes.Repeat([]byte{'x'}, 20<<10)) {
				t.Fatal("somebody else has the memory")
			}
		}
		b.Loan.Repay()
	}
}

// scribble uses some buffers up.
func scribble(t *testing.T) {
	for range 4 {
		encoded(t, &wire.Batch{Data: append(wire.GetBuffer(), make([]byte, wire.BatchSize)...)})
		arrived(t, 10<<10, true).Loan.Repay()
	}
}

// A tail is done with once all that refer to it are, and that is told once.
func TestSentIsToldOnce(t *testing.T) {
	told := 0
	tail := make([]byte, 20<<10)
	batch := wire.Batch{Data: wire.GetBuffer(), Tail: tail, Sent: func() { told++ }}
	data, err := wire.Codec().Marshal(&batch)
	if err != nil {
		t.Fatal(err)
	}
	data.Ref() // as a transport does
	if batch.Sent != nil || told != 0 {
		t.Errorf("told %d times before anything was sent", told)
	}
	if data.Free(); told != 0 {
		t.Error("told while it is being written")
	}
	if data.Free(); told != 1 {
		t.Errorf("told %d times", told)
	}
}

func TestSentIsToldByAPipe(t *testing.T) {
	client, provider, done := wire.Pipe(t.Context())
	defer done()
	told := 0
	tail := []byte("tail")
	if err := provider.Send(&wire.Batch{Data: []byte("data and "), Tail: tail, Sent: func() { told++ }}); err != nil || told != 1 {
		t.Fatalf("told %d times, %v", told, err)
	}
	clear(tail) // it may be used again
	b := wire.Batch{Borrow: true}
	if err := client.Recv(&b); err != nil || string(b.Data) != "data and tail" || b.Loan != nil {
		t.Errorf("received %q, lent %v, %v", b.Data, b.Loan, err)
	}
}

// A pipe lends what is worth it, as a socket does, to those who ask.
func TestPipeLends(t *testing.T) {
	client, provider, done := wire.Pipe(t.Context())
	defer done()
	for _, n := range []int{100, 8<<10 - 1, 8 << 10, wire.BatchSize, 1 << 20} {
		for _, borrow := range []bool{false, true} {
			want := bytes.Repeat([]byte{'x'}, n)
			if err := provider.Send(&wire.Batch{Data: append(wire.GetBuffer(), want...)}); err != nil {
				t.Fatal(err)
			}
			b := wire.Batch{Borrow: borrow, Loan: &wire.Loan{}}
			if err := client.Recv(&b); err != nil {
				t.Fatal(err)
			}
			if b.Loan != nil && (!borrow || n < 8<<10) {
				t.Errorf("%d bytes are lent", n)
			}
			for range 2 {
				if !bytes.Equal(b.Data, want) {
					t.Fatalf("of %d bytes there are %d, or others", n, len(b.Data))
				}
				scribble(t) // it is nobody else's
			}
			b.Loan.Repay()
		}
	}
}
