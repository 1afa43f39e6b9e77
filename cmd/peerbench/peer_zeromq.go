package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"unsafe"

	"github.com/ebitengine/purego"
)

// zeromq is PUB and SUB sockets of libzmq over unix sockets. There is no server:
// the publisher's process does its work.
type zeromq struct {
	mu      sync.Mutex
	lib     *libzmq
	context uintptr // of all sockets of this process
	members int
}

func (*zeromq) name() string { return "zeromq" }

func (*zeromq) find(*house) error {
	_, err := loadZeroMQ()
	return err
}

// start makes the directory in which publishers listen.
func (*zeromq) start(h *house) (*server, error) { return &server{address: h.scratch()}, nil }

// libzmq is the functions of the library that are used.
type libzmq struct {
	newContext, shutdown, term    uintptr
	socket, setOption, bind, dial uintptr
	send, receive, close, errno   uintptr
}

func loadZeroMQ() (*libzmq, error) {
	handle, err := purego.Dlopen("libzmq.so.5", purego.RTLD_NOW|purego.RTLD_GLOBAL)
	if err != nil {
		return nil, fmt.Errorf("libzmq is not installed (Debian: apt-get install --no-install-recommends libzmq5): %w", err)
	}
	l := &libzmq{}
	for symbol, to := range map[string]*uintptr{
		"zmq_ctx_new": &l.newContext, "zmq_ctx_shutdown": &l.shutdown, "zmq_ctx_term": &l.term,
		"zmq_socket": &l.socket, "zmq_setsockopt": &l.setOption, "zmq_bind": &l.bind, "zmq_connect": &l.dial,
		"zmq_send": &l.send, "zmq_recv": &l.receive, "zmq_close": &l.close, "zmq_errno": &l.errno,
	} {
		if *to, err = purego.Dlsym(handle, symbol); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// What zmq.h calls them.
const (
	zmqSub         = 2
	zmqXPub        = 9
	zmqSubscribe   = 6
	zmqLinger      = 17
	zmqSndHWM      = 23
	zmqRcvHWM      = 24
	zmqXPubVerbose = 40
	zmqTerminated  = 156384765 // ETERM
)

var errTerminated = syscall.Errno(zmqTerminated)

// call calls a function that returns -1 when it fails; why that was, is known to the
// thread that called.
func (l *libzmq) call(what string, fn uintptr, args ...uintptr) (int, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	r, _, _ := purego.SyscallN(fn, args...)
	if int32(r) >= 0 {
		return int(int32(r)), nil
	}
	errno, _, _ := purego.SyscallN(l.errno)
	return 0, fmt.Errorf("zmq: %s: %w", what, syscall.Errno(errno))
}

// enter returns the context of this process.
func (z *zeromq) enter() (*libzmq, uintptr, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.lib == nil {
		lib, err := loadZeroMQ()
		if err != nil {
			return nil, 0, err
		}
		z.lib = lib
		z.context, _, _ = purego.SyscallN(lib.newContext)
	}
	z.members++
	return z.lib, z.context, nil
}

// leave shuts the sockets of all members down with the first that leaves; the last
// ends the context.
func (z *zeromq) leave(m *zeromqMember) error {
	z.mu.Lock()
	defer z.mu.Unlock()
	_, err := z.lib.call("shut down", z.lib.shutdown, z.context)
	m.listeners.Wait()
	if m.out != 0 {
		_, e := z.lib.call("close", z.lib.close, m.out)
		err = errors.Join(err, e)
	}
	if z.members--; z.members == 0 {
		_, e := z.lib.call("end", z.lib.term, z.context)
		err = errors.Join(err, e)
	}
	return errors.Join(err, m.failed)
}

func (z *zeromq) join(_ context.Context, s seat) (member, error) {
	lib, context, err := z.enter()
	if err != nil {
		return nil, err
	}
	m := &zeromqMember{z: z, libzmq: lib, context: context}
	for _, take := range s.takes {
		if err := m.subscribe(s, take); err != nil {
			return nil, errors.Join(err, m.close())
		}
	}
	if s.publishes() {
		if err := m.offer(s); err != nil {
			return nil, errors.Join(err, m.close())
		}
	}
	return m, nil
}

type zeromqMember struct {
	*libzmq
	z         *zeromq
	context   uintptr
	out       uintptr // the socket that publishes; 0 for none
	listeners sync.WaitGroup
	failed    error // why listening ended
}

// open makes a socket whose queues have no limit, at which it would drop messages.
func (m *zeromqMember) open(kind uintptr, options map[uintptr]int32) (uintptr, error) {
	socket, _, _ := purego.SyscallN(m.libzmq.socket, m.context, kind)
	if socket == 0 {
		return 0, errors.New("zmq: no more sockets")
	}
	options[zmqSndHWM], options[zmqRcvHWM] = 0, 0
	for option, value := range options {
		if _, err := m.call("set option", m.setOption, socket, option, uintptr(unsafe.Pointer(&value)), unsafe.Sizeof(value)); err != nil {
			return 0, err
		}
	}
	return socket, nil
}

func zmqEndpoint(address string, publisher int) string {
	return "ipc://" + filepath.Join(address, fmt.Sprint(publisher)) + "\x00"
}

// subscribe listens to all publishers but the member itself.
func (m *zeromqMember) subscribe(s seat, take func([]byte)) error {
	socket, err := m.open(zmqSub, map[uintptr]int32{zmqLinger: 0})
	if err != nil {
		return err
	}
	all := []byte{0}
	if _, err := m.call("subscribe", m.setOption, socket, zmqSubscribe, uintptr(unsafe.Pointer(&all[0])), 0); err != nil {
		return err
	}
	for publisher := range s.publishers {
		if publisher == s.publisher {
			continue
		}
		endpoint := []byte(zmqEndpoint(s.address, publisher))
		if _, err := m.call("connect", m.dial, socket, uintptr(unsafe.Pointer(&endpoint[0]))); err != nil {
			return err
		}
	}
	m.listeners.Go(func() { m.failed = m.listen(socket, take) })
	return nil
}

const zmqChunk = 64 << 10

// listen takes messages until the context ends. The library lends its memory, or
// copies into ours, of which each message gets its own piece.
func (m *zeromqMember) listen(socket uintptr, take func([]byte)) error {
	chunk := make([]byte, zmqChunk)
	for used := 0; ; {
		if used+zmqChunk/8 > len(chunk) {
			chunk, used = make([]byte, zmqChunk), 0
		}
		n, err := m.call("receive", m.receive, socket, uintptr(unsafe.Pointer(&chunk[used])), uintptr(len(chunk)-used), 0)
		switch {
		case err == nil:
			take(chunk[used : used+n : used+n])
			used += n
		case errors.Is(err, syscall.EINTR):
		default:
			_, closing := m.call("close", m.libzmq.close, socket)
			if errors.Is(err, errTerminated) {
				return closing
			}
			return errors.Join(err, closing)
		}
	}
}

// offer listens for receivers, and returns when all are there.
func (m *zeromqMember) offer(s seat) (err error) {
	if m.out, err = m.open(zmqXPub, map[uintptr]int32{zmqXPubVerbose: 1, zmqLinger: -1}); err != nil {
		return err
	}
	endpoint := []byte(zmqEndpoint(s.address, s.publisher))
	if _, err := m.call("bind", m.bind, m.out, uintptr(unsafe.Pointer(&endpoint[0]))); err != nil {
		return err
	}
	others := s.receivers - len(s.takes)
	for subscription := make([]byte, 8); others > 0; {
		_, err := m.call("subscription", m.receive, m.out, uintptr(unsafe.Pointer(&subscription[0])), uintptr(len(subscription)), 0)
		switch {
		case err == nil:
			others--
		case !errors.Is(err, syscall.EINTR):
			return err
		}
	}
	return nil
}

func (m *zeromqMember) publish(payload []byte) error {
	for {
		_, err := m.call("send", m.send, m.out, uintptr(unsafe.Pointer(&payload[0])), uintptr(len(payload)), 0)
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

func (*zeromqMember) push() error { return nil }

func (*zeromqMember) flush() error { return nil }

func (m *zeromqMember) close() error { return m.z.leave(m) }
