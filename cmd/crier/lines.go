package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"crier.local/api"
)

// forEachLine calls do for each line of r, its number counted from 1 and its end
// taken off; the line is do's to keep. It ends at the end of r, with do's first
// error, or with ctx, even while r has nothing to read. A line over limit bytes
// is an error.
func forEachLine(ctx context.Context, r io.Reader, limit int, do func(n int, line []byte) error) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	lines, failed := make(chan []byte, 64), make(chan error, 1)
	go func() { // ends with the input, or at the next line; an interrupt does not wait for that
		defer close(lines)
		failed <- scan(ctx, r, limit, lines)
	}()
	for n := 1; ; n++ {
		select {
		case line, ok := <-lines:
			if !ok {
				return atLine(n, <-failed)
			}
			if err := do(n, line); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func scan(ctx context.Context, r io.Reader, limit int, lines chan<- []byte) error {
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 0, min(64<<10, limit+1)), limit+1) // the line's end counts
	s.Split(splitLines)
	for s.Scan() {
		select {
		case lines <- bytes.Clone(s.Bytes()):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if errors.Is(s.Err(), bufio.ErrTooLong) {
		return fmt.Errorf("%w: the limit is %d bytes", api.ErrTooLarge, limit)
	}
	return s.Err()
}

// splitLines is bufio.ScanLines, but that a carriage return is part of the line.
func splitLines(data []byte, atEOF bool) (advance int, token []byte, err error) {
	if i := bytes.IndexByte(data, '\n'); i >= 0 {
		return i + 1, data[:i], nil
	}
	if atEOF && len(data) > 0 {
		return len(data), data, nil
	}
	return 0, nil, nil
}
