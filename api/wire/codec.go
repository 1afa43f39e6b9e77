package wire

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // the fallback
	"google.golang.org/grpc/mem"

	"crier.local/api"
)

// Batch is an encoded ClientBatch or ProviderBatch: what one write carries.
type Batch struct {
	// Data belongs to the stream once the batch is sent, and to the reader once
	// it is received.
	Data []byte
	// Tail follows Data in a batch that is sent. It is not copied, so that many
	// streams can send it at once, and must not change. Nothing is received here.
	Tail []byte
	// Sent, if it is set, is called when Tail is not needed any more. It may never
	// be, when the stream ends.
	Sent func()
	// Borrow lets Recv lend Data from a pool, if it is worth it: then Loan is set, and
	// the reader repays it. Else Loan is nil.
	Borrow bool
	Loan   *Loan
}

// Loan is memory of a pool. It goes back there once all who share it have repaid,
// or to the garbage collector if somebody never does. A nil loan is none: its
// methods do nothing.
type Loan struct {
	data []byte
	open atomic.Int32
}

// Share adds one who has to repay.
func (l *Loan) Share() {
	if l != nil {
		l.open.Add(1)
	}
}

// Repay says that one of those who share the loan is done with the memory.
func (l *Loan) Repay() {
	if l != nil && l.open.Add(-1) == 0 {
		batchPool{}.Put(&l.data)
	}
}

// BatchSize is how many bytes a writer puts into a batch before it sends it;
// only a single larger entry makes a larger batch.
const BatchSize = 64 << 10

// Codec is gRPC's proto codec, but for batches, which it passes through as they
// are. It is forced onto Crier's own servers and clients, never registered,
// since that would replace the codec of the whole program.
func Codec() encoding.CodecV2 { return codec{encoding.GetCodecV2("proto")} }

type codec struct{ encoding.CodecV2 }

func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	b, ok := v.(*Batch)
	if !ok {
		return c.CodecV2.Marshal(v)
	}
	data, tail, sent := b.Data, b.Tail, b.Sent
	b.Data, b.Tail, b.Sent = nil, nil, nil
	if len(tail) == 0 {
		return mem.BufferSlice{pooled(data, batchPool{})}, nil
	}
	if sent == nil {
		return mem.BufferSlice{pooled(data, batchPool{}), mem.SliceBuffer(tail)}, nil
	}
	return mem.BufferSlice{pooled(data, batchPool{}), pooled(tail, teller{sent})}, nil
}

// pooled is mem.NewBuffer, but that a small buffer costs no pointer to it.
func pooled(b []byte, pool mem.BufferPool) mem.Buffer {
	if mem.IsBelowBufferPoolingThreshold(cap(b)) {
		return mem.SliceBuffer(b)
	}
	large := b
	return mem.NewBuffer(&large, pool)
}

// teller is a pool that only tells when it gets something back. The buffer must
// not be a small one, which none gets back.
type teller struct{ sent func() }

func (t teller) Get(int) *[]byte { panic("wire: nothing is taken from here") }
func (t teller) Put(*[]byte)     { t.sent() }

func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	b, ok := v.(*Batch)
	if !ok {
		return c.CodecV2.Unmarshal(data, v)
	}
	var room [16][]byte
	parts := room[:0]
	for _, part := range data {
		parts = append(parts, part.ReadOnlyData())
	}
	b.Loan = nil
	if n := data.Len(); b.Borrow && n >= minLent && n <= BatchSize+BatchSize/4 {
		b.Data = GetBuffer()
		for _, part := range parts {
			b.Data = append(b.Data, part...)
		}
		b.Loan = &Loan{data: b.Data}
		b.Loan.Share()
		return nil
	}
	b.Data = bytes.Join(parts, nil) // which, unlike Materialize, does not zero what it fills
	return nil
}

// minLent is from how many bytes on a batch is lent. Less does not deserve a
// buffer of a whole batch's size.
const minLent = 8 << 10

// GetBuffer returns an empty buffer for a batch to be sent. It comes back to the
// pool when the batch has been written.
func GetBuffer() []byte { return (*batchPool{}.Get(BatchSize))[:0] }

var buffers = sync.Pool{New: func() any { b := make([]byte, 0, BatchSize+BatchSize/4); return &b }}

// batchPool implements mem.BufferPool without gRPC's zeroing. A buffer that grew
// far over a batch's size is left to the garbage collector.
type batchPool struct{}

func (batchPool) Get(int) *[]byte { return buffers.Get().(*[]byte) }

func (batchPool) Put(b *[]byte) {
	if cap(*b) <= 4*BatchSize && cap(*b) >= BatchSize {
		buffers.Put(b)
	}
}

// valid returns s with invalid UTF-8 replaced, as protobuf's strings demand.
func valid(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

// CheckMessage returns an error if a message of n bytes is over limit.
func CheckMessage(n, limit int) error {
	if n <= limit {
		return nil
	}
	return fmt.Errorf("%w: %d bytes, the limit is %d", api.ErrTooLarge, n, limit)
}
