package notification_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"crier.local/api"
	"crier.local/client"
	"crier.local/client/notification"
	service "crier.local/provider/notification"
)

// TestProviderKilled kills the provider while everybody talks, and starts it anew.
func TestProviderKilled(t *testing.T) {
	const room, senders, receivers = "load", 4, 2
	w := newWorld(t)
	w.spawn(service.DefaultStall)
	former := w.dial().Provider().Epoch

	var load load
	load.warm = make(chan struct{}, 2*receivers)
	load.again = make(chan struct{}, 2*receivers)
	var talk sync.WaitGroup
	heard := make([][]api.Event, receivers)
	for i := range receivers {
		x := w.connect(api.Connect{Room: room})
		talk.Go(func() { heard[i] = load.receive(w, x, senders) })
	}
	for i := range senders {
		x := w.connect(api.Connect{Room: room, SendOnly: true})
		talk.Go(func() { load.send(w, x, fmt.Sprint("s", i)) })
	}
	outstanding := parkSend(w)
	for range receivers {
		<-load.warm
	}

	w.process.kill()
	if err := <-outstanding; !errors.Is(err, api.ErrOutcomeUnknown) {
		t.Errorf("a send that was outstanding: %v, want outcome unknown", err)
	}
	w.spawn(service.DefaultStall)
	for range receivers {
		<-load.again
	}
	load.restarted.Store(true)
	talk.Wait()
	now := w.dial().Provider().Epoch
	for _, events := range heard {
		load.check(t, events, former, now)
	}
	t.Logf("%d messages had a receipt, the outcome of %d is unknown", load.admitted.Load(), load.unknown.Load())
}

// parkSend sends to one who does not read until a send waits, and returns where
// its error will be.
func parkSend(w *world) <-chan error {
	w.t.Helper()
	const room = "stuck"
	w.connect(api.Connect{Room: room})
	x := w.connect(api.Connect{Room: room, SendOnly: true})
	result := make(chan error, 1)
	go func() {
		payload := make([]byte, 512<<10)
		for {
			if _, err := x.Send(w.ctx, payload); err != nil {
				result <- err
				return
			}
		}
	}()
	c := w.dial()
	w.poll(func() bool {
		seats, err := c.Who(w.ctx, room)
		for _, s := range seats {
			if s.Parked > 0 {
				return true
			}
		}
		return err != nil
	})
	return result
}

// load is talk in a room while its provider comes and goes.
type load struct {
	warm, again       chan struct{} // a word of each receiver: it hears well; it is back
	restarted         atomic.Bool   // all receivers are back
	admitted, unknown atomic.Int64
}

// How many messages make a receiver warm, and how many each sender sends after
// the restart.
const (
	warmth = 500
	encore = 300
)

// send sends numbered messages until the last of the encore, which is told by
// "sure" in it.
func (l *load) send(w *world, x *notification.Connection, name string) {
	sure := 0
	for n := 0; sure < encore; n++ {
		payload := fmt.Sprintf("%s %d", name, n)
		if l.restarted.Load() {
			sure++
			payload += fmt.Sprint(" sure ", sure)
		}
		switch _, err := x.Send(w.ctx, []byte(payload)); {
		case err == nil:
			l.admitted.Add(1)
		case errors.Is(err, api.ErrOutcomeUnknown) && sure == 0:
			l.unknown.Add(1)
		default:
			w.t.Errorf("send %q: %v", payload, err)
			return
		}
	}
}

// receive returns what x hears until all senders have sent their last.
func (l *load) receive(w *world, x *notification.Connection, senders int) []api.Event {
	var events []api.Event
	for over := 0; over < senders; {
		e, err := x.Receive(w.ctx)
		if err != nil {
			w.t.Errorf("receive: %v", err)
			l.warm <- struct{}{}
			l.again <- struct{}{}
			return events
		}
		if events = append(events, e); len(events) == warmth {
			l.warm <- struct{}{}
		}
		switch {
		case e.Kind == api.KindRestarted:
			l.again <- struct{}{}
		case strings.HasSuffix(string(e.Payload), fmt.Sprint("sure ", encore)):
			over++
		}
	}
	return events
}

// check checks what one receiver heard: one restart, nothing twice, nothing out
// of order, and all of the encores.
func (l *load) check(t *testing.T, events []api.Event, former, now api.Epoch) {
	t.Helper()
	restarts := 0
	last, encores := map[string]int{}, map[string]int{}
	for _, e := range events {
		switch e.Kind {
		case api.KindRestarted:
			if restarts++; e.Epoch != now || e.Epoch == former {
				t.Errorf("restarted in epoch %v, want %v, not %v", e.Epoch, now, former)
			}
		case api.KindMessage:
			var name string
			var n, sure int
			fmt.Sscanf(string(e.Payload), "%s %d sure %d", &name, &n, &sure)
			if before, ok := last[name]; ok && n <= before {
				t.Fatalf("%q came after %d", e.Payload, before)
			}
			last[name] = n
			if sure > 0 {
				if encores[name]++; sure != encores[name] {
					t.Fatalf("%q came as number %d after the restart", e.Payload, encores[name])
				}
			}
		default:
			t.Errorf("event %v", e.Kind)
		}
	}
	if restarts != 1 {
		t.Errorf("%d restarts, want 1", restarts)
	}
	for name, n := range encores {
		if n != encore {
			t.Errorf("%d messages of %s after the restart, want %d", n, name, encore)
		}
	}
}

// TestProviderTerminated ends the provider with SIGTERM, when much is admitted
// and little is read.
func TestProviderTerminated(t *testing.T) {
	const messages = 2000
	w := newWorld(t)
	w.spawn(service.DefaultStall)
	attached, err := client.Dial(w.ctx, client.Options{Address: w.address, GiveUpAfter: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer attached.Close()
	session, err := attached.Open(w.ctx, api.NotificationSelector)
	if err != nil {
		t.Fatal(err)
	}
	c := notification.New(attached)
	defer c.Close()
	receiver := w.connectBy(c, api.Connect{})
	sender := w.connect(api.Connect{SendOnly: true})
	payload := make([]byte, 1<<10) // more in all than a window
	for i := range messages {
		copy(payload, fmt.Sprintf("%08d", i))
		if err := sender.Post(w.ctx, payload); err != nil {
			t.Fatal(err)
		}
	}
	if f, err := sender.Flush(w.ctx); err != nil || f.Err != nil || f.Ended != messages {
		t.Fatalf("flush: %+v, %v", f, err)
	}

	w.process.signal(syscall.SIGTERM)
	heard := 0
	for e, err := range receiver.Events(w.ctx) {
		if err != nil {
			if !errors.Is(err, api.ErrGone) {
				t.Errorf("the receiver ends with: %v", err)
			}
			break
		}
		if want := fmt.Sprintf("%08d", heard); e.Kind != api.KindMessage || string(e.Payload[:8]) != want {
			t.Fatalf("heard %v %.8s, want %s", e.Kind, e.Payload, want)
		}
		heard++
	}
	if heard != messages {
		t.Errorf("%d messages, want %d", heard, messages)
	}
	if err := session.Err(); !errors.Is(err, api.ErrDisconnected) || !strings.Contains(err.Error(), "going away") {
		t.Errorf("the session ends with %v, want the provider's word", err)
	}
	w.process.reaped()
	if !w.process.cmd.ProcessState.Success() {
		t.Errorf("the provider ends with %v\n%s", w.process.cmd.ProcessState, &w.process.words)
	}
	if _, err := os.Stat(w.address.Address); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket: %v, want none", err)
	}
}
