package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"

	"github.com/eclipse/paho.golang/paho"
)

// mosquitto is MQTT 5 at QoS 0 over a unix socket.
type mosquitto struct{}

func (mosquitto) name() string { return "mosquitto" }

func (mosquitto) find(*house) error {
	_, err := found("mosquitto", "mosquitto")
	return err
}

// mosquittoConf takes the limits away, at which messages of QoS 0 are dropped.
const mosquittoConf = `
listener 0 %s
allow_anonymous true
user root
persistence false
sys_interval 0
max_inflight_messages 0
max_queued_messages 0
log_dest stderr
log_type error
`

func (mosquitto) start(h *house) (*server, error) {
	program, err := found("mosquitto", "mosquitto")
	if err != nil {
		return nil, err
	}
	dir := h.scratch()
	socket, conf := filepath.Join(dir, "mosquitto.sock"), filepath.Join(dir, "mosquitto.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, mosquittoConf, socket), 0o600); err != nil {
		return nil, err
	}
	p, err := h.serve("mosquitto", exec.Command(program, "-c", conf))
	if err != nil {
		return nil, err
	}
	return &server{p, socket}, dialable(p, "unix", socket)
}

const mosquittoTopic = "peerbench"

func (mosquitto) join(ctx context.Context, s seat) (member, error) {
	conn, err := net.Dial("unix", s.address)
	if err != nil {
		return nil, err
	}
	m := &mosquittoMember{}
	config := paho.ClientConfig{Conn: conn, OnClientError: func(err error) { m.failed.Store(&err) }}
	for _, take := range s.takes {
		// The library reads each message into memory of its own; it need not be copied.
		config.OnPublishReceived = append(config.OnPublishReceived, func(r paho.PublishReceived) (bool, error) {
			take(r.Packet.Payload)
			return true, nil
		})
	}
	m.client = paho.NewClient(config)
	if _, err := m.client.Connect(ctx, &paho.Connect{CleanStart: true, KeepAlive: 600}); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	if len(s.takes) == 0 {
		return m, nil
	}
	_, err = m.client.Subscribe(ctx, &paho.Subscribe{
		Subscriptions: []paho.SubscribeOptions{{Topic: mosquittoTopic, NoLocal: true}},
	})
	return m, err
}

// mosquittoMember publishes without waiting: there is no answer at QoS 0. The
// library writes each message by itself.
type mosquittoMember struct {
	client *paho.Client
	failed atomic.Pointer[error]
}

func (m *mosquittoMember) publish(payload []byte) error {
	_, err := m.client.Publish(context.Background(), &paho.Publish{Topic: mosquittoTopic, Payload: payload})
	return err
}

func (*mosquittoMember) push() error { return nil }

func (*mosquittoMember) flush() error { return nil }

func (m *mosquittoMember) close() error {
	failed := m.failed.Load()
	err := m.client.Disconnect(&paho.Disconnect{})
	<-m.client.Done()
	if failed != nil {
		return *failed
	}
	return err
}
