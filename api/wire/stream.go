package wire

import (
	"bytes"
	"context"
	"io"
	"sync"
)

// Stream is one side of an attachment. Send and Recv may each be called by one
// goroutine at a time, and end with an error when the stream does; Recv returns
// io.EOF when the other side ended it in order.
type Stream interface {
	// Send hands over a batch; its data belongs to the stream from then on. It
	// blocks while the other side does not read.
	Send(*Batch) error
	// Recv fills in the next batch; its data belongs to the caller.
	Recv(*Batch) error
}

// Transport attaches to a provider. The stream lives until its context ends or
// the provider ends it.
type Transport interface {
	Attach(ctx context.Context) (Stream, error)
}

// pipeDepth is how many batches an in-process stream holds in each direction.
const pipeDepth = 16

// Pipe returns the two ends of a stream inside one process. The client's end
// finishes when ctx does, the provider's when done is called; either is the end
// of the other.
func Pipe(ctx context.Context) (client, provider Stream, done func()) {
	up, down := make(chan []byte, pipeDepth), make(chan []byte, pipeDepth)
	over := make(chan struct{})
	done = sync.OnceFunc(func() { close(over) })
	client = &pipe{out: up, in: down, self: ctx.Done(), other: over}
	provider = &pipe{out: down, in: up, self: over, other: ctx.Done()}
	return client, provider, done
}

type pipe struct {
	out, in     chan []byte
	self, other <-chan struct{} // closed when this end, or the other one, is over
}

func (p *pipe) Send(b *Batch) error {
	select {
	case <-p.self:
		return io.ErrClosedPipe
	case <-p.other:
		return io.EOF
	default:
	}
	select {
	case p.out <- append(b.Data, b.Tail...): // what is received belongs to the receiver
		if b.Sent != nil {
			b.Sent()
		}
		b.Data, b.Tail, b.Sent = nil, nil, nil
		return nil
	case <-p.self:
		return io.ErrClosedPipe
	case <-p.other:
		return io.EOF
	}
}

func (p *pipe) Recv(b *Batch) error {
	data, err := p.next()
	if err != nil {
		return err
	}
	b.Data, b.Loan = data, nil
	switch {
	case !b.Borrow:
	case len(data) >= minLent:
		b.Loan = &Loan{data: data}
		b.Loan.Share()
	default:
		b.Data = bytes.Clone(data)
		batchPool{}.Put(&data)
	}
	return nil
}

// next returns the next batch.
func (p *pipe) next() ([]byte, error) {
	select {
	case data := <-p.in:
		return data, nil
	default:
	}
	select {
	case data := <-p.in:
		return data, nil
	case <-p.self:
		return nil, io.ErrClosedPipe
	case <-p.other:
	}
	select { // what was sent before the end still counts
	case data := <-p.in:
		return data, nil
	default:
		return nil, io.EOF
	}
}
