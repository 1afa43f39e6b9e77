package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/mattn/go-isatty"
)

// output is standard output: data only, and a line is never mixed with another.
// Safe for concurrent use.
type output struct {
	file *os.File
	// terminal is true when a person watches: then text from others is sanitised.
	terminal bool
	over     chan struct{} // closed when nobody waits for a write any more
	turn     chan struct{} // holds a token during a write
}

// lingerTime is how long a write may still take once its command is to end.
const lingerTime = 500 * time.Millisecond

// newOutput returns the output to f of commands that end with ctx. A write that
// nobody reads does not keep them from it.
func newOutput(ctx context.Context, f *os.File) *output {
	o := &output{file: f, terminal: isTerminal(f), over: make(chan struct{}), turn: make(chan struct{}, 1)}
	context.AfterFunc(ctx, func() {
		time.AfterFunc(lingerTime, func() { close(o.over) })
	})
	return o
}

func isTerminal(f *os.File) bool { return isatty.IsTerminal(f.Fd()) }

// Write writes b in one piece. It gives up, with [context.Canceled], soon after
// the command's context has ended; some of b may be written later then.
func (o *output) Write(b []byte) (int, error) {
	select {
	case o.turn <- struct{}{}:
	case <-o.over:
		return 0, context.Canceled
	}
	written := make(chan error, 1)
	b = bytes.Clone(b) // it is the caller's again when Write has returned
	go func() {        // ends when somebody reads, or with the process
		_, err := o.file.Write(b)
		<-o.turn
		written <- err
	}()
	select {
	case err := <-written:
		return wrote(b, err)
	case <-o.over:
		return 0, context.Canceled
	}
}

// wrote returns what a Write of b returns that ended with err.
func wrote(b []byte, err error) (int, error) {
	switch {
	case err == nil:
		return len(b), nil
	case errors.Is(err, syscall.EPIPE):
		return 0, errOutputClosed
	default:
		return 0, err
	}
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
