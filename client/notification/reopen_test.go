package notification

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"crier.local/api"
	"crier.local/client"
	"crier.local/provider"
	service "crier.local/provider/notification"
)

// refuse puts a provider in the place of the first that refuses connections, and
// returns when x's client is attached to it.
func (h *house) refuse(x *Connection, refusal error) {
	h.t.Helper()
	h.street.cut()
	h.provider.Close()
	h.provider = provider.New(provider.Options{})
	if err := h.provider.Provide(api.NotificationSelector, &stub{refusal: refusal}, provider.ServiceOptions{}); err != nil {
		h.t.Fatal(err)
	}
	h.serve(h.provider)
	h.street.open()
	h.attachedAgain(x)
}

// attachedAgain returns when x's client has attached a second time.
func (h *house) attachedAgain(x *Connection) {
	h.t.Helper()
	if _, err := x.client.client.Attached(h.ctx, 1); err != nil {
		h.t.Fatal(err)
	}
}

// Only what may pass by itself is waited for.
func TestRefusedAfterALoss(t *testing.T) {
	for _, step := range []struct {
		refusal error
		waits   bool
	}{
		{api.ErrNameTaken, true},
		{api.ErrTooMany, true},
		{api.ErrFull, true},
		{api.ErrDenied, false},
		{api.ErrBadName, false},
		{&api.VersionError{Asked: api.NotificationSelector, Provided: api.Selector{UUID: api.NotificationUUID, Major: 9}}, false},
		{&api.CallError{Text: "the service does not like it"}, false},
	} {
		t.Run(fmt.Sprint(step.refusal), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newLocalHouse(t)
				x := h.connect(api.Connect{Name: "x"})
				h.refuse(x, step.refusal)
				attached := time.Now()
				_, err := x.Receive(h.ctx)
				if api.CodeOf(err) != api.CodeOf(step.refusal) || err.Error() != step.refusal.Error() {
					t.Errorf("ended with %v", err)
				}
				if waited := time.Since(attached); (waited >= retryFor) != step.waits || waited > 2*retryFor {
					t.Errorf("gave up after %v", waited)
				}
			})
		})
	}
}

// A provider that is going away refuses what is asked of it until it has gone.
func TestRefusedByAProviderThatGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newLocalHouse(t)
		x := h.connect(api.Connect{Name: "x"})
		h.refuse(x, api.ErrClosed)
		<-time.After(2 * retryFor)
		h.restart(api.NotificationSelector, service.Options{})
		h.expect(x, api.KindRestarted)
	})
}

// Close tells of the posts that were lost, also if it meets the connection while
// that is being opened again.
func TestCloseWhileReopening(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newLocalHouse(t)
		h.connect(api.Connect{Name: "stuck", Window: 1})
		x := h.connect(api.Connect{Name: "x"})
		for payload := make([]byte, 100000); ; synctest.Wait() {
			if err := x.Post(h.ctx, payload); err != nil {
				t.Fatal(err)
			}
			if seats, err := x.client.Who(h.ctx, ""); err != nil {
				t.Fatal(err)
			} else if seats[0].Parked+seats[1].Parked > 0 {
				break
			}
		}
		x.client.opener.take(h.ctx) // which reopening waits for
		h.street.cut()
		h.waitLost(x)
		h.street.open()
		h.attachedAgain(x)
		synctest.Wait()
		x.beginEnd()
		x.client.opener.leave()
		synctest.Wait()
		h.want(x.Close(), api.ErrOutcomeUnknown)
		if flushed, err := x.Flush(h.ctx); err != nil || flushed != (client.Flushed{}) {
			t.Errorf("told twice: %+v, %v", flushed, err)
		}
	})
}

// A provider that is going away refuses what is asked of it, and drains. Whoever
// asks, or waits for a receiver, waits for the next provider then.
func TestAllWaitsWhileTheProviderGoes(t *testing.T) {
	h := newUnixHouse(t)
	reader := h.connect(api.Connect{Name: "reader"})
	c, watch := h.dial(), h.dial()
	x := h.connectBy(c, api.Connect{Name: "x"})
	results := make(chan error)
	asked := 0
	ask := func(what string, call func() error) {
		asked++
		go func() {
			err := call()
			if err != nil {
				err = fmt.Errorf("%s: %w", what, err)
			}
			results <- err
		}()
	}
	send := func() error { return second(x.Send(h.ctx, make([]byte, 1<<20))) }
	for range 8 { // more than are admitted while nobody reads
		ask("send before", send)
	}
	h.parks(watch)

	closed := make(chan error)
	former := h.provider
	go func() { closed <- former.Close() }()
	for h.street.(*socketStreet).listens() && h.ctx.Err() == nil {
		<-time.After(time.Millisecond)
	}
	ask("send", send)
	ask("members", func() error { return second(x.Members(h.ctx)) })
	ask("rename", func() error { return x.Rename(h.ctx, "y") })
	ask("connect", func() error { return second(c.Connect(h.ctx, api.Connect{Room: "other"})) })
	ask("who", func() error { return second(c.Who(h.ctx, "")) })
	var reading sync.WaitGroup
	reading.Go(func() { // lets the drain end
		for range reader.Events(h.ctx) {
			continue
		}
	})
	<-closed
	h.start(api.NotificationSelector, service.Options{})
	for range asked {
		// At the very end nobody can tell what became of a send on its way.
		if err := <-results; err != nil && !errors.Is(err, api.ErrOutcomeUnknown) {
			t.Error(err)
		}
	}
	reader.Close()
	reading.Wait()
}

// parks returns when a send waits for a receiver.
func (h *house) parks(c *Client) {
	h.t.Helper()
	for {
		seats, err := c.Who(h.ctx, "")
		if err != nil {
			h.t.Fatal(err)
		}
		for _, s := range seats {
			if s.Parked > 0 {
				return
			}
		}
	}
}

// listens reports whether the provider has a socket.
func (s *socketStreet) listens() bool {
	_, err := os.Stat(s.address.Address)
	return err == nil
}
