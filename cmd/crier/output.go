package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"unicode/utf8"

	"github.com/mattn/go-isatty"
)

// output is standard output: data only, and a line is never mixed with another.
// Safe for concurrent use.
type output struct {
	file *os.File
	// terminal is true when a person watches: then text from others is sanitised.
	terminal bool

	mu sync.Mutex // held during a write
}

func newOutput(f *os.File) *output { return &output{file: f, terminal: isTerminal(f)} }

func isTerminal(f *os.File) bool { return isatty.IsTerminal(f.Fd()) }

// Write writes b in one piece.
func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n, err := o.file.Write(b)
	if errors.Is(err, syscall.EPIPE) {
		return n, errOutputClosed
	}
	return n, err
}

// line writes the parts as one line.
func (o *output) line(parts ...[]byte) error {
	_, err := o.Write(append(bytes.Join(parts, nil), '\n'))
	return err
}

// printf writes a line of our own words; what comes from others must have gone
// through text.
func (o *output) printf(format string, args ...any) error {
	return o.line(fmt.Appendf(nil, format, args...))
}

// text returns what may be shown of b here: b itself, or on a terminal a form of
// it that cannot do anything there.
func (o *output) text(b []byte) []byte {
	if o.terminal {
		return []byte(sanitize(b))
	}
	return b
}

// json writes v as one line of JSON.
func (o *output) json(v any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err
	}
	_, err := o.Write(escapeJSON(b.Bytes()))
	return err
}

// escapeJSON escapes the characters that JSON lets through and a terminal obeys.
// They occur only inside strings, so the meaning stays the same.
func escapeJSON(b []byte) []byte {
	if bytes.IndexFunc(b, obeyed) < 0 {
		return b
	}
	var out []byte
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		if obeyed(r) {
			out = fmt.Appendf(out, `\u%04x`, r)
		} else {
			out = append(out, b[:n]...)
		}
		b = b[n:]
	}
	return out
}

// obeyed reports whether r must be escaped; the line's end must not.
func obeyed(r rune) bool { return r != '\n' && hostile(r) }

// untilClosed returns a context that ends, with the cause [errOutputClosed], when
// nobody reads the output any more, so that a command that has nothing to print
// finds out too. stop ends the watch and waits.
func (o *output) untilClosed(parent context.Context) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(parent)
	release := watchReader(o.file, func() { cancel(errOutputClosed) })
	return ctx, func() {
		release()
		cancel(nil)
	}
}
