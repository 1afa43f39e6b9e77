package notification_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"crier.local/api"
	"crier.local/client/notification"
	"crier.local/provider"
	service "crier.local/provider/notification"
)

// shortStall keeps tests short in which somebody is evicted, and is long enough
// for those who are not to be.
const shortStall = 2 * time.Second

// bulk is the size of the messages that fill queues.
const bulk = 16 << 10

// numbered returns a message of bulk that carries a number.
func numbered(n int) []byte {
	payload := make([]byte, bulk)
	copy(payload, fmt.Sprintf("%08d", n))
	return payload
}

// number returns the number of such a message.
func number(t testing.TB, e api.Event) int {
	t.Helper()
	var n int
	if _, err := fmt.Sscanf(string(e.Payload[:min(8, len(e.Payload))]), "%d", &n); err != nil || len(e.Payload) != bulk {
		t.Errorf("message of %d bytes: %v", len(e.Payload), err)
	}
	return n
}

// reader reads all the time, up to an empty message of one sender, whose numbered
// messages must come without a hole.
type reader struct {
	x     *notification.Connection
	heard int           // messages of the sender
	err   error         // why it ended
	over  chan struct{} // closed then
}

// read reads what x hears, of from alone.
func (w *world) read(x *notification.Connection, from string) *reader {
	r := &reader{x: x, over: make(chan struct{})}
	go func() {
		defer close(r.over)
		for e, err := range x.Events(w.ctx) {
			switch {
			case err != nil:
				r.err = err
			case e.Kind != api.KindMessage:
				w.t.Errorf("heard %v", e.Kind)
			case e.From != from:
			case len(e.Payload) == 0:
				return
			default:
				if n := number(w.t, e); n != r.heard {
					w.t.Errorf("message %d, want %d", n, r.heard)
				}
				r.heard++
			}
		}
	}()
	return r
}

// end waits for the reader, which must have heard so many.
func (r *reader) end(t *testing.T, messages int) {
	t.Helper()
	<-r.over
	if r.err != nil || r.heard != messages {
		t.Errorf("a reader heard %d messages, want %d; error %v", r.heard, messages, r.err)
	}
	r.x.Close() // it would keep others waiting
}

// TestAnswersFromReceiveLoops has two clients that answer each message with two,
// from the loop in which they receive, until they are told that queues are full.
// Neither dies of it.
func TestAnswersFromReceiveLoops(t *testing.T) {
	w := newWorld(t)
	w.serve(provider.Options{}, service.Options{Stall: shortStall})
	ctx, cancel := context.WithCancel(w.ctx)
	var loops, full sync.WaitGroup
	full.Add(2)
	talkers := []*notification.Connection{w.connect(api.Connect{}), w.connect(api.Connect{})}
	for _, x := range talkers {
		loops.Go(func() { answerUntilFull(ctx, t, x, full.Done) })
	}
	feeder := w.connect(api.Connect{SendOnly: true})
	loops.Go(func() {
		for ctx.Err() == nil { // so that there is always something to be answered
			if _, err := feeder.Send(ctx, nil); err != nil && ctx.Err() == nil {
				t.Errorf("feed: %v", err)
				return
			}
		}
	})
	full.Wait()
	cancel()
	loops.Wait()
	for _, x := range talkers {
		if _, err := x.Members(w.ctx); err != nil {
			t.Errorf("one has died of it: %v", err)
		}
	}
}

// answerUntilFull calls full when a send, or that of the other, has found queues
// full, and goes on to read.
func answerUntilFull(ctx context.Context, t *testing.T, x *notification.Connection, full func()) {
	const most = 5000 // far more than queues and windows hold
	payload := make([]byte, bulk)
	answers := 0
	for _, err := range x.Events(ctx) {
		if err != nil {
			if ctx.Err() == nil {
				t.Errorf("receive: %v", err)
			}
			break
		}
		for i := 0; i < 2 && answers < most; i++ {
			answers++
			_, err := x.Send(ctx, payload)
			if errors.Is(err, api.ErrFull) {
				t.Logf("answer %d found queues full", answers)
				answers = most
			} else if err != nil {
				t.Errorf("send: %v", err)
				answers = most
			}
			if answers == most {
				full()
			}
		}
	}
	if answers < most {
		full()
	}
}

// TestPublishersThatNeverRead has publishers that send much and take nothing,
// their own echo included. What a reader and a patient sender do goes on.
func TestPublishersThatNeverRead(t *testing.T) {
	for what, o := range map[string]api.Connect{
		"wait":          {},
		"wait and echo": {Echo: true},
		"gap":           {Overflow: api.OverflowGap, Echo: true},
		"send only":     {SendOnly: true},
	} {
		t.Run(what, func(t *testing.T) { testPublishersThatNeverRead(t, o) })
	}
}

func testPublishersThatNeverRead(t *testing.T, o api.Connect) {
	const publishers, messages = 2, 600 // more than queue and window hold
	w := newWorld(t)
	w.serve(provider.Options{}, service.Options{Stall: shortStall})
	sender := w.connect(api.Connect{SendOnly: true, Name: "sender"})
	reader := w.read(w.connect(api.Connect{}), sender.Name())
	var publish sync.WaitGroup
	for range publishers {
		x := w.connect(o)
		publish.Go(func() {
			for i := range messages {
				if err := x.Post(w.ctx, numbered(i)); err != nil {
					checkRefusal(t, err)
					return
				}
			}
			f, err := x.Flush(w.ctx)
			checkRefusal(t, err)
			checkRefusal(t, f.Err)
		})
	}
	for i := range messages {
		if _, err := sender.Send(w.ctx, numbered(i)); err != nil {
			t.Fatalf("send: %v", err)
		}
	}
	publish.Wait()
	w.send(sender, "")
	reader.end(t, messages)
}

// checkRefusal knows what may become of the posts of one who does not read.
func checkRefusal(t *testing.T, err error) {
	t.Helper()
	if err != nil && !errors.Is(err, api.ErrFull) && !errors.Is(err, api.ErrEvicted) {
		t.Errorf("publish: %v", err)
	}
}

// TestOneOfManyStalls has one process with many connections, of which one is
// never read.
func TestOneOfManyStalls(t *testing.T) {
	t.Run("wait", func(t *testing.T) {
		w, silent := testOneOfManyStalls(t, api.OverflowWait)
		for {
			e, err := silent.Receive(w.ctx)
			if err == nil && e.Kind == api.KindMessage {
				continue // what had arrived
			}
			if evicted := (*api.EvictedError)(nil); !errors.As(err, &evicted) || evicted.Reason != api.ReasonSlow {
				t.Errorf("the one that was not read: %v, %v, want evicted, slow", e.Kind, err)
			}
			return
		}
	})
	t.Run("gap", func(t *testing.T) {
		w, silent := testOneOfManyStalls(t, api.OverflowGap)
		next, gaps := 0, 0
		for _, e := range w.rest(silent) {
			if e.Kind == api.KindGap {
				gaps++
				next += int(e.Count)
				continue
			}
			if len(e.Payload) > 0 && number(t, e) != next {
				t.Fatalf("message %.8s, want %d", e.Payload, next)
			}
			next++
		}
		if gaps != 1 || next != floodOfOne+1 {
			t.Errorf("%d gaps, want 1; %d messages in all, want %d", gaps, next, floodOfOne+1)
		}
	})
}

const floodOfOne = 800

// testOneOfManyStalls floods the room, and returns the connection that is not
// read when the others have got everything.
func testOneOfManyStalls(t *testing.T, policy api.Overflow) (*world, *notification.Connection) {
	const connections = 20
	w := newWorld(t)
	w.serve(provider.Options{}, service.Options{Stall: shortStall})
	c := w.dial()
	silent := w.connectBy(c, api.Connect{Overflow: policy})
	sender := w.connect(api.Connect{SendOnly: true})
	var others []*reader
	for range connections {
		others = append(others, w.read(w.connectBy(c, api.Connect{}), sender.Name()))
	}
	for i := range floodOfOne {
		if _, err := sender.Send(w.ctx, numbered(i)); err != nil {
			t.Fatalf("send: %v", err)
		}
	}
	w.send(sender, "")
	for _, r := range others {
		r.end(t, floodOfOne)
	}
	return w, silent
}
