package notification_test

import (
	"fmt"
	"io"
	"net"
	"path/filepath"
	"sync"
	"testing"

	"crier.local/api"
	"crier.local/provider"
	service "crier.local/provider/notification"
)

// relay is a link to a provider that can be cut: a socket whose connections are
// passed on.
type relay struct {
	address api.Endpoint
	target  string
	work    sync.WaitGroup

	mu       sync.Mutex
	listener net.Listener // nil while the link is cut
	near     []net.Conn   // the clients' ends
	far      []net.Conn   // the provider's
}

func newRelay(w *world) *relay {
	w.t.Helper()
	r := &relay{address: api.UnixEndpoint(filepath.Join(w.t.TempDir(), "s")), target: w.address.Address}
	r.mend(w.t)
	return r
}

// mend lets clients through.
func (r *relay) mend(t testing.TB) {
	t.Helper()
	l, err := net.Listen("unix", r.address.Address)
	if err != nil {
		t.Fatal(err)
	}
	r.mu.Lock()
	r.listener = l
	r.mu.Unlock()
	r.work.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			r.pass(near)
		}
	})
}

func (r *relay) pass(near net.Conn) {
	far, err := net.Dial("unix", r.target)
	if err != nil {
		near.Close()
		return
	}
	r.mu.Lock()
	r.near, r.far = append(r.near, near), append(r.far, far)
	r.mu.Unlock()
	r.work.Go(func() { io.Copy(far, near) })
	r.work.Go(func() {
		io.Copy(near, far)
		io.Copy(io.Discard, far) // a half-cut link takes what the provider sends
	})
}

// cut ends the link for the clients, and lets none through until it is mended.
func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.listener.Close()
	for _, c := range r.near {
		c.Close()
	}
	r.near = nil
}

// bury ends it for the provider too, which thinks that clients are there until then.
func (r *relay) bury() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.far {
		c.Close()
	}
	r.far = nil
}

func (r *relay) close() {
	r.cut()
	r.bury()
	r.work.Wait()
}

// TestReconnect cuts a client off while others talk.
func TestReconnect(t *testing.T) {
	w := newWorld(t)
	w.serve(provider.Options{}, service.Options{})
	r := newRelay(w)
	t.Cleanup(r.close)
	witness := w.connect(api.Connect{Presence: true})
	sender := w.connect(api.Connect{SendOnly: true})
	x := w.connectBy(w.dialTo(r.address), api.Connect{Name: "x", Presence: true})
	isMessage := func(e api.Event) bool { return e.Kind == api.KindMessage }
	isLeft := func(e api.Event) bool { return e.Kind == api.KindLeft }

	w.send(sender, "before")
	before := w.until(x, isMessage)
	r.cut()
	r.bury()
	w.until(witness, isLeft) // the provider knows
	var missed []api.Seq
	for i := range 50 {
		missed = append(missed, w.send(sender, fmt.Sprint("missed ", i)).Seq)
	}
	r.mend(t)
	again := w.next(x)
	if again.Kind != api.KindReconnected || again.First > missed[0] || again.Last < missed[len(missed)-1] {
		t.Errorf("%v of %d to %d, want reconnected, with %d to %d in it", again.Kind, again.First, again.Last, missed[0], missed[len(missed)-1])
	}
	if last := before[len(before)-1].Seq; again.First <= last {
		t.Errorf("%d may be missed, but %d was heard", again.First, last)
	}
	if e := w.next(x); e.Kind != api.KindMembers || len(e.Members) != 1 || e.Members[0].Name != "x" {
		t.Errorf("then came %v of %v, want the members: x", e.Kind, e.Members)
	}
	for i := range 50 {
		w.send(sender, fmt.Sprint("after ", i))
	}
	for i, e := range w.rest(x) {
		if want := fmt.Sprint("after ", i); e.Kind != api.KindMessage || string(e.Payload) != want || e.Seq <= again.Last {
			t.Fatalf("then came %v %q, seq %d; want %q, seq above %d", e.Kind, e.Payload, e.Seq, want, again.Last)
		}
	}
}

// TestReconnectMeetsNoGhost cuts a link in a way that the provider does not see:
// the client that comes back takes its own place.
func TestReconnectMeetsNoGhost(t *testing.T) {
	w := newWorld(t)
	w.serve(provider.Options{}, service.Options{})
	r := newRelay(w)
	t.Cleanup(r.close)
	witness := w.connect(api.Connect{Presence: true})
	x := w.connectBy(w.dialTo(r.address), api.Connect{Name: "x"})
	r.cut()
	r.mend(t)
	if e := w.next(x); e.Kind != api.KindReconnected {
		t.Errorf("%v, want reconnected", e.Kind)
	}
	if x.Name() != "x" {
		t.Errorf("name %q", x.Name())
	}
	var heard []string
	for _, e := range w.rest(witness) {
		switch e.Kind {
		case api.KindLeft:
			heard = append(heard, fmt.Sprint(e.Kind, " ", e.Reason))
		case api.KindJoined:
			heard = append(heard, e.Kind.String())
		}
	}
	if got := fmt.Sprint(heard); got != "[joined left replaced joined]" {
		t.Errorf("the witness heard %s", got)
	}
	if e := w.rest(x); len(e) > 0 {
		t.Errorf("then x heard %v", e)
	}
}
