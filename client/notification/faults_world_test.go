package notification_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"crier.local/api"
	"crier.local/client"
	"crier.local/client/notification"
	"crier.local/provider"
	service "crier.local/provider/notification"
)

// patience is how long a test waits for what must happen: far longer than any
// machine takes. A benchmark takes as long as it is told to.
func patience(t testing.TB) time.Duration {
	if _, ok := t.(*testing.B); ok {
		return time.Hour
	}
	return time.Minute
}

// world is a provider behind a unix socket, and everything a test lets loose on
// it. When the test is over it closes all of that, and checks that nothing is
// left.
type world struct {
	t        testing.TB
	ctx      context.Context // ends when patience does
	dir      string
	address  api.Endpoint
	provider *provider.Provider // in this process, or
	process  *child             // in one of its own
	children []*child
	clients  []*notification.Client
	before   goleak.Option // the goroutines there were before
}

func newWorld(t testing.TB) *world {
	ctx, cancel := context.WithTimeout(context.Background(), patience(t))
	dir := t.TempDir()
	w := &world{t: t, ctx: ctx, dir: dir, address: api.UnixEndpoint(filepath.Join(dir, "s")), before: goleak.IgnoreCurrent()}
	t.Cleanup(func() {
		defer cancel()
		w.leave()
	})
	return w
}

// serve starts a provider in this process.
func (w *world) serve(o provider.Options, so service.Options) {
	w.t.Helper()
	p, err := newProvider(w.address, o, so)
	if err != nil {
		w.t.Fatal(err)
	}
	w.provider = p
}

func newProvider(address api.Endpoint, o provider.Options, so service.Options) (*provider.Provider, error) {
	p := provider.New(o)
	if _, err := service.Register(p, so, provider.ServiceOptions{}); err != nil {
		return nil, err
	}
	_, err := p.Listen(address)
	return p, err
}

// spawn starts a provider in a process of its own, with that stall deadline.
func (w *world) spawn(stall time.Duration) {
	w.t.Helper()
	w.process = w.start("provider", stall.String())
	w.process.expect("ready")
}

// dial attaches a client of this process.
func (w *world) dial() *notification.Client {
	w.t.Helper()
	return w.dialTo(w.address)
}

func (w *world) dialTo(address api.Endpoint) *notification.Client {
	w.t.Helper()
	c, err := notification.Dial(w.ctx, client.Options{Address: address})
	if err != nil {
		w.t.Fatal(err)
	}
	w.clients = append(w.clients, c)
	return c
}

// connect makes a connection with a client of its own.
func (w *world) connect(o api.Connect) *notification.Connection {
	w.t.Helper()
	return w.connectBy(w.dial(), o)
}

func (w *world) connectBy(c *notification.Client, o api.Connect) *notification.Connection {
	w.t.Helper()
	x, err := c.Connect(w.ctx, o)
	if err != nil {
		w.t.Fatal(err)
	}
	return x
}

// leave ends all that the test started and checks the floor.
func (w *world) leave() {
	for _, c := range w.children {
		if c != w.process {
			c.end()
		}
	}
	for _, c := range w.clients {
		c.Close() // tests look at its error themselves
	}
	w.checkProvider()
	w.checkFiles()
	w.checkProcesses()
	w.checkGoroutines()
}

// checkProvider closes the provider, which must hold nothing any more.
func (w *world) checkProvider() {
	w.t.Helper()
	switch {
	case w.provider != nil:
		if err := w.provider.Wait(w.ctx); err != nil {
			w.t.Errorf("sessions are left: %v", err)
		}
		if left := len(slices.Collect(w.provider.Resources())); left > 0 {
			w.t.Errorf("%d resources are left", left)
		}
		w.checkWho()
		if err := w.provider.Close(); err != nil {
			w.t.Error(err)
		}
	case w.process != nil && !w.process.over():
		w.process.tell("wait")
		w.process.expect("resources 0")
		w.checkWho()
		w.process.end()
	}
}

// checkWho asks over a connection of its own who is there: nobody.
func (w *world) checkWho() {
	w.t.Helper()
	c, err := notification.Dial(w.ctx, client.Options{Address: w.address})
	if err != nil {
		w.t.Error(err)
		return
	}
	defer c.Close()
	if seats, err := c.Who(w.ctx, ""); err != nil || len(seats) > 0 {
		w.t.Errorf("who: %v, %v; want nobody", seats, err)
	}
}

func (w *world) checkFiles() {
	w.t.Helper()
	files, err := os.ReadDir(w.dir)
	if err != nil {
		w.t.Error(err)
	}
	for _, f := range files {
		if f.Name() != filepath.Base(w.address.Address)+".lock" {
			w.t.Errorf("file %s is left", f.Name())
		}
	}
}

func (w *world) checkProcesses() {
	w.t.Helper()
	for _, c := range w.children {
		if !c.over() {
			w.t.Errorf("process %s is left", c)
			c.kill()
		}
	}
}

// checkGoroutines gives those that end by themselves the time for it.
func (w *world) checkGoroutines() {
	w.t.Helper()
	err := goleak.Find(w.before)
	for err != nil && w.ctx.Err() == nil {
		err = goleak.Find(w.before)
	}
	if err != nil {
		w.t.Error(err)
	}
}

// next returns the next event of x.
func (w *world) next(x *notification.Connection) api.Event {
	w.t.Helper()
	e, err := x.Receive(w.ctx)
	if err != nil {
		w.t.Fatalf("receive: %v", err)
	}
	return e
}

// until returns the events of x, up to the first that is last.
func (w *world) until(x *notification.Connection, last func(api.Event) bool) []api.Event {
	w.t.Helper()
	var events []api.Event
	for {
		e := w.next(x)
		events = append(events, e)
		if last(e) {
			return events
		}
	}
}

// rest has somebody else send a last message into x's room, and returns what x
// gets before it.
func (w *world) rest(x *notification.Connection) []api.Event {
	w.t.Helper()
	const mark = "that is all"
	w.send(w.connect(api.Connect{Room: x.Room(), SendOnly: true}), mark)
	events := w.until(x, func(e api.Event) bool { return e.Kind == api.KindMessage && string(e.Payload) == mark })
	return events[:len(events)-1]
}

func (w *world) send(x *notification.Connection, payload string) api.Receipt {
	w.t.Helper()
	receipt, err := x.Send(w.ctx, []byte(payload))
	if err != nil {
		w.t.Fatalf("send: %v", err)
	}
	return receipt
}

// poll asks until it is so. There is no event for what it waits for.
func (w *world) poll(so func() bool) {
	w.t.Helper()
	for !so() {
		if w.ctx.Err() != nil {
			w.t.Fatal("it has not come about")
		}
	}
}
