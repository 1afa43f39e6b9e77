package provider_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"crier.local/api"
	"crier.local/api/encoding"
	"crier.local/client"
	"crier.local/provider"
)

// register is a service that knows its sessions.
type register struct {
	t  *testing.T
	mu sync.Mutex

	sessions []api.SessionID
}

const registerList api.Method = 0 // returns the sessions' ids as JSON

func registerSelector() api.Selector {
	return api.Selector{UUID: "6de2f9a1-90f4-4d63-bb0c-3d2c7c1b7e55"} // version 0.0
}

func (r *register) Handle(_ context.Context, c *provider.Call) (provider.Result, error) {
	if c.Method != registerList {
		return provider.Result{}, api.ErrNoMethod
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	list, err := encoding.JSON(r.sessions)
	return provider.Result{Body: list}, err
}

// SessionOpened implements provider.SessionOpener.
func (r *register) SessionOpened(s *provider.Session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if slices.Contains(r.sessions, s.ID()) {
		r.t.Errorf("session %d was opened twice", s.ID())
	}
	r.sessions = append(r.sessions, s.ID())
}

// SessionsClosed implements provider.SessionCloser.
func (r *register) SessionsClosed(sessions []*provider.Session, _ api.Reason) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range sessions {
		i := slices.Index(r.sessions, s.ID())
		if i < 0 {
			r.t.Errorf("session %d was closed, and is not open", s.ID())
			continue
		}
		r.sessions = slices.Delete(r.sessions, i, i+1)
	}
}

func (r *register) expect(t *testing.T, want int) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.sessions) != want {
		t.Errorf("%d sessions are open, want %d", len(r.sessions), want)
	}
}

func installRegister(h *host) (*service, *register) {
	h.t.Helper()
	r := &register{t: h.t}
	o := provider.Options{Name: "foo", Version: api.Version{Major: 1, Minor: 1}}
	return h.install(o, offer{registerSelector(), r, provider.ServiceOptions{}}), r
}

// expectListed checks that there are that many sessions, among them this one,
// known by the same number on both sides.
func expectListed(ctx context.Context, s *client.Session, want int) error {
	body, err := s.Invoke(ctx, registerList, nil)
	if err != nil {
		return err
	}
	ids, err := encoding.FromJSON[[]api.SessionID](body)
	if err != nil {
		return err
	}
	if len(ids) != want || !slices.Contains(ids, s.ID()) {
		return fmt.Errorf("the sessions are %d, want %d, and %d among them", ids, want, s.ID())
	}
	return nil
}

// expectRefusal closes a session and checks that it refuses calls then.
func expectRefusal(ctx context.Context, s *client.Session) error {
	if err := s.Close(); err != nil {
		return err
	}
	if _, err := s.Invoke(ctx, registerList, nil); !errors.Is(err, api.ErrClosed) {
		return fmt.Errorf("a call in a closed session: %w", err)
	}
	return nil
}

func TestClose(t *testing.T) {
	overBoth(t, func(t *testing.T, h *host) {
		service, register := installRegister(h)
		register.expect(t, 0)
		c, first := service.open(registerSelector())
		register.expect(t, 1)
		second := opened(t, c, registerSelector())
		err := errors.Join(expectListed(within(t), first, 2), expectListed(within(t), second, 2), expectRefusal(within(t), second))
		if err != nil {
			t.Error(err)
		}
		register.expect(t, 1)
		if err := errors.Join(expectListed(within(t), first, 1), expectRefusal(within(t), first)); err != nil {
			t.Error(err)
		}
		register.expect(t, 0)
		service.uninstallUnused()
		register.expect(t, 0)
	})
	t.Run("separate-process", func(t *testing.T) {
		overSocket(t, func(t *testing.T, h *host) {
			service, register := installRegister(h)
			ended(t, play(t, "list clients", service.at()))
			service.uninstallUnused()
			register.expect(t, 0)
		})
	})
}

// playListClients leaves two of its three sessions open.
func playListClients(ctx context.Context) error {
	c, first, err := sessionOf(ctx, registerSelector())
	if err != nil {
		return err
	}
	if err := expectListed(ctx, first, 1); err != nil {
		return err
	}
	second, err := c.Open(ctx, registerSelector())
	if err != nil {
		return err
	}
	if err := errors.Join(expectListed(ctx, first, 2), expectListed(ctx, second, 2)); err != nil {
		return err
	}
	third, err := c.Open(ctx, registerSelector())
	if err != nil {
		return err
	}
	return errors.Join(expectListed(ctx, third, 3), expectRefusal(ctx, third),
		expectListed(ctx, first, 2), expectListed(ctx, second, 2))
}
