package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"crier.local/api"
	"crier.local/client/notification"
)

// demo plays the tutorial: a provider, clients that talk to each other, and a
// quit for all in the end.
type demo struct {
	p         *program
	duration  time.Duration
	clients   int
	interval  interval
	inProcess bool
	runDir    string
}

func (p *program) demoCommand() *cobra.Command {
	d := &demo{p: p, interval: defaultInterval()}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Watch a provider and a few clients at work",
		Long: `Demo starts a provider and some clients, each a process of its own, lets them talk
to each other for a while, and then says quit, which ends them all. With
--in-process all of them are goroutines of this process.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return d.run(cmd.Context()) },
	}
	f := cmd.Flags()
	f.Var(timeSpan(&d.duration, 10*time.Second, 0), "duration", "how long the clients talk")
	f.Var(wholeNumber(&d.clients, 3, 1), "clients", "how many clients there are")
	f.Var(&d.interval, "interval", "how long a client waits between two hellos: D, or from D to D")
	f.StringVar(&d.runDir, "run-dir", "", "the `directory` in which the provider puts its socket")
	f.BoolVar(&d.inProcess, "in-process", false, "play in this process alone")
	completeDirectories(cmd)
	return cmd
}

// stage is where a demonstration plays: a provider, and a way to have clients.
type stage interface {
	// guestName is the name of the i-th guest, counted from 1.
	guestName(i int) string
	// invite starts a guest. It leaves in order when ctx ends. Whatever ends it
	// but quit, ctx included, is its error.
	invite(ctx context.Context, name string) *guest
	// dial attaches to the provider.
	dial(ctx context.Context) (*notification.Client, error)
	// close ends the provider in order, and waits for it.
	close() error
	// gone is closed when the provider ends, whoever ended it.
	gone() <-chan struct{}
}

// guest is a client of a demonstration.
type guest struct {
	name   string
	joined chan struct{} // closed when it is in the room, or never will be
	left   chan struct{} // closed when it has ended
	err    error         // why, if it was not quit; valid when it has left
	tally  tally         // valid when it has left

	join func() // closes joined, once
}

func newGuest(name string) *guest {
	g := &guest{name: name, joined: make(chan struct{}), left: make(chan struct{})}
	g.join = sync.OnceFunc(func() { close(g.joined) })
	return g
}

// leave tells that g has ended.
func (g *guest) leave(err error) {
	if err != nil {
		g.err = fmt.Errorf("%s: %w", g.name, err)
	}
	g.join()
	close(g.left)
}

func (d *demo) run(ctx context.Context) error {
	ctx, stop := d.p.stdout.untilClosed(ctx)
	defer stop()
	began := time.Now()
	s, err := d.open(ctx)
	if err != nil {
		return causeOf(ctx, err)
	}
	guests, err := d.play(ctx, s)
	if closeErr := s.close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return demoFailed(err)
	}
	d.sumUp(guests, time.Since(began))
	return nil
}

// demoFailed gives err exit code 1, whatever it was in the process that failed,
// unless a person ended the demonstration.
func demoFailed(err error) error {
	if _, ok := errors.AsType[interrupted](err); ok || errors.Is(err, errOutputClosed) {
		return err
	}
	return &codedError{err, exitFailed, hintFor(err)}
}

func (d *demo) open(ctx context.Context) (stage, error) {
	if d.inProcess {
		return newInnerStage(d)
	}
	return newProcessStage(ctx, d)
}

// play lets the guests come, talk and go; when it returns all have left. If one of
// them fails, or the provider does, the others are sent away.
func (d *demo) play(ctx context.Context, s stage) ([]*guest, error) {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var guests []*guest
	var present sync.WaitGroup
	for i := range d.clients {
		g := s.invite(ctx, s.guestName(i+1))
		guests = append(guests, g)
		present.Go(func() {
			<-g.left
			if g.err != nil {
				fail(g.err)
			}
		})
	}
	empty := make(chan struct{})
	go func() {
		present.Wait()
		close(empty)
	}()
	go func() {
		select {
		case <-s.gone():
			fail(errors.New("the provider ended early"))
		case <-empty:
		}
	}()
	err := d.conduct(ctx, s, guests, empty)
	fail(err)
	<-empty
	return guests, err
}

// conduct waits until the guests are there, lets them talk, and says quit. empty
// is closed when all have left.
func (d *demo) conduct(ctx context.Context, s stage, guests []*guest, empty <-chan struct{}) error {
	for _, g := range guests {
		if err := await(ctx, g.joined, nil); err != nil {
			return err
		}
	}
	talk := time.NewTimer(d.duration)
	defer talk.Stop()
	if err := await(ctx, empty, talk.C); err != nil {
		return err
	}
	if err := sayQuit(ctx, s); err != nil {
		return causeOf(ctx, err)
	}
	late := time.NewTimer(leaveTime)
	defer late.Stop()
	if err := await(ctx, empty, late.C); err != nil {
		return err
	}
	return checkLeft(guests)
}

// leaveTime is how long guests may take to leave when told to.
const leaveTime = 5 * time.Second

// await waits for event, or for timeout, or else returns why ctx ended.
func await(ctx context.Context, event <-chan struct{}, timeout <-chan time.Time) error {
	select {
	case <-event:
		return nil
	case <-timeout:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func checkLeft(guests []*guest) error {
	for _, g := range guests {
		select {
		case <-g.left:
		default:
			return fmt.Errorf("%s did not quit within %s", g.name, leaveTime)
		}
		if g.err != nil {
			return g.err
		}
	}
	return nil
}

// sayQuit connects to the room of the guests and says quit.
func sayQuit(ctx context.Context, s stage) error {
	c, err := s.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	conn, err := c.Connect(ctx, api.Connect{SendOnly: true})
	if err != nil {
		return err
	}
	_, err = conn.Send(ctx, []byte(quit))
	return err
}

// sumUp tells what happened.
func (d *demo) sumUp(guests []*guest, took time.Duration) {
	var total tally
	for _, g := range guests {
		total.sent += g.tally.sent
		total.received += g.tally.received
	}
	d.p.note("%s sent %s and received %d in %s; the provider ended in order",
		count(len(guests), "client"), count(total.sent, "message"), total.received, took.Round(10*time.Millisecond))
}
