package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/godbus/dbus/v5"

	"crier.local/cmd/internal/load"
)

// dbusPeer is signals over a dbus-daemon of its own.
type dbusPeer struct{}

func (dbusPeer) name() string { return "dbus" }

func (dbusPeer) find(*house) error {
	_, err := found("dbus-daemon", "dbus")
	return err
}

// dbusConf lets everybody do everything, and raises the limits at which signals are
// dropped.
const dbusConf = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>custom</type>
  <listen>unix:path=%s</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
  <limit name="max_incoming_bytes">1000000000</limit>
  <limit name="max_outgoing_bytes">1000000000</limit>
  <limit name="max_completed_connections">20000</limit>
  <limit name="max_incomplete_connections">20000</limit>
  <limit name="max_connections_per_user">20000</limit>
</busconfig>
`

func (dbusPeer) start(h *house) (*server, error) {
	program, err := found("dbus-daemon", "dbus")
	if err != nil {
		return nil, err
	}
	dir := h.scratch()
	socket, conf := filepath.Join(dir, "bus"), filepath.Join(dir, "bus.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, dbusConf, socket), 0o600); err != nil {
		return nil, err
	}
	p, err := h.serve("dbus", exec.Command(program, "--config-file="+conf, "--nofork", "--nopidfile"))
	if err != nil {
		return nil, err
	}
	return &server{p, "unix:path=" + socket}, dialable(p, "unix", socket)
}

const (
	dbusPath      = "/local/crier/peerbench"
	dbusInterface = "local.crier.peerbench"
	dbusSignal    = "Message"
)

func (dbusPeer) join(ctx context.Context, s seat) (member, error) {
	m := &dbusMember{}
	signals := &dbusSignals{closed: make(chan struct{})}
	if len(s.takes) > 0 {
		signals.take = s.takes[0]
	}
	var err error
	if m.conn, err = dbus.Dial(s.address, dbus.WithSignalHandler(signals)); err != nil {
		return nil, err
	}
	m.signals = signals
	if err = m.conn.Auth(nil); err == nil {
		err = m.conn.Hello()
	}
	if err == nil && len(s.takes) > 0 {
		err = m.conn.AddMatchSignalContext(ctx, dbus.WithMatchInterface(dbusInterface))
	}
	if err != nil {
		return nil, errors.Join(err, m.conn.Close())
	}
	return m, nil
}

// dbusSignals takes signals in the library's reading goroutine, which saves the
// queue that its own handlers have.
type dbusSignals struct {
	take   func([]byte)
	closed chan struct{}
}

func (s *dbusSignals) DeliverSignal(iface, _ string, signal *dbus.Signal) {
	if iface != dbusInterface || s.take == nil || len(signal.Body) != 1 {
		return
	}
	if text, is := signal.Body[0].(string); is {
		s.take(fromText(text))
	}
}

func (s *dbusSignals) Terminate() { close(s.closed) }

type dbusMember struct {
	conn    *dbus.Conn
	signals *dbusSignals
}

func (m *dbusMember) publish(payload []byte) error {
	return m.conn.Emit(dbusPath, dbusInterface+"."+dbusSignal, toText(payload))
}

func (*dbusMember) push() error { return nil }

func (*dbusMember) flush() error { return nil }

func (m *dbusMember) close() error {
	err := m.conn.Close()
	<-m.signals.closed
	return err
}

// toText makes a string of D-Bus of a payload, for which arrays of bytes would be
// far slower: as long as the payload, with the header in hexadecimal digits. Where
// there is no room for these the time is left out, but for the mark of an end.
func toText(payload []byte) string {
	text := make([]byte, len(payload))
	if len(payload) >= 2*load.HeaderSize {
		hex.Encode(text, payload[:load.HeaderSize])
		copy(text[2*load.HeaderSize:], payload[2*load.HeaderSize:])
		return string(text)
	}
	short := [load.HeaderSize / 2]byte(payload)
	if payload[load.HeaderSize-1] != 0 { // due, of which End alone can be told
		short[1] |= endMark
	}
	hex.Encode(text, short[:])
	return string(text)
}

// endMark is in the upper byte of the publisher's number, which is small.
const endMark = 0x80

// fromText is the reverse; what is no such text gives no payload.
func fromText(text string) []byte {
	payload := []byte(text)
	if len(payload) >= 2*load.HeaderSize {
		if _, err := hex.Decode(payload, payload[:2*load.HeaderSize]); err != nil {
			return nil
		}
		return payload
	}
	if _, err := hex.Decode(payload, payload[:load.HeaderSize]); err != nil {
		return nil
	}
	due := int64(0)
	if payload[1]&endMark != 0 {
		payload[1] &^= endMark
		due = load.End
	}
	publisher, number, _, err := load.Parse(payload)
	if err != nil {
		return nil
	}
	load.Put(payload, publisher, number, due)
	return payload
}
