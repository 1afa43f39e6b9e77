package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/pprof"
	"sync"
	"sync/atomic"
	"time"

	"crier.local/cmd/internal/load"
)

// roleKey is set in the environment of the processes that this program starts of
// itself.
const roleKey = "PEERBENCH_ROLE"

// act is the main function of those processes; it returns the status.
func act(role string, args []string) int {
	switch {
	case role == "provider" && len(args) == 2:
		return provide(args[0], args[1])
	case role == "raw" && len(args) == 2:
		return serveRaw(args[0], args[1])
	case role == "grpc" && len(args) == 2:
		return serveGRPC(args[0], args[1])
	case role == "crowd" && len(args) == 2:
		return crowd(args[0], args[1])
	case role == "player":
		return play()
	}
	fmt.Fprintf(os.Stderr, "no role %s %q\n", role, args)
	return 2
}

// assignment tells a player its part. It is the first line of its input.
type assignment struct {
	System, Address string
	Board           string // its file
	Publishers      int    // in all
	Receivers       int    // in all
	Size            int    // of payloads, in bytes
	Rate            int    // messages a second; 0 for as many as possible
	Window          uint64 // how many messages a publisher may be ahead of the slowest receiver

	Publisher int // the publisher that this player is; -1 for none
	First     int // its first receiver
	Count     int // how many receivers it has
	Shared    bool
	Joiners   int    // how many connect at a time; 0 stands for 1
	Profile   string // where to write its CPU profile, if anywhere
}

// order is what a player is told later.
type order struct {
	Do string
	// Sent are the numbers of messages that it is to wait for, in finish.
	Sent []uint64 `json:",omitempty"`
	// For is how long it is to make requests, the first tenth of it untimed.
	For time.Duration `json:",omitempty"`
	// Connections are how many more it is to open over each attachment.
	Connections int `json:",omitempty"`
}

// What a player can be told to do.
const (
	doPublish = "publish" // until the board says stop
	doFinish  = "finish"  // wait for all that was sent, leave, and report what arrived
	doRequest = "request" // send messages that are answered, one at a time
	doMore    = "more"    // open further connections
)

// report is a line of a player's output: the answer to its assignment, and to each
// order.
type report struct {
	Error   string        `json:",omitempty"`
	Joined  time.Duration `json:",omitempty"` // how long it took to connect
	Sent    uint64        `json:",omitempty"`
	Tally   load.Tally    `json:",omitzero"`
	Latency *load.Latency `json:",omitempty"`
}

// play is the main function of a player; it returns the status.
func play() int {
	input := json.NewDecoder(bufio.NewReader(os.Stdin))
	output := json.NewEncoder(os.Stdout)
	var a assignment
	err := input.Decode(&a)
	if err == nil {
		err = profiled(a.Profile, func() error { return perform(a, input, output) })
	}
	if err == nil {
		return 0
	}
	if err := output.Encode(report{Error: err.Error()}); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	return 1
}

// profiled calls f, and writes a CPU profile of that if a path is given.
func profiled(path string, f func() error) (err error) {
	if path == "" {
		return f()
	}
	file, err := os.Create(filepath.Clean(path))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if err := pprof.StartCPUProfile(file); err != nil {
		return err
	}
	defer pprof.StopCPUProfile()
	return f()
}

// player is one process of a measurement: receivers, a publisher, or both.
type player struct {
	assignment
	board     *board
	clock     load.Clock
	receivers []*receiver
	members   []member
	finished  sync.WaitGroup // receivers that have heard the end of all publishers
}

// perform plays a part to its end, which the end of its input is as well.
func perform(a assignment, input *json.Decoder, output *json.Encoder) error {
	p := &player{assignment: a}
	began := time.Now()
	if err := p.prepare(); err != nil {
		return errors.Join(err, p.leave())
	}
	if err := output.Encode(report{Joined: time.Since(began)}); err != nil {
		return err
	}
	for {
		var o order
		if err := input.Decode(&o); err != nil {
			return p.leave()
		}
		r, err := p.obey(o)
		if err != nil {
			return err
		}
		if err := output.Encode(r); err != nil {
			return err
		}
	}
}

func (p *player) obey(o order) (r report, err error) {
	switch o.Do {
	case doPublish:
		r.Sent, err = p.publish()
	case doFinish:
		return p.finish(o.Sent)
	case doRequest:
		r.Latency, err = p.request(o.For)
	case doMore:
		err = p.more(o.Connections)
	default:
		err = fmt.Errorf("no order %q", o.Do)
	}
	return r, err
}

// prepare joins with all that the player is.
func (p *player) prepare() error {
	picked, err := pick(systems(), p.System, system.name)
	if err != nil {
		return err
	}
	if p.board, err = openBoard(p.Board, p.Publishers, p.Receivers); err != nil {
		return err
	}
	if p.clock, err = load.NewClock(); err != nil {
		return err
	}
	for i := range p.Count {
		p.receivers = append(p.receivers, newReceiver(p, p.First+i))
	}
	return p.join(picked[0], p.seats())
}

// join takes the seats, as many at a time as there are joiners.
func (p *player) join(sys system, seats []seat) error {
	members, errs := make([]member, len(seats)), make([]error, len(seats))
	next := atomic.Int64{}
	var joining sync.WaitGroup
	for range max(1, p.Joiners) {
		joining.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(seats); i = int(next.Add(1)) - 1 {
				if members[i], errs[i] = sys.join(context.Background(), seats[i]); errs[i] != nil {
					next.Store(int64(len(seats))) // no more
				}
			}
		})
	}
	joining.Wait()
	for i, m := range members {
		if errs[i] == nil && m != nil {
			p.members = append(p.members, m)
		}
	}
	return errors.Join(errs...)
}

// seats returns the seats that the player takes; the first one publishes if any
// does.
func (p *player) seats() []seat {
	common := seat{address: p.Address, publishers: p.Publishers, receivers: p.Receivers, size: p.Size, publisher: -1}
	var seats []seat
	for _, r := range p.receivers {
		if p.Shared && len(seats) == 1 {
			seats[0].takes = append(seats[0].takes, r.take)
			continue
		}
		s := common
		s.takes = []func([]byte){r.take}
		seats = append(seats, s)
	}
	if p.Publisher >= 0 {
		if len(seats) == 0 {
			seats = append(seats, common)
		}
		seats[0].publisher = p.Publisher
	}
	return seats
}

// leave closes all connections.
func (p *player) leave() error {
	var closing sync.WaitGroup
	errs := make([]error, len(p.members))
	for i, m := range p.members {
		closing.Go(func() { errs[i] = m.close() })
	}
	closing.Wait()
	p.members = nil
	return errors.Join(errs...)
}

// stalled is how long nothing arrives before what is missing is given up.
const stalled = 3 * time.Second

// finish waits until all receivers have heard the end of all publishers, or nothing
// comes any more, and reports what arrived.
func (p *player) finish(sent []uint64) (report, error) {
	ended := make(chan struct{})
	go func() {
		p.finished.Wait()
		close(ended)
	}()
	last := p.board.sum()
waiting:
	for {
		select {
		case <-ended:
			break waiting
		case <-time.After(stalled):
			now := p.board.sum()
			if now == last {
				break waiting
			}
			last = now
		}
	}
	if err := p.leave(); err != nil {
		return report{}, err
	}
	var r report
	for _, receiver := range p.receivers {
		if err := receiver.report(sent, &r); err != nil {
			return r, err
		}
	}
	return r, nil
}
