package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"

	"crier.local/api"
	"crier.local/client"
	"crier.local/client/notification"
	"crier.local/cmd/internal/load"
)

// benchClientCommand is a process of clients that bench starts.
func (p *program) benchClientCommand() *cobra.Command {
	var r reach
	cmd := &cobra.Command{
		Use:    "bench-client",
		Short:  "Play clients of a load that bench has started",
		Args:   noArguments,
		Hidden: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r.giveUp = benchGiveUp
			o, err := r.options(p.logger(hclog.Warn))
			if err != nil {
				return err
			}
			clock, err := load.NewClock()
			if err != nil {
				return err
			}
			c := &benchClient{options: o, clock: clock, words: &benchWords{to: p.stdout.file}}
			return c.run(cmd.Context(), p.stdin)
		},
	}
	r.addTo(cmd)
	return cmd
}

// benchGiveUp is how long a client redials: a link that was lost has spoilt the
// load already.
const benchGiveUp = time.Second

// benchAttaching is how many clients of a process attach at a time.
const benchAttaching = 16

// benchClient is the clients of one process.
type benchClient struct {
	options client.Options
	clock   load.Clock
	words   *benchWords
	part    benchPart

	mu       sync.Mutex
	attached []*notification.Client // to be closed

	receivers  []*benchReceiver
	publishers []*benchPublisher
	visitors   []*benchVisitor
	guestbook  *benchGuestbook // nil unless it is here
	receiving  sync.WaitGroup  // receivers and the guest book, until they are closed

	round   *benchRound    // what goes on, or went on last
	working sync.WaitGroup // publishers and visitors at work
}

// run plays the part that in tells until in ends.
func (c *benchClient) run(ctx context.Context, in io.Reader) error {
	orders := json.NewDecoder(in)
	if err := orders.Decode(&c.part); err != nil {
		return fmt.Errorf("the part to play: %w", err)
	}
	life, end := context.WithCancel(ctx)
	defer end()
	told := make(chan benchOrder)
	go func() { // until in ends, or the process
		defer end()
		readOrders(orders, told)
	}()
	if err := c.connect(life); err != nil {
		c.words.say(benchWord{At: wordFailed, Error: err.Error()})
	} else {
		c.words.say(benchWord{At: wordReady})
		c.obey(life, told)
	}
	return errors.Join(c.close(), context.Cause(ctx))
}

func readOrders(orders *json.Decoder, told chan<- benchOrder) {
	for {
		var o benchOrder
		if orders.Decode(&o) != nil {
			return
		}
		told <- o
	}
}

// obey carries out orders until life ends.
func (c *benchClient) obey(life context.Context, told <-chan benchOrder) {
	for {
		select {
		case o := <-told:
			c.carryOut(life, o)
		case <-life.Done():
			return
		}
	}
}

func (c *benchClient) carryOut(life context.Context, o benchOrder) {
	switch o.Do {
	case doPublish:
		c.round = newBenchRound(life, c.clock)
		for _, p := range c.publishers {
			c.working.Go(func() { c.words.say(p.publish(c.round, o)) })
		}
	case doVisit:
		c.round = newBenchRound(life, c.clock)
		for _, v := range c.visitors {
			c.working.Go(func() { c.words.say(v.visit(c.round)) })
		}
	case doStop:
		c.round.stop()
	case doCount:
		c.words.say(benchWord{At: wordCount, Count: c.delivered()})
	case doBury:
		for _, r := range c.receivers {
			r.bury(o.Dead)
		}
		c.words.say(benchWord{At: wordBuried})
	case doSum:
		for _, r := range c.receivers {
			r.sumUp(o.Sent)
		}
		if c.guestbook != nil {
			c.guestbook.sumUp(o.Sent)
		}
	}
}

// delivered is how many messages have come in this round, or entries in the guest
// book.
func (c *benchClient) delivered() (n uint64) {
	for _, r := range c.receivers {
		n += r.count.Load()
	}
	if c.guestbook != nil {
		n += c.guestbook.entries()
	}
	return n
}

// connect makes all connections, and has the receivers receive.
func (c *benchClient) connect(ctx context.Context) error {
	if c.part.Guestbook {
		return c.openGuestbook(ctx)
	}
	if c.part.Visits {
		for i := range c.part.Receivers {
			c.visitors = append(c.visitors, &benchVisitor{client: c, number: c.part.First + i})
		}
		return nil
	}
	if err := c.seatReceivers(ctx); err != nil {
		return err
	}
	c.publishers = make([]*benchPublisher, len(c.part.Publishers))
	return inParallel(len(c.publishers), func(i int) error {
		p := &benchPublisher{number: c.part.Publishers[i], clock: c.clock, sources: c.part.Sources, payload: make([]byte, c.part.Payload)}
		c.publishers[i] = p
		if c.part.Paired {
			p.conn = c.receivers[i].conn
			return nil
		}
		a, err := c.attach(ctx)
		if err != nil {
			return err
		}
		p.conn, err = a.Connect(ctx, api.Connect{Room: c.part.Room, SendOnly: true})
		return err
	})
}

func (c *benchClient) seatReceivers(ctx context.Context) error {
	var shared *notification.Client
	if c.part.Share {
		var err error
		if shared, err = c.attach(ctx); err != nil {
			return err
		}
	}
	c.receivers = make([]*benchReceiver, c.part.Receivers)
	err := inParallel(len(c.receivers), func(i int) (err error) {
		a := shared
		if a == nil {
			if a, err = c.attach(ctx); err != nil {
				return err
			}
		}
		c.receivers[i], err = newBenchReceiver(ctx, c, a, i)
		return err
	})
	if err != nil {
		return err
	}
	for _, r := range c.receivers {
		c.receiving.Go(r.receive)
	}
	if c.part.Doomed {
		go c.confess(ctx) // until the process is killed, or ends
	}
	return nil
}

// confession is how often those who will be killed tell how much they have got.
const confession = 10 * time.Millisecond

// confess tells how much has been delivered, whenever that has changed, until ctx
// ends.
func (c *benchClient) confess(ctx context.Context) {
	for last := uint64(0); waitFor(ctx, confession); {
		if n := c.delivered(); n != last {
			last = n
			c.words.say(benchWord{At: wordCount, Count: n})
		}
	}
}

// attach makes an attachment, which close closes.
func (c *benchClient) attach(ctx context.Context) (*notification.Client, error) {
	a, err := notification.Dial(ctx, c.options)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.attached = append(c.attached, a)
	return a, nil
}

// close ends what goes on and all connections, and waits for those who use them.
func (c *benchClient) close() error {
	if c.round != nil {
		c.round.stop()
	}
	err := inParallel(len(c.attached), func(i int) error { return c.attached[i].Close() })
	c.working.Wait()
	c.receiving.Wait()
	return err
}

// inParallel calls f with the numbers below n, several at a time, and returns the
// first error when all have returned.
func inParallel(n int, f func(i int) error) (first error) {
	var (
		calls sync.WaitGroup
		once  sync.Once
	)
	places := make(chan struct{}, benchAttaching)
	for i := range n {
		places <- struct{}{}
		calls.Go(func() {
			defer func() { <-places }()
			if err := f(i); err != nil {
				once.Do(func() { first = err })
			}
		})
	}
	calls.Wait()
	return first
}
