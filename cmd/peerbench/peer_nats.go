package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"

	"github.com/nats-io/nats.go"
)

// natsPeer is nats-server on loopback; it knows no unix sockets.
type natsPeer struct{}

func (natsPeer) name() string { return "nats" }

func (natsPeer) find(h *house) error {
	return h.build("nats-server", "", "github.com/nats-io/nats-server/v2")
}

// natsLimits keep the server from ending a connection as slow.
const natsLimits = `
max_connections: 65536
max_pending: 1GB
write_deadline: "1m"
`

func (natsPeer) start(h *house) (*server, error) {
	address, err := freePort()
	if err != nil {
		return nil, err
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	conf := filepath.Join(h.scratch(), "nats.conf")
	if err := os.WriteFile(conf, []byte(natsLimits), 0o600); err != nil {
		return nil, err
	}
	p, err := h.serve("nats", exec.Command(h.binary("nats-server"), "-a", host, "-p", port, "-c", conf))
	if err != nil {
		return nil, err
	}
	return &server{p, "nats://" + address}, dialable(p, "tcp", address)
}

const natsSubject = "peerbench"

func (natsPeer) join(_ context.Context, s seat) (member, error) {
	c, err := nats.Connect(s.address, nats.NoEcho(), nats.NoReconnect())
	if err != nil {
		return nil, err
	}
	m := &natsMember{c: c}
	for _, take := range s.takes {
		// The library makes a slice for each message; it need not be copied.
		sub, err := c.Subscribe(natsSubject, func(msg *nats.Msg) { take(msg.Data) })
		if err != nil {
			return nil, errors.Join(err, m.close())
		}
		m.listeners.Add(1)
		sub.SetClosedHandler(func(string) { m.listeners.Done() })
		if err := sub.SetPendingLimits(-1, -1); err != nil {
			return nil, errors.Join(err, m.close())
		}
	}
	return m, c.Flush()
}

// natsMember publishes as the library recommends: what Publish buffers, a
// goroutine of the library flushes.
type natsMember struct {
	c         *nats.Conn
	listeners sync.WaitGroup
}

func (m *natsMember) publish(payload []byte) error { return m.c.Publish(natsSubject, payload) }

func (*natsMember) push() error { return nil }

func (m *natsMember) flush() error { return m.c.Flush() }

func (m *natsMember) close() error {
	last := m.c.LastError()
	m.c.Close()
	m.listeners.Wait()
	if last != nil {
		return fmt.Errorf("nats: %w", last)
	}
	return nil
}
