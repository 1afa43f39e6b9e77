package main

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"time"
)

// system is one of those that are compared: how its server is run, and how its
// clients take part.
type system interface {
	// name is how flags and tables call it.
	name() string
	// find makes sure that all is there that it takes; the error says what is not.
	find(*house) error
	// start starts a server. It returns when clients can connect.
	start(*house) (*server, error)
	// join connects a client. It returns when what is published from then on
	// reaches the client.
	join(context.Context, seat) (member, error)
}

// systems returns all there are, in the order in which they are shown.
func systems() []system {
	return []system{
		crier{}, natsPeer{}, redisPeer{"unix"}, redisPeer{"tcp"},
		mosquitto{}, &zeromq{}, dbusPeer{}, raw{}, bareGRPC{},
	}
}

// server is a system's server that runs.
type server struct {
	*process // nil for a system that has none
	address  string
}

// seat is the place of one client in a measurement.
type seat struct {
	address    string
	publishers int // in all
	receivers  int // in all
	size       int // of a payload, in bytes

	// publisher is the number of the publisher that the client is; -1 for none.
	publisher int
	// receivers are what hears the messages, each by a subscription of its own, in
	// order and from one goroutine. The payload is the receiver's to keep.
	takes []func(payload []byte)
}

func (s seat) publishes() bool { return s.publisher >= 0 }

// member is a client that has joined. It is for one goroutine.
type member interface {
	// publish sends a message, or keeps it to send it along with others. The
	// payload may be reused then.
	publish(payload []byte) error
	// push sends what publish has kept. It does not wait for the server.
	push() error
	// flush pushes, and returns when the client has nothing more to send.
	flush() error
	// close ends the connection. Nothing is taken once it has returned.
	close() error
}

// requester is a member that can have a message answered.
type requester interface {
	// request sends a message and waits for the answer.
	request(payload []byte) error
}

// multiplier is a member that can open further connections over its attachment.
type multiplier interface{ more(connections int) error }

// dialable waits until a server can be connected to.
func dialable(p *process, network, address string) error {
	for deadline := time.Now().Add(10 * time.Second); ; {
		c, err := net.Dial(network, address)
		if err == nil {
			return c.Close()
		}
		if time.Now().After(deadline) {
			return p.failure(err)
		}
		select {
		case <-p.ended:
			return p.failure(err)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// freePort returns a TCP address of this host that nobody listens at.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// found returns where a program is: on PATH, or where system programs are.
func found(program, debian string) (string, error) {
	for _, path := range []string{program, "/usr/sbin/" + program, "/usr/bin/" + program} {
		if path, err := exec.LookPath(path); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s is not installed (Debian: apt-get install --no-install-recommends %s)", program, debian)
}
