package provider_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"crier.local/api"
	"crier.local/client"
	"crier.local/provider"
)

// simple is a service that logs.
type simple struct {
	mu       sync.Mutex
	messages []string
	asked    []api.Selector
}

const simpleLog api.Method = 0

func simpleSelector() api.Selector {
	return api.Selector{UUID: "4f6ce2f4-5d6c-4d6e-9f9e-0a7e2f1f4f11", Major: 1, Minor: 2}
}

func (s *simple) Handle(_ context.Context, c *provider.Call) (provider.Result, error) {
	if c.Method != simpleLog {
		return provider.Result{}, api.ErrNoMethod
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.messages = append(s.messages, string(c.Args))
	s.asked = append(s.asked, c.Session.Asked())
	return provider.Result{}, nil
}

func installSimple(h *host) (*service, *simple) {
	h.t.Helper()
	s := &simple{}
	o := provider.Options{Name: "log", Version: api.Version{Major: 1, Minor: 2, Patch: 5}}
	return h.install(o, offer{simpleSelector(), s, provider.ServiceOptions{}}), s
}

func (s *simple) expect(t *testing.T, want ...string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Equal(s.messages, want) {
		t.Errorf("logged %q, want %q", s.messages, want)
	}
}

func TestSimpleLogging(t *testing.T) {
	overBoth(t, func(t *testing.T, h *host) {
		service, log := installSimple(h)
		c, s := service.open(simpleSelector())
		call(t, s, simpleLog, "Hello!")
		closed(t, c)
		service.uninstallUnused()
		log.expect(t, "Hello!")
	})
	t.Run("separate-process", func(t *testing.T) {
		overSocket(t, func(t *testing.T, h *host) {
			service, log := installSimple(h)
			ended(t, play(t, "log", service.at()))
			service.uninstallUnused()
			log.expect(t, "Hello from another process!")
		})
	})
}

// playLog ends without closing anything.
func playLog(ctx context.Context) error {
	_, s, err := sessionOf(ctx, simpleSelector())
	if err == nil {
		_, err = s.Invoke(ctx, simpleLog, []byte("Hello from another process!"))
	}
	return err
}

func illegalNames() []string {
	return []string{"logs", "log.illegal", "4f6ce2f4-5d6c-4d6e-9f9e-0a7e2f1f4f1", "\x00"}
}

func TestSimpleIllegalName(t *testing.T) {
	t.Run("found", func(t *testing.T) {
		overSocket(t, func(t *testing.T, h *host) {
			installSimple(h)
			for _, uuid := range append(illegalNames(), "") {
				find := api.Selector{UUID: uuid, Major: 1, Minor: 2}.Restrict()
				_, err := client.Dial(within(t), client.Options{RunDirs: []string{h.dir}, Find: find, Wait: -1})
				if !errors.Is(err, api.ErrNoProvider) {
					t.Errorf("uuid %q: %v, want %v", uuid, err, api.ErrNoProvider)
				}
			}
		})
	})
	overBoth(t, func(t *testing.T, h *host) {
		service, _ := installSimple(h)
		c := service.attach()
		for _, uuid := range illegalNames() {
			_, err := c.Open(within(t), api.Selector{UUID: uuid, Major: 1, Minor: 2})
			want := "service:log@1.2.5 does not provide service:" + uuid
			if version, ok := errors.AsType[*api.VersionError](err); !ok || version.Error() != want {
				t.Errorf("uuid %q: %v, want %s", uuid, err, want)
			}
		}
		if _, err := c.Open(within(t), api.Selector{Major: 1}); err == nil {
			t.Error("a service without a uuid was opened")
		}
	})
}

// misfits are versions that log 1.2 does not serve, with what is said of them.
func misfits() map[api.Selector]string {
	uuid := simpleSelector().UUID
	prefix := "service:log@1.2.5 does not provide service:" + uuid
	return map[api.Selector]string{
		{UUID: uuid, Major: 0, Minor: 2}: prefix + "@0.x, but @1.2",
		{UUID: uuid, Major: 2, Minor: 2}: prefix + "@2.x, but @1.2",
		{UUID: uuid, Major: 1, Minor: 3}: prefix + "@1.3.x, but @1.2",
	}
}

func expectMisfit(t *testing.T, asked api.Selector, err error) {
	t.Helper()
	misfit, ok := errors.AsType[*api.VersionError](err)
	if !ok || !errors.Is(err, api.ErrVersion) {
		t.Fatalf("%s: %v, want an api.VersionError", asked, err)
	}
	if want := misfits()[asked]; misfit.Error() != want {
		t.Errorf("%s: %q, want %q", asked, misfit, want)
	}
	if misfit.Asked != asked || misfit.Provided != simpleSelector() || misfit.Provider != "service:log@1.2.5" {
		t.Errorf("%s: %+v", asked, misfit)
	}
}

func TestSimpleVersions(t *testing.T) {
	t.Run("found", func(t *testing.T) {
		overSocket(t, func(t *testing.T, h *host) {
			installSimple(h)
			for asked := range misfits() {
				// At once, however long one would wait for a provider to appear.
				o := client.Options{RunDirs: []string{h.dir}, Find: asked.Restrict(), Wait: 10 * patience}
				_, err := client.Dial(within(t), o)
				expectMisfit(t, asked, err)
			}
		})
	})
	overBoth(t, func(t *testing.T, h *host) {
		service, log := installSimple(h)
		c := service.attach()
		for asked := range misfits() {
			_, err := c.Open(within(t), asked)
			expectMisfit(t, asked, err)
		}
		older := api.Selector{UUID: simpleSelector().UUID, Major: 1, Minor: 1}
		s := opened(t, c, older)
		call(t, s, simpleLog, "older")
		if got := c.Provider().Version; got != (api.Version{Major: 1, Minor: 2, Patch: 5}) {
			t.Errorf("provider's version %s, want 1.2.5", got)
		}
		if s.Provided() != simpleSelector() {
			t.Errorf("provided %s, want %s", s.Provided(), simpleSelector())
		}
		closed(t, c)
		service.uninstallUnused()
		if !slices.Equal(log.asked, []api.Selector{older}) {
			t.Errorf("the handler saw %s asked for, want %s", log.asked, older)
		}
	})
}

func TestSimpleUninstall(t *testing.T) {
	overBoth(t, func(t *testing.T, h *host) {
		service, log := installSimple(h)
		_, open := service.open(simpleSelector())
		call(t, open, simpleLog, "Hello!")
		c, logger := service.open(simpleSelector())
		service.uninstall()
		gone := api.ErrDisconnected
		if h.dir == "" { // nobody can follow where it was
			gone = api.ErrGone
		}
		for _, s := range []*client.Session{open, logger} {
			if _, err := s.Invoke(within(t), simpleLog, []byte("too late")); !errors.Is(err, gone) {
				t.Errorf("a call after the end: %v, want %v", err, gone)
			}
		}
		if _, err := c.Open(within(t), simpleSelector()); err == nil {
			t.Error("a session was opened after the end")
		}
		log.expect(t, "Hello!")
	})
}
