package provider_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"

	"crier.local/api"
	"crier.local/client"
	"crier.local/provider"
)

// mirror is a service that tells a resource what it is called with. It knows
// which of its resources are open.
type mirror struct {
	hold chan struct{} // makes every closing wait until it is closed; nil for none

	mu   sync.Mutex
	open map[api.Handle]bool
}

const (
	mirrorOpen   api.Method = 0 // returns a resource
	mirrorNotify api.Method = 1 // on a resource: notifies it of the arguments
)

func mirrorSelector() api.Selector {
	return api.Selector{UUID: "c2b0a5d3-8b3c-4b70-a1a7-71f3a2c6c9d4", Major: 1, Minor: 2}
}

func (m *mirror) Handle(_ context.Context, c *provider.Call) (provider.Result, error) {
	switch c.Method {
	case mirrorOpen:
		r, err := m.make(c.Session)
		return provider.Result{Resource: r}, err
	case mirrorNotify:
		r, err := c.Resource()
		if err == nil {
			err = r.Notify(&provider.Notification{Body: c.Args})
		}
		return provider.Result{}, err
	default:
		return provider.Result{}, api.ErrNoMethod
	}
}

func (m *mirror) make(s *provider.Session) (r *provider.Resource, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, err = s.NewResource(m, provider.ResourceOptions{Notifiable: true, OnClosed: func(api.Reason) {
		if m.hold != nil {
			<-m.hold
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.open, r.Handle())
	}})
	if err == nil {
		m.open[r.Handle()] = true
	}
	return r, err
}

// usage is how many resources are open.
func (m *mirror) usage() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.open)
}

func (m *mirror) isOpen(h api.Handle) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.open[h]
}

func installMirror(h *host) (*service, *mirror) {
	h.t.Helper()
	m := &mirror{open: map[api.Handle]bool{}}
	return h.install(provider.Options{Name: "resource"}, offer{mirrorSelector(), m, provider.ServiceOptions{}}), m
}

func TestNotify(t *testing.T) {
	overBoth(t, func(t *testing.T, h *host) {
		service, m := installMirror(h)
		c, s := service.open(mirrorSelector())
		r := made(t, s, mirrorOpen, "")
		for _, values := range [][]string{{"42"}, {"87"}, {"99", "101"}, {"hestfisk"}, {"", "\x00"}} {
			for _, value := range values {
				call(t, r, mirrorNotify, value)
			}
			for _, want := range values {
				if got, err := r.Receive(within(t)); string(got) != want || err != nil {
					t.Errorf("received %q, %v; want %q", got, err, want)
				}
			}
		}
		closed(t, r)
		if _, err := r.Receive(within(t)); !errors.Is(err, api.ErrClosed) {
			t.Errorf("received after the end: %v", err)
		}
		closed(t, c)
		service.uninstallUnused()
		if n := m.usage(); n != 0 {
			t.Errorf("%d resources are open", n)
		}
	})
}

// What a provider tells the resources that it wants closed.
const (
	hasClosed   = "it has been closed"
	shouldClose = "it should be closed"
)

func TestNotifyClose(t *testing.T) {
	for name, eager := range map[string]bool{"eager": true, "not-eager": false} {
		for clients := range 4 {
			for _, resources := range []int{1, 2, 4, 8, 16} {
				tc := notifyClose{clients + 1, resources, eager}
				t.Run(fmt.Sprintf("%s/%dx%d", name, tc.clients, tc.resources), func(t *testing.T) { overBoth(t, tc.run) })
			}
		}
	}
}

// notifyClose is a case of a provider that has all its resources closed.
type notifyClose struct {
	clients, resources int
	eager              bool // the provider closes them itself
}

func (tc notifyClose) run(t *testing.T, h *host) {
	service, m := installMirror(h)
	var closing sync.WaitGroup
	for range tc.clients {
		c, s := service.open(mirrorSelector())
		var open sync.WaitGroup
		for range tc.resources {
			r := made(t, s, mirrorOpen, "")
			open.Go(func() { tc.follow(t, m, r) })
		}
		closing.Go(func() {
			open.Wait()
			closed(t, c)
		})
	}
	if n := tc.shutdown(t, service); n != tc.clients*tc.resources {
		t.Errorf("%d resources were notified, want %d", n, tc.clients*tc.resources)
	}
	service.uninstallUnused()
	closing.Wait()
	if n := m.usage(); n != 0 {
		t.Errorf("%d resources are open", n)
	}
}

// shutdown tells every resource that it is to be closed, or closes it, and
// returns how many there were.
func (tc notifyClose) shutdown(t *testing.T, s *service) (notified int) {
	t.Helper()
	for r := range s.Resources() {
		var err error
		if tc.eager {
			err = r.NotifyAndClose(&provider.Notification{Body: []byte(hasClosed)})
		} else {
			err = r.Notify(&provider.Notification{Body: []byte(shouldClose)})
		}
		if err != nil {
			t.Error(err)
		}
		notified++
	}
	return notified
}

// follow does as a resource is told, and checks that it is told once.
func (tc notifyClose) follow(t *testing.T, m *mirror, r *client.Resource) {
	body, err := r.Receive(within(t))
	switch {
	case err != nil:
		t.Errorf("told nothing: %v", err)
	case tc.eager && string(body) == hasClosed:
		if m.isOpen(r.Handle()) {
			t.Error("the last notification came before the resource was closed")
		}
	case !tc.eager && string(body) == shouldClose:
		closed(t, r)
	default:
		t.Errorf("told %q", body)
	}
	if body, err := r.Receive(within(t)); !errors.Is(err, api.ErrClosed) {
		t.Errorf("told more: %q, %v", body, err)
	}
}

// The last notification waits for OnClosed, however long that takes.
func TestNotifyCloseOrder(t *testing.T) {
	expectNoLeak(t)
	synctest.Test(t, func(t *testing.T) {
		service, m := installMirror(&host{t: t})
		m.hold = make(chan struct{})
		_, s := service.open(mirrorSelector())
		r := made(t, s, mirrorOpen, "")
		told := make(chan string, 1)
		go func() {
			body, err := r.Receive(within(t))
			if err != nil {
				t.Errorf("told nothing: %v", err)
			}
			told <- string(body)
		}()
		go notifyClose{eager: true}.shutdown(t, service)
		synctest.Wait()
		if len(told) > 0 {
			t.Error("the last notification came before the resource was closed")
		}
		close(m.hold)
		if got := receive(t, "the last notification", told); got != hasClosed {
			t.Errorf("told %q", got)
		}
	})
}
