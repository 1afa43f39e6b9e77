package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"crier.local/api"
	"crier.local/client/notification"
)

// sender sends what its arguments or standard input say.
type sender struct {
	p       *program
	reach   reach
	room    string
	name    string
	to      string // only the connection of that name; empty for the whole room
	require int
	lines   bool
	json    bool
}

func (p *program) sendCommand() *cobra.Command {
	s := &sender{p: p}
	cmd := &cobra.Command{
		Use:   "send [flags] TEXT...",
		Short: "Say something in a room",
		Long: `Send sends one message, its words joined by spaces; '' is an empty one, and - is all
of standard input. With --lines each line of standard input is a message. Nobody
being there to hear it is no error, but with --require.`,
		Example: "  crier send hello, world\n  crier send --room builds --require 1 'build 42 is done'\n  tail -f log | crier send --lines",
		RunE:    func(cmd *cobra.Command, args []string) error { return s.run(cmd.Context(), args) },
	}
	s.reach.addTo(cmd)
	f := cmd.Flags()
	f.StringVar(&s.room, "room", api.DefaultRoom, "the `room` to send to")
	f.StringVar(&s.name, "name", "", "the `name` to go by")
	f.StringVar(&s.to, "to", "", "send only to the connection of this `name`")
	f.Var(wholeNumber(&s.require, 0, 0), "require", "fail with exit code 75 if fewer receive the message")
	f.BoolVar(&s.lines, "lines", false, "send each line of standard input as a message")
	f.BoolVar(&s.json, "json", false, "print a receipt for each message, as JSON")
	completeRooms(cmd, &s.reach)
	completeNames(cmd, &s.reach, "to")
	return cmd
}

func (s *sender) run(ctx context.Context, args []string) error {
	if err := s.check(args); err != nil {
		return err
	}
	c, err := s.p.dialBriefly(ctx, &s.reach)
	if err != nil {
		return err
	}
	defer c.Close()
	conn, err := c.Connect(ctx, api.Connect{Room: s.room, Name: s.name, SendOnly: true})
	if err != nil {
		return err
	}
	if err := s.sendAll(ctx, c, conn, args); err != nil {
		return err
	}
	return conn.Close()
}

func (s *sender) check(args []string) error {
	fromInput := len(args) == 1 && args[0] == "-"
	switch {
	case s.lines && len(args) > 0 && !fromInput:
		return usage(errors.New("--lines reads standard input, so there can be no TEXT"), "see 'crier send --help'")
	case !s.lines && len(args) == 0:
		return usage(errors.New("nothing to send"), "give a TEXT, - for standard input, or --lines")
	default:
		return nil
	}
}

func (s *sender) sendAll(ctx context.Context, c *notification.Client, conn *notification.Connection, args []string) error {
	limit := c.Provider().MaxMessage
	switch {
	case s.lines && s.json, s.lines && s.require > 0, s.lines && s.to != "":
		return forEachLine(ctx, s.p.stdin, limit, func(n int, line []byte) error {
			return atLine(n, s.send(ctx, conn, line))
		})
	case s.lines:
		return s.postLines(ctx, conn, limit)
	case len(args) == 1 && args[0] == "-":
		payload, err := readAll(ctx, s.p.stdin, limit)
		if err != nil {
			return err
		}
		return s.send(ctx, conn, payload)
	default:
		return s.send(ctx, conn, []byte(strings.Join(args, " ")))
	}
}

// receiptLine is a receipt as a line of JSON.
type receiptLine struct {
	Room      string `json:"room"`
	Seq       string `json:"seq"`
	Receivers int    `json:"receivers"`
}

// send sends one message and waits for its receipt.
func (s *sender) send(ctx context.Context, conn *notification.Connection, payload []byte) error {
	receipt, err := s.deliver(ctx, conn, payload)
	if err != nil {
		return err
	}
	if s.json {
		line := receiptLine{receipt.Room, strconv.FormatUint(uint64(receipt.Seq), 10), receipt.Receivers}
		if err := s.p.stdout.json(line); err != nil {
			return err
		}
	}
	if receipt.Receivers < s.require {
		err := fmt.Errorf("sent to %s, %d required", count(receipt.Receivers, "receiver"), s.require)
		return &codedError{err, exitTryAgain, "those who were there have it; the others were not in room " + receipt.Room}
	}
	return nil
}

func (s *sender) deliver(ctx context.Context, conn *notification.Connection, payload []byte) (api.Receipt, error) {
	if s.to != "" {
		return conn.SendTo(ctx, s.to, payload)
	}
	return conn.Send(ctx, payload)
}

// postLines sends each line without waiting for its receipt. Refusals are found
// out meanwhile, since the input may never end.
func (s *sender) postLines(ctx context.Context, conn *notification.Connection, limit int) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	posted, flushed := make(chan struct{}, 1), make(chan struct{})
	go func() {
		defer close(flushed)
		for range posted {
			if err := flush(ctx, conn); err != nil {
				fail(err)
				return
			}
		}
	}()
	err := forEachLine(ctx, s.p.stdin, limit, func(n int, line []byte) error {
		err := conn.Post(ctx, line)
		select {
		case posted <- struct{}{}:
		default: // a flush is due already
		}
		return atLine(n, err)
	})
	close(posted)
	<-flushed
	if err = causeOf(ctx, err); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return flush(ctx, conn)
}

func flush(ctx context.Context, conn *notification.Connection) error {
	f, err := conn.Flush(ctx)
	if err != nil || f.Err == nil {
		return err
	}
	return fmt.Errorf("%d of %s refused: %w", f.Refused, count(f.Ended, "message"), f.Err)
}

func atLine(n int, err error) error {
	if err == nil || errors.Is(err, errOutputClosed) {
		return err
	}
	return fmt.Errorf("line %d: %w", n, err)
}

// readAll reads r to its end, but not beyond limit.
func readAll(ctx context.Context, r io.Reader, limit int) ([]byte, error) {
	type result struct {
		data []byte
		err  error
	}
	read := make(chan result, 1)
	go func() { // ends with the input; an interrupt does not wait for that
		data, err := io.ReadAll(io.LimitReader(r, int64(limit)+1))
		read <- result{data, err}
	}()
	select {
	case got := <-read:
		if got.err == nil && len(got.data) > limit {
			got.err = fmt.Errorf("%w: standard input has over %d bytes", api.ErrTooLarge, limit)
		}
		return got.data, got.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
