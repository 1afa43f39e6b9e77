package main

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"time"
)

// journal is standard error: notes for a person, and the log. Whoever writes to
// it never waits for whoever reads it, since a provider that waited for its log
// would let all its clients wait. What there is no room for is dropped, and a
// line in its place says how much. Safe for concurrent use.
type journal struct {
	to io.Writer
	// terminal is true when a person reads: then text from others is sanitised.
	terminal bool

	mu      sync.Mutex
	mourn   func(lines int) []byte // the line that tells of lines that are lost
	text    []byte                 // to be written
	failed  int                    // lines before text that could not be written
	dropped int                    // lines after text for which there was no room
	torn    bool                   // what was written last is not a whole line
	written chan struct{}          // closed when all is; nil if nothing is being written
}

const (
	// journalRoom is how much may wait to be written.
	journalRoom = 256 << 10
	// piece is how much is written at once, but for a longer line: a pipe keeps so
	// much together when other processes write to it too.
	piece = 4 << 10
)

func newJournal(to io.Writer) *journal {
	return &journal{to: to, mourn: func(lines int) []byte {
		return fmt.Appendf(nil, "crier: %d lines are lost here, which could not be written\n", lines)
	}}
}

// Write takes b, which is one line or more, and never fails.
func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.dropped > 0 || len(j.text) > 0 && len(j.text)+len(b) > journalRoom {
		j.dropped += lines(b)
		return len(b), nil
	}
	j.text = append(j.text, b...)
	if j.written == nil {
		j.written = make(chan struct{})
		go j.write(j.written) // ends when all is written, or with the process
	}
	return len(b), nil
}

// flush waits until all is written, but no longer than limit.
func (j *journal) flush(limit time.Duration) {
	j.mu.Lock()
	written := j.written
	j.mu.Unlock()
	if written == nil {
		return
	}
	select {
	case <-written:
	case <-time.After(limit):
	}
}

// tell sets how lines that are lost are told of.
func (j *journal) tell(mourn func(lines int) []byte) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.mourn = mourn
}

// write writes what there is, until nothing is left or it cannot be written. Then
// the next Write tries again.
func (j *journal) write(written chan struct{}) {
	defer close(written)
	for {
		s, more := j.take()
		if !more {
			return
		}
		if err := s.write(j.to); err != nil {
			j.regret(s)
			return
		}
	}
}

// stretch is a part of the journal that is written in one go.
type stretch struct {
	head, text, tail []byte // head and tail tell of lines that are lost
	failed, dropped  int    // how many
	n                int    // bytes that were written
	wasTorn          bool   // what was written before is not a whole line
}

// take returns what is to be written next.
func (j *journal) take() (s *stretch, more bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.text) == 0 && j.dropped == 0 {
		j.written = nil
		return nil, false
	}
	s = &stretch{text: j.text, failed: j.failed, dropped: j.dropped, wasTorn: j.torn}
	if s.failed > 0 {
		s.head = j.mourn(s.failed)
	}
	if s.dropped > 0 {
		s.tail = j.mourn(s.dropped)
	}
	if j.torn {
		s.head = append([]byte("\n"), s.head...)
	}
	j.text, j.failed, j.dropped, j.torn = nil, 0, 0, false
	return s, true
}

// regret takes back what could not be written of s, as lines that are lost.
func (j *journal) regret(s *stretch) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.failed, j.torn = s.lost(), s.torn()
	j.failed += lines(j.text) + j.dropped
	j.text, j.dropped, j.written = nil, 0, nil
}

func (s *stretch) write(to io.Writer) error {
	for rest := s.all(); len(rest) > 0; {
		n, err := to.Write(rest[:pieceOf(rest)])
		s.n += n
		if err != nil {
			return err
		}
		rest = rest[n:]
	}
	return nil
}

func (s *stretch) all() []byte { return bytes.Join([][]byte{s.head, s.text, s.tail}, nil) }

// lost returns how many lines of s, and of those that it tells of, have not been
// written as a whole.
func (s *stretch) lost() int {
	head := min(s.n, len(s.head))
	text := min(s.n-head, len(s.text))
	n := lines(s.text) - bytes.Count(s.text[:text], []byte("\n")) + s.dropped
	if head < len(s.head) {
		n += s.failed
	}
	return n
}

// torn reports whether the last line that was written lacks its end.
func (s *stretch) torn() bool {
	if s.n == 0 {
		return s.wasTorn
	}
	return s.all()[s.n-1] != '\n'
}

// pieceOf returns how much of b is written at once: whole lines.
func pieceOf(b []byte) int {
	if len(b) <= piece {
		return len(b)
	}
	if i := bytes.LastIndexByte(b[:piece], '\n'); i >= 0 {
		return i + 1
	}
	if i := bytes.IndexByte(b, '\n'); i >= 0 {
		return i + 1
	}
	return len(b)
}

// lines counts lines, the last of which may lack its end.
func lines(b []byte) int {
	n := bytes.Count(b, []byte("\n"))
	if len(b) > 0 && b[len(b)-1] != '\n' {
		n++
	}
	return n
}
