package notification_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"crier.local/api"
	"crier.local/api/wire"
	"crier.local/api/wire/wirepb"
	"crier.local/provider"
	service "crier.local/provider/notification"
)

func TestMessageSizes(t *testing.T) {
	for name, limits := range map[string]provider.Limits{
		"default": {},
		"small":   {Message: 1000},
	} {
		t.Run(name, func(t *testing.T) { testMessageSizes(t, limits) })
	}
}

func testMessageSizes(t *testing.T, limits provider.Limits) {
	w := newWorld(t)
	w.serve(provider.Options{Limits: limits}, service.Options{})
	limit := w.provider.Limits().Message
	receiver := w.connect(api.Connect{Name: "receiver"})
	x := w.connect(api.Connect{SendOnly: true})
	if got := w.clients[1].Provider().MaxMessage; got != limit {
		t.Errorf("the client knows of the limit %d, want %d", got, limit)
	}
	ways := map[string]func([]byte) error{
		"send": func(b []byte) error {
			_, err := x.Send(w.ctx, b)
			return err
		},
		"post": func(b []byte) error {
			if err := x.Post(w.ctx, b); err != nil {
				return err
			}
			f, err := x.Flush(w.ctx)
			return errors.Join(f.Err, err)
		},
		"send to": func(b []byte) error {
			_, err := x.SendTo(w.ctx, "receiver", b)
			return err
		},
	}
	for way, send := range ways {
		for _, tc := range []struct {
			size int
			want error
		}{{0, nil}, {1, nil}, {limit - 1, nil}, {limit + 1, api.ErrTooLarge}, {limit, nil}} {
			payload := pattern(tc.size)
			if err := send(payload); !errors.Is(err, tc.want) {
				t.Errorf("%s %d bytes: %v, want %v", way, tc.size, err, tc.want)
				continue
			}
			if tc.want != nil {
				continue
			}
			if e := w.next(receiver); !bytes.Equal(e.Payload, payload) {
				t.Errorf("%s: of %d bytes %d came, or others", way, tc.size, len(e.Payload))
			}
		}
	}
}

// pattern returns bytes that are not all alike.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i ^ i>>8)
	}
	return b
}

// TestRawSizes speaks the protocol without the library, which would not send
// what is too large.
func TestRawSizes(t *testing.T) {
	w := newWorld(t)
	w.serve(provider.Options{}, service.Options{})
	limits := w.provider.Limits()
	receiver := w.connect(api.Connect{})
	raw := greet(w)
	defer raw.close()
	handle := raw.connect("")
	for _, tc := range []struct {
		size int
		want error
	}{
		{limits.Message, nil},
		{limits.Message + 1, api.ErrTooLarge},
		{limits.HardTop, api.ErrTooLarge},
		{1, nil},
	} {
		reply, err := raw.ask(wire.ClientEntry{
			Kind: wire.Invoke, Session: raw.session, Handle: handle, Method: api.MethodSend, Args: make([]byte, tc.size),
		})
		if err != nil {
			t.Fatalf("%d bytes ended the stream: %v", tc.size, err)
		}
		if err := reply.Failure.Err(); !errors.Is(err, tc.want) {
			t.Errorf("%d bytes: %v, want %v", tc.size, err, tc.want)
		}
		if tc.want == nil {
			if e := w.next(receiver); len(e.Payload) != tc.size {
				t.Errorf("%d bytes came, want %d", len(e.Payload), tc.size)
			}
		}
	}
	_, err := raw.ask(wire.ClientEntry{
		Kind: wire.Invoke, Session: raw.session, Handle: handle, Method: api.MethodSend, Args: make([]byte, limits.HardTop+1),
	})
	if err == nil {
		t.Error("a message over the hard top did not end its stream")
	}
	t.Logf("over the hard top: %v", err)
	if got := w.rest(receiver); len(got) > 0 {
		t.Errorf("others heard %d events", len(got))
	}
}

// TestMalformed has strangers write what is no batch, or makes no sense. Each
// ends its own stream, and nobody else notices.
func TestMalformed(t *testing.T) {
	w := newWorld(t)
	w.serve(provider.Options{}, service.Options{})
	witness := w.connect(api.Connect{Presence: true})
	for name, write := range map[string]func(session api.SessionID, h api.Handle) []byte{
		"no protobuf":     func(api.SessionID, api.Handle) []byte { return []byte{0x0a, 0xff} },
		"cut short":       func(api.SessionID, api.Handle) []byte { return []byte{0x0a, 0x05, 0x1a} },
		"unknown entry":   func(api.SessionID, api.Handle) []byte { return []byte{0x0a, 0x02, 0x7a, 0x00} },
		"hello again":     entry(wire.ClientEntry{Kind: wire.Hello, Version: api.WireVersion}),
		"post to nobody":  entry(wire.ClientEntry{Kind: wire.Invoke}),
		"credit not owed": entry(wire.ClientEntry{Kind: wire.GrantCredit, Bytes: 1}),
	} {
		raw := greet(w)
		handle := raw.connect(name)
		raw.write(write(raw.session, handle))
		e, err := raw.read()
		for err == nil && e.Kind != wire.Farewell {
			e, err = raw.read()
		}
		if err != nil || e.Failure.Text == "" {
			t.Errorf("%s: %+v, %v; want a farewell with words", name, e, err)
		}
		raw.close()
		events := w.until(witness, func(e api.Event) bool { return e.Kind == api.KindLeft })
		if e := events[len(events)-1]; e.From != name || e.Reason != api.ReasonLimit {
			t.Errorf("%s: %s left because it %v, want limit", name, e.From, e.Reason)
		}
	}
}

// entry returns what writes e for a session and a handle.
func entry(e wire.ClientEntry) func(api.SessionID, api.Handle) []byte {
	return func(session api.SessionID, h api.Handle) []byte {
		if e.Kind == wire.GrantCredit {
			e.Handle = h
		}
		e.Session = session
		return wire.AppendClient(nil, &e)
	}
}

// raw is a client that speaks the protocol word by word.
type raw struct {
	w       *world
	conn    *grpc.ClientConn
	stream  grpc.ClientStream
	reader  wire.Reader
	calls   uint32
	session api.SessionID
}

// greet attaches a raw client and opens a session.
func greet(w *world) *raw {
	w.t.Helper()
	conn, err := grpc.NewClient(w.address.String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		w.t.Fatal(err)
	}
	stream, err := conn.NewStream(w.ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true},
		wirepb.Crier_Attach_FullMethodName, grpc.ForceCodecV2(wire.Codec()), grpc.MaxCallRecvMsgSize(32<<20))
	if err != nil {
		w.t.Fatal(err)
	}
	r := &raw{w: w, conn: conn, stream: stream}
	r.write(wire.AppendClient(nil, &wire.ClientEntry{Kind: wire.Hello, Version: api.WireVersion}))
	if e, err := r.read(); err != nil || e.Kind != wire.Welcome {
		w.t.Fatalf("hello: %+v, %v", e, err)
	}
	opened, err := r.ask(wire.ClientEntry{Kind: wire.Open, Selector: api.NotificationSelector})
	if err != nil || opened.Session == 0 {
		w.t.Fatalf("open: %+v, %v", opened, err)
	}
	r.session = opened.Session
	return r
}

func (r *raw) close() { r.conn.Close() }

// connect makes a connection in the lobby.
func (r *raw) connect(name string) api.Handle {
	r.w.t.Helper()
	reply, err := r.ask(wire.ClientEntry{
		Kind: wire.Invoke, Session: r.session, Method: api.MethodConnect,
		Args: wire.EncodeConnect(api.Connect{Room: api.DefaultRoom, Name: name}),
	})
	if err != nil || reply.Handle == 0 {
		r.w.t.Fatalf("connect: %+v, %v", reply, err)
	}
	return reply.Handle
}

// ask sends a call and returns the answer to it, or why the stream ended.
func (r *raw) ask(e wire.ClientEntry) (wire.ProviderEntry, error) {
	r.calls++
	e.Call = r.calls
	r.write(wire.AppendClient(nil, &e))
	for {
		answer, err := r.read()
		if err != nil {
			return answer, err
		}
		switch {
		case answer.Kind == wire.Farewell:
			return answer, fmt.Errorf("farewell: %v: %s", answer.Reason, answer.Failure.Text)
		case answer.Call == r.calls:
			return answer, nil
		}
	}
}

// write sends a batch. If the stream is over, reading tells.
func (r *raw) write(data []byte) { _ = r.stream.SendMsg(&wire.Batch{Data: data}) }

// read returns the next entry.
func (r *raw) read() (wire.ProviderEntry, error) {
	for {
		var e wire.ProviderEntry
		if more, err := r.reader.NextProvider(&e); more || err != nil {
			return e, err
		}
		var b wire.Batch
		if err := r.stream.RecvMsg(&b); err != nil {
			return e, err
		}
		r.reader = wire.NewReader(b.Data)
	}
}
