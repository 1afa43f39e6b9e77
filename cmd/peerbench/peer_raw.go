package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
)

// raw is what unix sockets can carry at all: a process that copies bytes from each
// connection to all others, in pieces of 64 KiB. It knows no rooms, no order between
// publishers, no windows and no end of a slow receiver.
type raw struct{}

func (raw) name() string { return "raw" }

func (raw) find(*house) error { return nil }

func (raw) start(h *house) (*server, error) {
	path := filepath.Join(h.scratch(), "raw.sock")
	cmd, err := ownCommand("raw", path, h.profile("raw server"))
	if err != nil {
		return nil, err
	}
	p, err := h.serve("raw", cmd)
	if err != nil {
		return nil, err
	}
	return &server{p, path}, dialable(p, "unix", path)
}

const (
	rawPiece = 64 << 10
	// rawQueue is how many pieces may wait for a connection, for whose sake the
	// publisher then waits.
	rawQueue = 16
	// Frames begin with their length in four bytes. A connection begins with the
	// size of its frames, which are all equal, so that no piece ends within one.
	rawLength = 4
)

// serveRaw is the main function of the server; it returns the status.
func serveRaw(path, profile string) int {
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer cancel()
	err := profiled(profile, func() error {
		l, err := net.Listen("unix", path)
		if err != nil {
			return err
		}
		go (&rawServer{}).accept(l)
		<-ctx.Done()
		return nil
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

type rawServer struct {
	mu    sync.RWMutex
	conns []*rawConn // that listen
}

// rawConn is a connection that listens.
type rawConn struct {
	net.Conn
	queue chan *rawBlock
}

// rawBlock is bytes that several connections are to be sent.
type rawBlock struct {
	buffer [rawPiece]byte
	bytes  []byte
	users  atomic.Int32
	home   *sync.Pool
}

func (b *rawBlock) release() {
	if b.users.Add(-1) == 0 {
		b.home.Put(b)
	}
}

func (s *rawServer) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go s.handle(c)
	}
}

// rawHello begins a connection: the size of its frames, and whether it listens.
type rawHello struct {
	Frame   uint32
	Listens bool
}

// handle serves a connection until it ends.
func (s *rawServer) handle(c net.Conn) {
	defer c.Close()
	var hello rawHello
	if err := binary.Read(c, binary.LittleEndian, &hello); err != nil {
		return
	}
	self := &rawConn{c, make(chan *rawBlock, rawQueue)}
	if hello.Listens {
		s.mu.Lock()
		s.conns = append(s.conns, self)
		s.mu.Unlock()
		go self.write()
	}
	if _, err := c.Write([]byte{1}); err == nil {
		s.read(self, int(hello.Frame))
	}
}

// read copies what comes to the queues of all others, whole frames at a time.
func (s *rawServer) read(self *rawConn, frame int) {
	pool := &sync.Pool{}
	pool.New = func() any { return &rawBlock{home: pool} }
	next := pool.Get().(*rawBlock)
	for left := 0; ; {
		block := next
		n, err := self.Read(block.buffer[left:])
		if err != nil {
			return
		}
		n += left
		left = n % frame
		next = pool.Get().(*rawBlock)
		copy(next.buffer[:], block.buffer[n-left:n])
		block.bytes = block.buffer[:n-left]
		s.fanOut(self, block)
	}
}

func (s *rawServer) fanOut(self *rawConn, block *rawBlock) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	block.users.Store(int32(len(s.conns)) + 1)
	for _, c := range s.conns {
		if c == self || len(block.bytes) == 0 {
			block.release()
			continue
		}
		c.queue <- block
	}
	block.release()
}

func (c *rawConn) write() {
	for block := range c.queue {
		_, _ = c.Write(block.bytes) // one that has gone takes nothing, and is in nobody's way
		block.release()
	}
}

func (raw) join(_ context.Context, s seat) (member, error) {
	c, err := net.Dial("unix", s.address)
	if err != nil {
		return nil, err
	}
	m := &rawMember{conn: c, out: bufio.NewWriterSize(c, rawPiece)}
	hello := rawHello{uint32(s.size + rawLength), len(s.takes) > 0}
	err = binary.Write(c, binary.LittleEndian, hello)
	if err == nil {
		_, err = io.ReadFull(c, make([]byte, 1))
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	for _, take := range s.takes {
		m.listening.Go(func() { m.listen(take) })
	}
	return m, nil
}

type rawMember struct {
	conn      net.Conn
	out       *bufio.Writer
	listening sync.WaitGroup
}

// listen lends each payload to its receiver, who has to have looked at it before the
// next read: this is the limit of a socket, not a service.
func (m *rawMember) listen(take func([]byte)) {
	piece, end := make([]byte, rawPiece), 0
	for {
		n, err := m.conn.Read(piece[end:])
		if err != nil {
			return
		}
		end += n
		begin := 0
		for end-begin >= rawLength {
			next := begin + rawLength + int(binary.LittleEndian.Uint32(piece[begin:]))
			if next > end {
				break
			}
			take(piece[begin+rawLength : next])
			begin = next
		}
		end = copy(piece, piece[begin:end])
	}
}

func (m *rawMember) publish(payload []byte) error {
	var length [rawLength]byte
	binary.LittleEndian.PutUint32(length[:], uint32(len(payload)))
	if _, err := m.out.Write(length[:]); err != nil {
		return err
	}
	_, err := m.out.Write(payload)
	return err
}

func (m *rawMember) push() error { return m.out.Flush() }

func (m *rawMember) flush() error { return m.out.Flush() }

func (m *rawMember) close() error {
	err := m.conn.Close()
	m.listening.Wait()
	return err
}
