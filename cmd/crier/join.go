package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"crier.local/api"
	"crier.local/client/notification"
)

// quit is the message that ends those who joined.
const quit = "quit"

func (p *program) joinCommand() *cobra.Command {
	var r reach
	t := talker{interval: defaultInterval(), out: p.stdout, note: p.note, joined: func() {}}
	cmd := &cobra.Command{
		Use:   "join",
		Short: "Say hello in a room now and then, and print what the others say",
		Long: `Join connects to a room, says hello at random intervals and prints what the others
say, until somebody says quit. It is the user program of the tutorial.

As the first process of a container (pid 1) it ends with exit code 0 on SIGTERM, by
which containers are stopped.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := p.stdout.untilClosed(cmd.Context())
			defer stop()
			c, err := p.dial(ctx, &r)
			if err != nil {
				return endless(causeOf(ctx, err))
			}
			defer c.Close()
			if err := endless(t.run(ctx, c)); err != nil {
				return err
			}
			p.note("%s: "+tallyFormat, t.name, t.tally.sent, t.tally.received)
			return nil
		},
	}
	r.addTo(cmd)
	r.addGiveUp(cmd.Flags())
	f := cmd.Flags()
	f.StringVar(&t.name, "name", fmt.Sprintf("user-%d", os.Getpid()), "the `name` to go by")
	f.StringVar(&t.room, "room", api.DefaultRoom, "the `room` to join")
	f.Var(&t.interval, "interval", "how long to wait between two hellos: D, or from D to D")
	completeRooms(cmd, &r)
	return cmd
}

// talker is one who joined: it says hello at intervals and prints what it hears
// until somebody says quit.
type talker struct {
	name, room string
	interval   interval
	out        *output
	note       func(format string, args ...any)
	joined     func() // called once the room has it

	tally tally // valid when run has returned; sent is the speaker's meanwhile, received the hearer's
}

// tally counts what a talker did.
type tally struct{ sent, received int }

// What a talker says of itself: its name on standard output once it is in the
// room, its tally on standard error at the end. Demo reads both.
const (
	nameFormat  = "My name is %s"
	tallyFormat = "sent %d, received %d"
)

// run talks over c until it hears quit, ctx ends, its output fails, or the
// connection ends for good.
func (t *talker) run(ctx context.Context, c *notification.Client) error {
	conn, err := c.Connect(ctx, api.Connect{Room: t.room, Name: t.name})
	if err != nil {
		return causeOf(ctx, err)
	}
	defer conn.Close()
	t.joined()
	return t.converse(ctx, conn)
}

func (t *talker) converse(ctx context.Context, conn *notification.Connection) error {
	if err := t.out.printf(nameFormat, t.out.text([]byte(t.name))); err != nil {
		return err
	}
	talking, hush := context.WithCancel(ctx)
	var speaker sync.WaitGroup
	speaker.Go(func() { t.speak(talking, conn) })
	err := causeOf(ctx, t.hear(ctx, conn))
	hush()
	speaker.Wait()
	return err
}

// hear prints what arrives, until quit does.
func (t *talker) hear(ctx context.Context, conn *notification.Connection) error {
	for {
		event, err := conn.Receive(ctx)
		switch {
		case err != nil:
			return err
		case event.Kind != api.KindMessage:
			t.note("%s: %s", t.name, describe(event, t.name))
			continue
		case string(event.Payload) == quit:
			return nil
		}
		t.tally.received++
		if err := t.out.printf("%s received: %s", t.out.text([]byte(t.name)), wholeLine(t.out.text(event.Payload))); err != nil {
			return err
		}
	}
}

// wholeLine returns text without line breaks, so that nobody's message looks like
// several.
func wholeLine(text []byte) []byte { return bytes.ReplaceAll(text, []byte("\n"), []byte(`\n`)) }

// speak says hello at once and then at intervals, until ctx ends. A hello that
// fails is told and not repeated; if the connection is over, hear finds out.
func (t *talker) speak(ctx context.Context, conn *notification.Connection) {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
		_, err := conn.Send(ctx, fmt.Appendf(nil, "hello from %s (%d)", t.name, n))
		switch {
		case err == nil:
			t.tally.sent++
		case ctx.Err() == nil:
			t.note("%s: hello %d: %v", t.name, n, err)
		}
		pause.Reset(t.interval.pick())
	}
}

// interval is a span of time picked at random, as a flag: 2s, or 1s-3s.
type interval struct{ least, most time.Duration }

func defaultInterval() interval { return interval{time.Second, 3 * time.Second} }

func (i *interval) Type() string { return "interval" }

func (i *interval) String() string {
	if i.least == i.most {
		return i.least.String()
	}
	return i.least.String() + "-" + i.most.String()
}

func (i *interval) Set(text string) error {
	from, to, isRange := strings.Cut(text, "-")
	if !isRange {
		to = from
	}
	least, err := time.ParseDuration(from)
	if err != nil {
		return errors.New("want a duration as in 2s, or a range as in 1s-3s")
	}
	most, err := time.ParseDuration(to)
	if err != nil || least <= 0 || most < least {
		return errors.New("want a duration as in 2s, or a range as in 1s-3s")
	}
	*i = interval{least, most}
	return nil
}

func (i *interval) pick() time.Duration {
	return i.least + rand.N(i.most-i.least+1)
}
