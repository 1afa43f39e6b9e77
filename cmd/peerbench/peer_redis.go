package main

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"unsafe"

	"github.com/redis/rueidis"
)

// redisPeer is pub/sub of Redis, over a unix socket or loopback.
type redisPeer struct{ network string }

func (r redisPeer) name() string { return "redis-" + r.network }

func (redisPeer) find(*house) error {
	_, err := found("redis-server", "redis-server")
	return err
}

func (r redisPeer) start(h *house) (*server, error) {
	program, err := found("redis-server", "redis-server")
	if err != nil {
		return nil, err
	}
	dir := h.scratch()
	args := []string{
		"--save", "", "--appendonly", "no", "--dir", dir, "--maxclients", "10000",
		"--client-output-buffer-limit", "pubsub 0 0 0", // nobody is ended as slow
	}
	address := filepath.Join(dir, "redis.sock")
	if r.network == "unix" {
		args = append(args, "--port", "0", "--unixsocket", address)
	} else {
		if address, err = freePort(); err != nil {
			return nil, err
		}
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		args = append(args, "--bind", host, "--port", port)
	}
	p, err := h.serve(r.name(), exec.Command(program, args...))
	if err != nil {
		return nil, err
	}
	return &server{p, address}, dialable(p, r.network, address)
}

const redisChannel = "peerbench"

func (r redisPeer) join(ctx context.Context, s seat) (member, error) {
	c, err := rueidis.NewClient(rueidis.ClientOption{
		InitAddress: []string{s.address},
		DialCtxFn: func(ctx context.Context, address string, d *net.Dialer, _ *tls.Config) (net.Conn, error) {
			return d.DialContext(ctx, r.network, address)
		},
		DisableCache: true, ForceSingleClient: true, ClientSetInfo: rueidis.DisableClientSetInfo,
		PipelineMultiplex: -1, // one connection, for the sake of order
	})
	if err != nil {
		return nil, err
	}
	m := &redisMember{client: c}
	for _, take := range s.takes {
		if err := m.subscribe(ctx, take); err != nil {
			return nil, errors.Join(err, m.close())
		}
	}
	return m, nil
}

// redisBatch is how many messages go out in one pipeline when there are that many.
const redisBatch = 512

type redisMember struct {
	client  rueidis.Client
	release func()
	gone    <-chan error // closed when nothing is taken any more

	batch []rueidis.Completed
	kept  []byte // the payloads of the batch
}

// subscribe has take called from the goroutine that reads. The library makes a
// string for each message, which need not be copied.
func (m *redisMember) subscribe(ctx context.Context, take func([]byte)) error {
	c, release := m.client.Dedicate()
	m.release = release
	subscribed := make(chan struct{}, 1)
	m.gone = c.SetPubSubHooks(rueidis.PubSubHooks{
		OnMessage: func(msg rueidis.PubSubMessage) {
			take(unsafe.Slice(unsafe.StringData(msg.Message), len(msg.Message)))
		},
		OnSubscription: func(rueidis.PubSubSubscription) { subscribed <- struct{}{} },
	})
	if err := c.Do(ctx, c.B().Subscribe().Channel(redisChannel).Build()).Error(); err != nil {
		return err
	}
	select {
	case <-subscribed:
		return nil
	case err := <-m.gone:
		return err
	}
}

func (m *redisMember) publish(payload []byte) error {
	begin := len(m.kept)
	m.kept = append(m.kept, payload...) // what moves leaves its copy to those before
	kept := m.kept[begin:]
	text := unsafe.String(unsafe.SliceData(kept), len(kept))
	m.batch = append(m.batch, m.client.B().Publish().Channel(redisChannel).Message(text).Build())
	if len(m.batch) < redisBatch {
		return nil
	}
	return m.push()
}

// push waits for the replies: the library has no pipeline that does not.
func (m *redisMember) push() error {
	if len(m.batch) == 0 {
		return nil
	}
	var err error
	if len(m.batch) == 1 {
		err = m.client.Do(context.Background(), m.batch[0]).Error()
	} else {
		for _, result := range m.client.DoMulti(context.Background(), m.batch...) {
			err = errors.Join(err, result.Error())
		}
	}
	m.batch, m.kept = m.batch[:0], m.kept[:0]
	return err
}

func (m *redisMember) flush() error { return m.push() }

func (m *redisMember) close() error {
	if m.release != nil {
		m.release()
	}
	m.client.Close()
	if m.gone == nil {
		return nil
	}
	err := <-m.gone
	if errors.Is(err, rueidis.ErrClosing) || err != nil && strings.Contains(err.Error(), "unsubscribed") {
		return nil
	}
	return err
}
