package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"sync"

	"crier.local/api"
	"crier.local/client"
	"crier.local/client/notification"
)

// crier is Crier over its unix socket, by its public API and with its defaults.
type crier struct{}

func (crier) name() string { return "crier" }

func (crier) find(h *house) error {
	dir, err := h.moduleDir("crier.local")
	if err != nil {
		return err
	}
	return h.build("crier", dir, "./cmd/crier")
}

func (crier) start(h *house) (*server, error) {
	path := filepath.Join(h.scratch(), "crier.sock")
	endpoint := "unix://" + path
	cmd := exec.Command(h.binary("crier"), "serve", "--log-level", "error", "--address", endpoint)
	if h.profiles != "" {
		var err error
		if cmd, err = ownCommand("provider", endpoint, h.profile("crier provider")); err != nil {
			return nil, err
		}
	}
	p, err := h.serve("crier", cmd)
	if err != nil {
		return nil, err
	}
	return &server{p, endpoint}, dialable(p, "unix", path)
}

func (crier) join(ctx context.Context, s seat) (member, error) {
	endpoint, err := api.ParseEndpoint(s.address)
	if err != nil {
		return nil, err
	}
	c, err := notification.Dial(ctx, client.Options{Address: endpoint})
	if err != nil {
		return nil, err
	}
	m := &crierMember{client: c}
	for _, take := range s.takes {
		x, err := c.Connect(ctx, api.Connect{})
		if err != nil {
			return nil, errors.Join(err, m.close())
		}
		m.x = x
		m.listeners.Go(func() { m.listen(x, take) })
	}
	if s.publishes() && m.x == nil {
		if m.x, err = c.Connect(ctx, api.Connect{SendOnly: true}); err != nil {
			return nil, errors.Join(err, m.close())
		}
	}
	return m, nil
}

type crierMember struct {
	client    *notification.Client
	x         *notification.Connection // that publishes
	listeners sync.WaitGroup
	failed    error // why listening ended; guarded by mu
	mu        sync.Mutex
}

func (m *crierMember) listen(x *notification.Connection, take func([]byte)) {
	ctx := context.Background()
	for {
		e, err := x.Receive(ctx)
		switch {
		case errors.Is(err, api.ErrClosed):
			return
		case err != nil:
			m.fail(err)
			return
		case e.Kind != api.KindMessage:
			m.fail(fmt.Errorf("an event of kind %v", e.Kind))
			return
		}
		take(e.Payload)
	}
}

func (m *crierMember) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failed = errors.Join(m.failed, err)
}

func (m *crierMember) publish(payload []byte) error {
	return m.x.Post(context.Background(), payload)
}

func (m *crierMember) request(payload []byte) error {
	_, err := m.x.Send(context.Background(), payload)
	return err
}

func (m *crierMember) more(connections int) error {
	for range connections {
		if _, err := m.client.Connect(context.Background(), api.Connect{}); err != nil {
			return err
		}
	}
	return nil
}

func (*crierMember) push() error { return nil }

func (m *crierMember) flush() error {
	f, err := m.x.Flush(context.Background())
	return errors.Join(err, f.Err)
}

func (m *crierMember) close() error {
	err := m.client.Close()
	m.listeners.Wait()
	return errors.Join(err, m.failed)
}
