package provider_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"

	"crier.local/api"
	"crier.local/client"
	"crier.local/provider"
)

// keyed is a service whose resources have keys. It counts how often each of them
// has been closed.
type keyed struct {
	mu     sync.Mutex
	closes map[string]int
}

const (
	keyedOpen       api.Method = 0 // takes a key, returns a resource
	keyedClose      api.Method = 1 // on a resource: closes it from this side
	keyedCloseCount api.Method = 2 // takes a key, returns how often it was closed, -1 for never opened
)

func keyedSelector() api.Selector {
	return api.Selector{UUID: "a4f3e2c8-36f1-4b53-9e2b-5f1e6fd3c8e0", Major: 1, Minor: 2}
}

func (k *keyed) Handle(_ context.Context, c *provider.Call) (provider.Result, error) {
	switch c.Method {
	case keyedOpen:
		r, err := k.open(c.Session, string(c.Args))
		return provider.Result{Resource: r}, err
	case keyedClose:
		r, err := c.Resource()
		if err == nil {
			r.Close()
		}
		return provider.Result{}, err
	case keyedCloseCount:
		return provider.Result{Body: strconv.AppendInt(nil, int64(k.count(string(c.Args))), 10)}, nil
	default:
		return provider.Result{}, api.ErrNoMethod
	}
}

func (k *keyed) open(s *provider.Session, key string) (*provider.Resource, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closes[key] = 0
	return s.NewResource(key, provider.ResourceOptions{OnClosed: func(api.Reason) {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.closes[key]++
	}})
}

func (k *keyed) count(key string) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	if n, ok := k.closes[key]; ok {
		return n
	}
	return -1
}

func installKeyed(h *host) (*service, *keyed) {
	h.t.Helper()
	k := &keyed{closes: map[string]int{}}
	o := provider.Options{Name: "resource", Version: api.Version{Major: 1, Minor: 2, Patch: 5}}
	return h.install(o, offer{keyedSelector(), k, provider.ServiceOptions{}}), k
}

// expect checks how often resources have been closed.
func (k *keyed) expect(t *testing.T, when string, want map[string]int) {
	t.Helper()
	for key, n := range want {
		if got := k.count(key); got != n {
			t.Errorf("%s: %s was closed %d times, want %d", when, key, got, n)
		}
	}
}

// use opens a resource and, if it is to, closes it twice.
func use(ctx context.Context, s *client.Session, key string, closing bool) error {
	r, _, err := s.InvokeResource(ctx, keyedOpen, []byte(key))
	if err != nil {
		return err
	}
	if err := expectCloses(ctx, s, key, "0"); err != nil || !closing {
		return err
	}
	for range 2 {
		if err := errors.Join(r.Close(), expectCloses(ctx, s, key, "1")); err != nil {
			return err
		}
	}
	return nil
}

func expectCloses(ctx context.Context, s *client.Session, key, want string) error {
	got, err := s.Invoke(ctx, keyedCloseCount, []byte(key))
	if err == nil && string(got) != want {
		err = fmt.Errorf("%s was closed %s times, want %s", key, got, want)
	}
	return err
}

func TestResources(t *testing.T) {
	for name, closing := range map[string]bool{"keep": false, "close": true} {
		t.Run(name, func(t *testing.T) {
			overBoth(t, func(t *testing.T, h *host) {
				service, k := installKeyed(h)
				k.expect(t, "before", map[string]int{"resource": -1})
				c, s := service.open(keyedSelector())
				if err := use(within(t), s, "resource", closing); err != nil {
					t.Error(err)
				}
				closed(t, c)
				service.uninstallUnused()
				k.expect(t, "after", map[string]int{"resource": 1})
			})
			t.Run("separate-process", func(t *testing.T) {
				overSocket(t, func(t *testing.T, h *host) {
					service, k := installKeyed(h)
					ended(t, play(t, name, service.at()))
					service.uninstallUnused()
					k.expect(t, "after", map[string]int{"resource": 1})
				})
			})
		})
	}
}

// playResource ends without closing its session.
func playResource(ctx context.Context, closing bool) error {
	_, s, err := sessionOf(ctx, keyedSelector())
	if err != nil {
		return err
	}
	return use(ctx, s, "resource", closing)
}

func TestResourceUninstall(t *testing.T) {
	overBoth(t, func(t *testing.T, h *host) {
		service, k := installKeyed(h)
		_, s := service.open(keyedSelector())
		r := made(t, s, keyedOpen, "resource")
		idle := service.attach() // without a session
		k.expect(t, "while open", map[string]int{"resource": 0})
		service.uninstall()
		k.expect(t, "after", map[string]int{"resource": 1})
		closed(t, r)
		closed(t, idle)
		k.expect(t, "after all is closed", map[string]int{"resource": 1})
	})
}

func TestMultipleResources(t *testing.T) {
	overBoth(t, func(t *testing.T, h *host) {
		service, k := installKeyed(h)
		var open []*client.Client
		for _, tc := range []struct {
			key             string
			closing, leaves bool
		}{
			{"kept 1", false, false}, {"closed", true, false}, {"kept 2", false, false},
			{"closed, client too", true, true}, {"client closed", false, true},
		} {
			c, s := service.open(keyedSelector())
			if err := use(within(t), s, tc.key, tc.closing); err != nil {
				t.Errorf("%s: %v", tc.key, err)
			}
			if tc.leaves {
				closed(t, c)
			} else {
				open = append(open, c)
			}
		}
		k.expect(t, "with clients open", map[string]int{
			"kept 1": 0, "closed": 1, "kept 2": 0, "closed, client too": 1, "client closed": 1,
		})
		for _, c := range open {
			closed(t, c)
		}
		k.expect(t, "with all clients closed", map[string]int{
			"kept 1": 1, "closed": 1, "kept 2": 1, "closed, client too": 1, "client closed": 1,
		})
		service.uninstallUnused()
	})
}

func TestCustomClose(t *testing.T) {
	overBoth(t, func(t *testing.T, h *host) {
		service, k := installKeyed(h)
		c, s := service.open(keyedSelector())
		r := made(t, s, keyedOpen, "resource")
		k.expect(t, "while open", map[string]int{"resource": 0})
		call(t, r, keyedClose, "")
		k.expect(t, "closed by the service", map[string]int{"resource": 1})
		if _, err := r.Invoke(within(t), keyedClose, nil); !errors.Is(err, api.ErrClosed) && !errors.Is(err, api.ErrUnknownHandle) {
			t.Errorf("a call on what is closed: %v", err)
		}
		closed(t, r)
		k.expect(t, "closed by the client too", map[string]int{"resource": 1})
		closed(t, c)
		service.uninstallUnused()
		k.expect(t, "after", map[string]int{"resource": 1})
	})
}
