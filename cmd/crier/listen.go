package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"crier.local/api"
	"crier.local/client/notification"
)

// listener prints what is said in some rooms.
type listener struct {
	p        *program
	reach    reach
	rooms    []string
	name     string
	limit    int // of messages; 0 for none
	timeout  time.Duration
	presence bool
	overflow choice
	json     bool

	mu      sync.Mutex // held while a message is printed and counted
	printed int
}

func (p *program) listenCommand() *cobra.Command {
	l := &listener{p: p, overflow: choice{value: "wait", allowed: []string{"wait", "gap"}}}
	cmd := &cobra.Command{
		Use:   "listen",
		Short: "Print what is said in one or several rooms",
		Long: `Listen prints each message of its rooms on a line of its own: its bytes, or on a
terminal a harmless form of them. Whatever else happens in a room, such as a gap,
is told on standard error, or with --json as a line of its own.

As the first process of a container (pid 1), and without -n and --timeout, it ends
with exit code 0 on SIGTERM, by which containers are stopped.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return l.run(cmd.Context()) },
	}
	l.reach.addTo(cmd)
	l.reach.addGiveUp(cmd.Flags())
	f := cmd.Flags()
	f.StringArrayVar(&l.rooms, "room", []string{api.DefaultRoom}, "the `room` to listen in; may be repeated")
	f.StringVar(&l.name, "name", "", "the `name` to go by (default: none, and nobody is told)")
	f.VarP(wholeNumber(&l.limit, 0, 0), "number", "n", "end after so many messages (default: never)")
	f.Var(timeSpan(&l.timeout, 0, 0), "timeout", "end with exit code 124 after this long (default: never)")
	f.BoolVar(&l.presence, "presence", false, "tell who joins, leaves and is renamed")
	f.Var(&l.overflow, "overflow", "what happens when this listener is slow: wait (senders wait, and it is sent away after a while) or gap (it misses messages)")
	f.BoolVar(&l.json, "json", false, "print JSON, one object per line")
	completeRooms(cmd, &l.reach)
	completeChoice(cmd, "overflow", &l.overflow)
	return cmd
}

// errEnough is why a listener ended that has printed what it was asked for.
var errEnough = errors.New("enough")

func (l *listener) run(ctx context.Context) error {
	l.rooms = unique(l.rooms)
	if l.timeout > 0 {
		late := &codedError{fmt.Errorf("timed out after %s", l.timeout), exitTimeout, ""}
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, l.timeout, late)
		defer cancel()
	}
	ctx, stop := l.p.stdout.untilClosed(ctx)
	defer stop()
	err := causeOf(ctx, l.listen(ctx))
	switch {
	case errors.Is(err, errEnough):
		return nil
	case l.limit == 0 && l.timeout == 0:
		return endless(err)
	}
	return err
}

// listen returns when the first of the connections ends. It does not wait for the
// goroutines that print: one may be stuck in a write that nobody reads.
func (l *listener) listen(ctx context.Context) error {
	c, err := l.p.dial(ctx, &l.reach)
	if err != nil {
		return err
	}
	defer c.Close()
	ended := make(chan error, len(l.rooms))
	for _, room := range l.rooms {
		conn, err := c.Connect(ctx, l.connect(room))
		if err != nil {
			return err
		}
		l.p.note("listening in %s as %s", conn.Room(), conn.Name())
		go func() { ended <- l.print(ctx, conn) }()
	}
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *listener) connect(room string) api.Connect {
	c := api.Connect{Room: room, Name: l.name, Presence: l.presence}
	if l.overflow.value == "gap" {
		c.Overflow = api.OverflowGap
	}
	return c
}

// print prints the events of conn until it ends.
func (l *listener) print(ctx context.Context, conn *notification.Connection) error {
	for {
		event, err := conn.Receive(ctx)
		if err != nil {
			return l.printEnd(ctx, conn.Room(), err)
		}
		if err := l.printEvent(conn, event); err != nil {
			return err
		}
	}
}

func (l *listener) printEvent(conn *notification.Connection, e api.Event) error {
	room := conn.Room()
	if e.Kind == api.KindMessage {
		return l.printMessage(room, e)
	}
	if l.json {
		return l.p.stdout.json(newEventLine(room, e))
	}
	l.p.note("%s%s", l.prefix(room, ": "), describe(e, conn.Name()))
	return nil
}

// printMessage prints a message, unless enough of them are printed already.
func (l *listener) printMessage(room string, e api.Event) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.limit > 0 && l.printed == l.limit {
		return errEnough
	}
	if err := l.printLine(room, e); err != nil {
		return err
	}
	l.printed++
	if l.printed == l.limit {
		return errEnough
	}
	return nil
}

func (l *listener) printLine(room string, e api.Event) error {
	if l.json {
		return l.p.stdout.json(newEventLine(room, e))
	}
	out := l.p.stdout
	if len(l.rooms) == 1 {
		return out.line(out.text(e.Payload))
	}
	return out.line(out.text([]byte(room)), []byte("\t"), out.text(e.Payload))
}

// prefix names the room if there are several.
func (l *listener) prefix(room, separator string) string {
	if len(l.rooms) == 1 {
		return ""
	}
	return room + separator
}

// printEnd tells of the end of a connection that the provider ended, and returns
// err with the room if there are several.
func (l *listener) printEnd(ctx context.Context, room string, err error) error {
	if ctx.Err() != nil {
		return err
	}
	if l.json {
		if printErr := l.p.stdout.json(newEndLine(room, err)); printErr != nil {
			return printErr
		}
	}
	if len(l.rooms) > 1 {
		return fmt.Errorf("room %s: %w", room, err)
	}
	return err
}

// unique returns the rooms, each once.
func unique(rooms []string) []string {
	var list []string
	for _, room := range rooms {
		if !slices.Contains(list, room) {
			list = append(list, room)
		}
	}
	return list
}
