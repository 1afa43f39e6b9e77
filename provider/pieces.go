package provider

import (
	"encoding/binary"
	"fmt"
	"net"
	"sync/atomic"
)

const (
	// pieceSize is how many bytes the pieces of a message have on average, at
	// least, and pieceSlack how many pieces come before that is asked.
	pieceSize  = 64
	pieceSlack = 1024
	// maxUnfinished is in how many streams a message is under way. The server
	// allows for fewer.
	maxUnfinished = 64
	// largeMessage is what only one stream at a time may have under way, that of the
	// attachment, and only once its hello has come. A hello is small, and so is a
	// question about the provider's health.
	largeMessage = 64 << 10

	frameHeader   = 9 // bytes of a frame's header in HTTP/2
	prefaceSize   = 24
	messageHeader = 5 // bytes before a message in gRPC
)

// What is asked of HTTP/2's frames.
const (
	frameData  = 0
	frameReset = 3
	endStream  = 0x1
	padded     = 0x8
)

// pieces looks at what comes in over a connection, before gRPC does, and ends
// it when a message comes in tiny pieces. gRPC keeps each piece, and some 50
// bytes with it, until the message is complete: one of 16 MiB that comes byte by
// byte would take 800. Honest peers fill their frames.
//
// The zero value is ready for the start of a connection.
type pieces struct {
	complain func(error)  // nil: nobody asks
	greeted  *atomic.Bool // the hello has come; nil: nobody asks

	seen   int // bytes of the preface
	header [frameHeader]byte
	have   int    // bytes of header
	rest   int    // bytes of the frame that are still to come
	data   int    // of which are data
	pad    bool   // the next byte tells how much of the rest is padding
	open   bool   // a data frame is coming in
	stream uint32 // its stream
	empty  int    // frames without data, in a row
	at     message

	unfinished map[uint32]message // by stream, without at
}

// message is how far one has come in.
type message struct {
	header [messageHeader]byte
	have   int // bytes of header
	left   uint32
	size   int // bytes that have come
	pieces int
}

// see looks at the next bytes.
func (p *pieces) see(b []byte) error {
	err := p.look(b)
	if err != nil && p.complain != nil {
		p.complain(err)
	}
	return err
}

func (p *pieces) look(b []byte) error {
	if p.seen < prefaceSize {
		n := min(prefaceSize-p.seen, len(b))
		p.seen += n
		b = b[n:]
	}
	for len(b) > 0 {
		if p.rest == 0 {
			n := copy(p.header[p.have:], b)
			p.have += n
			b = b[n:]
			if p.have == frameHeader {
				p.have = 0
				if err := p.begin(); err != nil {
					return err
				}
			}
			continue
		}
		n := min(p.rest, len(b))
		if p.open {
			p.take(b[:n])
		}
		p.rest -= n
		b = b[n:]
		if p.rest == 0 {
			if err := p.end(); err != nil {
				return err
			}
		}
	}
	return nil
}

// begin begins a frame whose header is complete.
func (p *pieces) begin() error {
	p.rest = int(p.header[0])<<16 | int(p.header[1])<<8 | int(p.header[2])
	p.stream = binary.BigEndian.Uint32(p.header[5:]) & (1<<31 - 1)
	switch p.header[3] {
	case frameReset:
		delete(p.unfinished, p.stream)
	case frameData:
		return p.beginData()
	}
	return nil
}

func (p *pieces) beginData() error {
	p.open, p.data, p.pad = true, p.rest, p.header[4]&padded != 0
	p.at = p.unfinished[p.stream]
	p.at.pieces++
	if p.empty++; p.rest > 0 {
		p.empty = 0
	}
	switch {
	case p.at.pieces > pieceSlack+p.at.size/pieceSize:
		return fmt.Errorf("a message comes in too small pieces: %d for %d bytes", p.at.pieces, p.at.size)
	case p.empty > pieceSlack:
		return fmt.Errorf("%d frames of data in a row have none", p.empty)
	case len(p.unfinished) > maxUnfinished:
		return fmt.Errorf("messages are under way in %d streams", len(p.unfinished))
	}
	if p.rest == 0 {
		return p.end()
	}
	return nil
}

// take is given what comes of a data frame.
func (p *pieces) take(b []byte) {
	if p.pad {
		p.pad = false
		p.data = max(0, p.rest-1-int(b[0]))
		b = b[1:]
	}
	n := min(p.data, len(b))
	p.data -= n
	p.at.take(b[:n])
}

// end ends a frame, and keeps in mind what is unfinished.
func (p *pieces) end() error {
	if !p.open {
		return nil
	}
	p.open = false
	if p.at.have == 0 && p.at.left == 0 || p.header[4]&endStream != 0 {
		delete(p.unfinished, p.stream)
		return nil
	}
	if p.unfinished == nil {
		p.unfinished = map[uint32]message{}
	}
	p.unfinished[p.stream] = p.at
	return p.checkLarge()
}

// checkLarge returns an error if a large message is under way that must not be.
func (p *pieces) checkLarge() error {
	switch {
	case p.at.length() <= largeMessage:
		return nil
	case p.greeted != nil && !p.greeted.Load():
		return fmt.Errorf("a message of %d bytes before the hello", p.at.length())
	}
	for stream, m := range p.unfinished {
		if stream != p.stream && m.length() > largeMessage {
			return fmt.Errorf("large messages are under way in two streams: %d and %d bytes", p.at.length(), m.length())
		}
	}
	return nil
}

// length is how long the message claims to be; 0 before its header has come.
func (m *message) length() int { return m.size + int(m.left) }

// take is given the next bytes of messages.
func (m *message) take(b []byte) {
	for len(b) > 0 {
		n := 0
		if m.left > 0 {
			n = int(min(int64(m.left), int64(len(b))))
			m.left -= uint32(n)
			m.size += n
		} else {
			n = copy(m.header[m.have:], b)
			if m.have += n; m.have == messageHeader {
				m.have, m.size, m.pieces = 0, 0, 1
				m.left = binary.BigEndian.Uint32(m.header[1:])
			}
		}
		b = b[n:]
	}
}

// inspected is a connection of which the pieces are looked at.
type inspected struct {
	net.Conn
	pieces *pieces
}

// Read reads what is in order.
func (c inspected) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if wrong := c.pieces.see(b[:n]); wrong != nil {
		return 0, wrong
	}
	return n, err
}
