package provider_test

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"

	"crier.local/api"
	"crier.local/api/wire"
	"crier.local/api/wire/wirepb"
)

// intruder is a peer that writes HTTP/2 frame by frame, as it likes.
type intruder struct {
	s      *siege
	conn   net.Conn
	out    *bufio.Writer
	frames *http2.Framer
	block  bytes.Buffer
	hpack  *hpack.Encoder
	begin  time.Time
	over   chan struct{} // closed when the provider has ended the connection

	mu       sync.Mutex
	answers  map[string]int // how often a stream was answered with what
	goodbye  string         // of GOAWAY
	took     time.Duration  // until over
	window   int64          // that the connection has left
	opened   chan struct{}  // closed and replaced when the window grows
	received int            // bytes of data
}

// intrude connects and greets as HTTP/2 demands. What comes back is read all
// the time if reads is true, else never.
func (s *siege) intrude(reads bool) *intruder {
	s.t.Helper()
	conn := s.dial()
	i := &intruder{
		s: s, conn: conn, out: bufio.NewWriterSize(conn, 64<<10), begin: time.Now(), over: make(chan struct{}),
		answers: map[string]int{}, window: 65535, opened: make(chan struct{}),
	}
	i.frames = http2.NewFramer(i.out, bufio.NewReaderSize(conn, 64<<10))
	i.frames.AllowIllegalWrites = true
	i.frames.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	i.hpack = hpack.NewEncoder(&i.block)
	if reads {
		go i.listen()
	}
	i.out.WriteString(http2.ClientPreface)
	i.frames.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20})
	i.flush()
	return i
}

// flush reports whether the provider still takes something.
func (i *intruder) flush() bool { return i.out.Flush() == nil }

// listen notes what the provider answers.
func (i *intruder) listen() {
	defer close(i.over)
	for {
		frame, err := i.frames.ReadFrame()
		i.mu.Lock()
		switch f := frame.(type) {
		case *http2.GoAwayFrame:
			i.goodbye = strings.TrimSpace(f.ErrCode.String() + " " + string(f.DebugData()))
		case *http2.RSTStreamFrame:
			i.answers[f.ErrCode.String()]++
		case *http2.MetaHeadersFrame:
			i.hearHeaders(f)
		case *http2.WindowUpdateFrame:
			i.openWindow(f)
		case *http2.DataFrame:
			i.received += len(f.Data())
		}
		i.took = time.Since(i.begin)
		i.mu.Unlock()
		var wrong http2.StreamError
		if err != nil && !errors.As(err, &wrong) {
			i.conn.Close()
			return
		}
	}
}

func (i *intruder) hearHeaders(f *http2.MetaHeadersFrame) {
	for _, field := range f.RegularFields() {
		if field.Name == "grpc-status" {
			i.answers["grpc-status "+field.Value]++
		}
	}
}

func (i *intruder) openWindow(f *http2.WindowUpdateFrame) {
	if f.StreamID == 0 {
		i.window += int64(f.Increment)
		close(i.opened)
		i.opened = make(chan struct{})
	}
}

// take waits until n bytes may be sent over the connection; false when it is over.
func (i *intruder) take(n int64) bool {
	for {
		i.mu.Lock()
		opened, left := i.opened, i.window
		if left >= n {
			i.window -= n
		}
		i.mu.Unlock()
		if left >= n {
			return true
		}
		i.flush()
		select {
		case <-opened:
		case <-i.over:
			return false
		case <-time.After(endurance):
			return false
		}
	}
}

// fields encodes a header list.
func (i *intruder) fields(pairs ...string) []byte {
	i.block.Reset()
	for n := 0; n < len(pairs); n += 2 {
		i.hpack.WriteField(hpack.HeaderField{Name: pairs[n], Value: pairs[n+1]})
	}
	return bytes.Clone(i.block.Bytes())
}

// call is the header list of a call, and more.
func (i *intruder) call(path string, more ...string) []byte {
	return i.fields(append([]string{
		":method", "POST", ":scheme", "http", ":path", path, ":authority", "x",
		"content-type", "application/grpc", "te", "trailers",
	}, more...)...)
}

// open begins a stream that calls path.
func (i *intruder) open(stream uint32, path string) error {
	return i.frames.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: i.call(path), EndHeaders: true})
}

// attach begins a stream and says hello on it.
func (i *intruder) attach(stream uint32) {
	i.open(stream, wirepb.Crier_Attach_FullMethodName)
	data := message(hello())
	i.take(int64(len(data)))
	i.frames.WriteData(stream, false, data)
	i.flush()
}

// flood writes until it has been done often enough, or the provider has had
// enough, and returns how often that was.
func (i *intruder) flood(times int, write func(n int) error) (n int) {
	for n = range times {
		if write(n) != nil {
			return n
		}
		select {
		case <-i.over:
			return n
		default:
		}
	}
	i.flush()
	return times
}

// ended waits for the end of the connection, and says how it came.
func (i *intruder) ended() string {
	i.s.t.Helper()
	i.flush()
	select {
	case <-i.over:
	case <-time.After(endurance):
		i.s.t.Error("the provider does not end the connection")
	}
	return i.heard()
}

// heard says what the provider answered so far.
func (i *intruder) heard() string {
	i.mu.Lock()
	defer i.mu.Unlock()
	text := fmt.Sprintf("in %s", i.took.Round(time.Millisecond))
	for answer, n := range i.answers {
		text += fmt.Sprintf(", %d × %s", n, answer)
	}
	if i.received > 0 {
		text += fmt.Sprintf(", %d bytes of data", i.received)
	}
	if i.goodbye != "" {
		text += ", GOAWAY " + i.goodbye
	}
	return text
}

// close ends the connection from this side.
func (i *intruder) close() { i.conn.Close() }

// message is a gRPC message that holds data.
func message(data []byte) []byte { return claimed(0, uint32(len(data)), data) }

// claimed is a gRPC message that claims to be of some length.
func claimed(flag byte, length uint32, data []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{flag}, length), data...)
}

// hello is the greeting of a new client.
func hello() []byte {
	e := wire.ClientEntry{Kind: wire.Hello, Version: api.WireVersion}
	rand.Read(e.Instance[:])
	return wire.AppendClient(nil, &e)
}

// drain reads a connection to its end, and says how long it took and what came.
func (s *siege) drain(conn net.Conn) string {
	s.t.Helper()
	begin := time.Now()
	conn.SetReadDeadline(begin.Add(endurance))
	heard, err := io.ReadAll(conn)
	if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
		s.t.Error("the provider does not end the connection")
	}
	return fmt.Sprintf("ended in %s after %d bytes", time.Since(begin).Round(time.Millisecond), len(heard))
}

// rawStream is an attachment whose batches are made by hand.
type rawStream struct {
	t    *testing.T
	conn *grpc.ClientConn
	grpc grpc.ClientStream
}

// send writes a batch.
func (r *rawStream) send(batch []byte) error {
	return r.grpc.SendMsg(&wire.Batch{Data: bytes.Clone(batch)})
}

// write writes entries as one batch.
func (r *rawStream) write(entries ...wire.ClientEntry) {
	r.t.Helper()
	var b []byte
	for n := range entries {
		b = wire.AppendClient(b, &entries[n])
	}
	if err := r.send(b); err != nil {
		r.t.Fatal(err)
	}
}

// read returns the entries of the next batch, with notifications one by one in
// Body. They are good for ever.
func (r *rawStream) read() (all []wire.ProviderEntry, err error) {
	var b wire.Batch
	if err := r.grpc.RecvMsg(&b); err != nil {
		return nil, err
	}
	reader := wire.NewReader(b.Data)
	for {
		var e wire.ProviderEntry
		more, err := reader.NextProvider(&e)
		if !more || err != nil {
			return all, err
		}
		for body, ok := e.Bodies.Next(); ok; body, ok = e.Bodies.Next() {
			one := e
			one.Bodies, one.Body = nil, body
			all = append(all, one)
		}
		if e.Kind != wire.Notification {
			all = append(all, e)
		}
	}
}

// greet says hello and waits for the welcome.
func (r *rawStream) greet() {
	r.t.Helper()
	if err := r.send(hello()); err != nil {
		r.t.Fatal(err)
	}
	r.find("a welcome", func(e *wire.ProviderEntry) bool { return e.Kind == wire.Welcome })
}

// find reads until an entry fits; others are thrown away.
func (r *rawStream) find(what string, fits func(*wire.ProviderEntry) bool) wire.ProviderEntry {
	r.t.Helper()
	for {
		entries, err := r.read()
		if err != nil {
			r.t.Fatalf("in vain for %s: %v", what, err)
		}
		for n := range entries {
			if fits(&entries[n]) {
				return entries[n]
			}
		}
	}
}

// ask sends an entry with a call number and returns its reply.
func (r *rawStream) ask(e wire.ClientEntry) wire.ProviderEntry {
	r.t.Helper()
	r.write(e)
	return r.find(fmt.Sprintf("the reply to call %d", e.Call), func(got *wire.ProviderEntry) bool {
		return (got.Kind == wire.Reply || got.Kind == wire.Opened) && got.Call == e.Call
	})
}

// unwelcome waits for the end of a stream that has not said hello.
func (r *rawStream) unwelcome() {
	r.t.Helper()
	for {
		entries, err := r.read()
		if err != nil {
			return
		}
		for _, e := range entries {
			if e.Kind != wire.Farewell {
				r.t.Errorf("without a hello there is an entry of kind %d", e.Kind)
			}
		}
	}
}

// farewell reads to the end of the stream, which a farewell has to precede.
func (r *rawStream) farewell() wire.ProviderEntry {
	r.t.Helper()
	var last wire.ProviderEntry
	for {
		entries, err := r.read()
		if err != nil {
			if last.Kind != wire.Farewell {
				r.t.Errorf("no farewell before the end: %v", err)
			}
			return last
		}
		for _, e := range entries {
			last = e
		}
		if last.Kind == wire.Farewell {
			r.grpc.CloseSend()
		}
	}
}
