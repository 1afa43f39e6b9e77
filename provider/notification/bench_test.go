package notification

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"crier.local/api"
	"crier.local/api/wire"
	"crier.local/provider"
)

// BenchmarkFanout is one publisher that posts 128 bytes at a time to so many
// processes, over the transport inside the process; an operation is a message.
func BenchmarkFanout(b *testing.B) {
	for _, receivers := range []int{1, 10, 100} {
		b.Run(fmt.Sprint(receivers), func(b *testing.B) { benchmarkFanout(b, receivers) })
	}
}

func benchmarkFanout(b *testing.B, receivers int) {
	p := provider.New(provider.Options{})
	defer p.Close()
	if _, err := Register(p, Options{}, provider.ServiceOptions{}); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	var done sync.WaitGroup
	for i := range receivers {
		r := newRunner(b, p, api.Connect{}, byte(i+2))
		done.Go(func() { r.receive(b.N) })
	}
	s := newRunner(b, p, api.Connect{SendOnly: true}, 1)
	b.ResetTimer()
	s.post(b.N, make([]byte, 128))
	done.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N*receivers)/b.Elapsed().Seconds(), "deliveries/s")
}

// runner is a process of a benchmark, with one connection.
type runner struct {
	b       *testing.B
	stream  wire.Stream
	session api.SessionID
	handle  api.Handle
	credit  int
	batch   wire.Batch
	reader  wire.Reader
}

func newRunner(b *testing.B, p *provider.Provider, c api.Connect, instance byte) *runner {
	ctx, cancel := context.WithCancel(context.Background())
	b.Cleanup(cancel)
	stream, err := p.Local().Attach(ctx)
	if err != nil {
		b.Fatal(err)
	}
	r := &runner{b: b, stream: stream}
	r.write(wire.ClientEntry{Kind: wire.Hello, Version: api.WireVersion, Instance: api.InstanceID{instance}})
	r.write(wire.ClientEntry{Kind: wire.Open, Call: 1, Selector: api.NotificationSelector})
	r.session = r.await(wire.Opened).Session
	r.write(wire.ClientEntry{Kind: wire.Invoke, Call: 2, Session: r.session, Args: wire.EncodeConnect(c)})
	reply := r.await(wire.Reply)
	r.handle, r.credit = reply.Handle, int(reply.SendWindow)
	return r
}

func (r *runner) write(entries ...wire.ClientEntry) {
	b := wire.GetBuffer()
	for i := range entries {
		b = wire.AppendClient(b, &entries[i])
	}
	if err := r.stream.Send(&wire.Batch{Data: b}); err != nil {
		r.b.Error(err)
	}
}

// next returns the next entry.
func (r *runner) next(e *wire.ProviderEntry) {
	for {
		more, err := r.reader.NextProvider(e)
		if more {
			return
		}
		if err == nil {
			err = r.stream.Recv(&r.batch)
		}
		if err != nil {
			r.b.Error(err)
			return
		}
		r.reader = wire.NewReader(r.batch.Data)
	}
}

func (r *runner) await(kind wire.ProviderKind) wire.ProviderEntry {
	for {
		var e wire.ProviderEntry
		if r.next(&e); e.Kind == kind || r.b.Failed() {
			return e
		}
	}
}

// receive takes n messages, and returns credit at half a window.
func (r *runner) receive(n int) {
	var e wire.ProviderEntry
	for taken := 0; n > 0 && !r.b.Failed(); {
		r.next(&e)
		for body, ok := e.Bodies.Next(); ok; body, ok = e.Bodies.Next() {
			taken += api.Charge(len(body))
			n--
		}
		if taken >= 512<<10 {
			r.write(wire.ClientEntry{Kind: wire.GrantCredit, Handle: r.handle, Bytes: uint32(taken)})
			taken = 0
		}
	}
}

// post sends n messages, as many in a batch as fit.
func (r *runner) post(n int, payload []byte) {
	message := wire.ClientEntry{Kind: wire.Invoke, Session: r.session, Handle: r.handle, Method: api.MethodSend, Args: payload}
	for n > 0 && !r.b.Failed() {
		b := wire.GetBuffer()
		for ; n > 0 && r.credit > 0 && len(b) < wire.BatchSize; n-- {
			b = wire.AppendClient(b, &message)
			r.credit -= api.Charge(len(payload))
		}
		if len(b) > 0 {
			if err := r.stream.Send(&wire.Batch{Data: b}); err != nil {
				r.b.Error(err)
			}
		}
		for r.credit <= 0 && n > 0 && !r.b.Failed() {
			posted := r.await(wire.Posted)
			if posted.Refused > 0 {
				r.b.Errorf("%d refused: %v", posted.Refused, posted.Failure.Err())
			}
			r.credit += int(posted.Bytes)
		}
	}
}
