package notification

import "bytes"

// larder keeps payloads beyond the batches that they came in, several in a piece
// of memory, which is larger where many come.
type larder struct {
	rest []byte // of the piece at hand
	size int    // of the next one
}

// A payload that is kept keeps a piece in memory: maxPiece at most.
const (
	minPiece = 512
	maxPiece = 16 << 10
)

// keep returns a copy of payload.
func (l *larder) keep(payload []byte) []byte {
	n := len(payload)
	if n > maxPiece/8 {
		return bytes.Clone(payload)
	}
	if n > len(l.rest) {
		l.size = min(max(minPiece, 2*l.size, 4*n), maxPiece)
		l.rest = make([]byte, l.size)
	}
	kept := l.rest[:n:n]
	l.rest = l.rest[n:]
	copy(kept, payload)
	return kept
}
