// Peerbench shows Crier against what its users would otherwise run on the host: NATS,
// Redis pub/sub, Mosquitto, D-Bus and ZeroMQ. It also shows how far Crier is from what
// unix sockets can carry at all, and its send with a receipt against a bare unary call
// of gRPC.
//
//	go -C cmd/peerbench run .                         # everything, some 25 minutes
//	go -C cmd/peerbench run . --charts charts         # and write charts/ and RESULTS.md
//	go -C cmd/peerbench run . --systems crier,nats --cells 128x10,1024x10
//	go -C cmd/peerbench run . --systems crier --cells 128x10 --rounds 1 --profile DIR
//
// It builds crier and nats-server, and finds redis-server, mosquitto, dbus-daemon and
// libzmq on the machine; what is absent is left out, and why is told. It starts each
// server for each measurement, in a temporary directory, on a unix socket or a port of
// loopback that was free, and ends it afterwards; the processes die with peerbench
// however that ends.
//
// # Rounds
//
// In each round every cell is measured of every system, of one right after the other,
// in an order that turns from round to round. What is compared are figures of the same
// round, and what is shown is the median of the ratios and their range: machines drift
// by more between rounds than systems differ.
//
// # Cells
//
// 128x10 is 128 bytes from one publisher to ten receivers, 128all8 eight processes
// that each publish to the seven others. In shared, 100 receivers are connections
// over one attachment (NATS: subscriptions of one connection). In latency and loaded
// the publisher is an open loop: a message is timed from when it was due, however late
// it was sent; having sent it, the publisher yields to the library's goroutines before
// it sleeps. In send a message is sent when the receipt for the one before has come.
// Memory is what the server has (PSS) after each of 500 processes has connected and
// done nothing, less what it had before. In killed a process with 100 connections is
// killed with -9, and a witness counts. In idle the server is left alone with 1,000
// connections until it has come to rest, and then measured.
//
// # Fairness
//
// Every system has the same processes: its server, a publisher, and one with all
// receivers, each of which has a connection of its own. All are this program, under
// the same Go runtime with its defaults. ZeroMQ has no server; the publisher sends to
// all by itself, over unix sockets (ipc), which is the faster way to use it.
//
// Publishers go as fast as the client library lets them, in the way that its
// documentation recommends: NATS by Publish, which a goroutine of the library flushes;
// Redis by pipelines of 512 PUBLISH (rueidis, whose DoMulti waits for the replies);
// Mosquitto at QoS 0 over a unix socket (paho, MQTT 5), which has no answer to wait
// for; D-Bus by signals (godbus), taken in the goroutine that reads; ZeroMQ by
// zmq_send, called without cgo, which costs each call a little more; Crier by Post. Nothing of Crier is switched off, and its defaults are not
// touched.
//
// A payload is its receiver's to keep. Where a library makes memory for each message
// (Crier, NATS, Redis, Mosquitto, D-Bus) it is taken as it is; from ZeroMQ it is copied
// into pieces of 64 KiB. The raw limit alone lends payloads: it is there to show what
// a socket can do, not what a service could. D-Bus gets strings, for which godbus is
// far faster than for arrays of bytes.
//
// Whoever can be told not to return to a publisher what it has published is told so;
// of Redis, which can't, such messages are dropped and do not count.
//
// Servers are set up so that they drop nothing: NATS with a gigabyte pending for each
// connection, Redis without a limit for the output of pub/sub, Mosquitto without limits
// of its queues, ZeroMQ without high-water marks, D-Bus with a gigabyte. Unbounded
// queues would make rates meaningless, so every publisher of every system is held to
// the same distance from its slowest receiver (--window), of which it learns by memory
// that the processes share.
//
// Every delivery is checked by its number. Messages lost, delivered twice or out of
// order are counted and shown; there should be none.
//
// CPU is the time, user and system, that the kernel has charged to a process during
// the measured part, divided by the deliveries in it.
package main
