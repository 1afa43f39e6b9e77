package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"crier.local/api"
	"crier.local/client/notification"
	"crier.local/cmd/internal/load"
)

// benchReceiver gets messages and keeps account of them. A round is over for it
// when it has got the end mark of every publisher.
type benchReceiver struct {
	number  int
	client  *benchClient
	conn    *notification.Connection
	witness bool
	count   atomic.Uint64 // delivered in this round, told now and then

	ledger  load.Ledger
	latency *load.Latency // nil unless it is asked for
	ended   []bool        // whose end mark has come
	sent    []uint64      // what the end marks say
	marks   int           // how many have come
	twice   uint64        // end marks that came again
	left    []bool        // receivers of whom a departure was told

	mu     sync.Mutex
	dead   []uint16 // publishers without an end mark
	sumNow []uint64 // what was sent, if what has come is to be summed up now

	patience context.Context // ends when it is
	hurry    context.CancelFunc
}

const benchNamePrefix = "receiver"

func newBenchReceiver(ctx context.Context, c *benchClient, a *notification.Client, i int) (*benchReceiver, error) {
	r := &benchReceiver{number: c.part.First + i, client: c, witness: c.part.Witness && i == 0}
	if c.part.Timed {
		r.latency = load.NewLatency()
	}
	r.patience, r.hurry = context.WithCancel(context.Background())
	r.begin()
	var err error
	r.conn, err = a.Connect(ctx, api.Connect{
		Room: c.part.Room, Name: benchNamePrefix + strconv.Itoa(r.number), Presence: r.witness,
	})
	return r, err
}

// begin opens a new account.
func (r *benchReceiver) begin() {
	sources := r.client.part.Sources
	r.ledger = load.Ledger{}
	if r.latency != nil {
		r.latency.Reset()
	}
	r.ended, r.sent, r.marks, r.twice = make([]bool, sources), make([]uint64, sources), 0, 0
	r.count.Store(0)
}

// receive takes what comes until the connection is closed, or it cannot go on.
func (r *benchReceiver) receive() {
	err := r.take()
	switch {
	case errors.Is(err, api.ErrClosed):
		if n := r.ledger.Delivered(); n > 0 {
			r.say(benchWord{At: wordStray, Count: n})
		}
	case errors.Is(err, context.Canceled):
		r.mu.Lock()
		sent := slices.Clone(r.sumNow)
		r.mu.Unlock()
		copy(r.sent, sent)
		r.tell(0)
	default:
		r.say(benchWord{At: wordFailed, Error: err.Error()})
	}
}

func (r *benchReceiver) say(w benchWord) {
	w.Number = r.number
	if w.Error != "" {
		w.Error = fmt.Sprintf("receiver %d: %s", r.number, w.Error)
	}
	r.client.words.say(w)
}

// take takes events, and returns why there are no more.
func (r *benchReceiver) take() error {
	for {
		e, err := r.conn.Receive(r.patience)
		if err != nil {
			return err
		}
		switch e.Kind {
		case api.KindMessage:
			err = r.enter(e.Payload)
		case api.KindLeft:
			err = r.departed(e)
		case api.KindJoined, api.KindMembers:
		default:
			err = fmt.Errorf("unexpected: %s", describe(e, r.conn.Name()))
		}
		if err != nil {
			return err
		}
	}
}

// told is after how many messages their count is told, unless they are few.
const told = 256

// enter takes a message.
func (r *benchReceiver) enter(payload []byte) error {
	publisher, number, due, err := load.Parse(payload)
	switch {
	case err != nil:
		return err
	case len(payload) != r.client.part.Payload || int(publisher) >= len(r.ended):
		return fmt.Errorf("a message of %d bytes from publisher %d is none of this load", len(payload), publisher)
	case r.left != nil && r.left[publisher]:
		return fmt.Errorf("a message of %s%d after it was told that it left", benchNamePrefix, publisher)
	case due == load.End:
		return r.mark(publisher, number)
	}
	r.ledger.Take(publisher, number)
	if r.latency != nil && due != 0 {
		r.latency.Record(r.client.clock.Now() - due)
	}
	if n := r.ledger.Delivered(); n%told == 0 || r.client.part.Doomed || due != 0 {
		r.count.Store(n)
	}
	if r.client.part.Doomed && !r.ledger.Exact() {
		return fmt.Errorf("message %d of publisher %d is not the one that was to come", number, publisher)
	}
	return nil
}

// mark takes the end mark of a publisher. With the last one the round is over.
func (r *benchReceiver) mark(publisher uint16, sent uint64) error {
	if r.ended[publisher] {
		r.twice++
		return nil
	}
	r.ended[publisher], r.sent[publisher] = true, sent
	r.marks++
	r.mu.Lock()
	missing := len(r.ended) - len(r.dead) - r.marks
	r.mu.Unlock()
	if r.client.part.Paired {
		missing-- // its own, which it does not hear
	}
	if missing == 0 {
		r.count.Store(0)
		r.tell(r.client.clock.Now())
		r.begin()
	}
	return nil
}

// tell tells what came of the round, and when the last came.
func (r *benchReceiver) tell(last int64) {
	w := benchWord{At: wordHeard, Time: last, Latency: r.latency, Dead: map[uint16]uint64{}}
	heard := r.ledger.Heard()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.dead { // others know how much they sent
		r.sent[p] = 0
		if int(p) < len(heard) {
			r.sent[p] = heard[p]
		}
		w.Dead[p] = r.sent[p]
	}
	if r.client.part.Paired {
		r.sent[r.number] = 0
	}
	tally := r.ledger.Sum(r.sent)
	tally.Duplicated += r.twice
	w.Tally = &tally
	r.say(w)
}

// bury has r expect no end mark of the dead.
func (r *benchReceiver) bury(dead []uint16) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dead = dead
}

// sumUp has r tell what came, and take no more.
func (r *benchReceiver) sumUp(sent []uint64) {
	r.mu.Lock()
	r.sumNow = sent
	r.mu.Unlock()
	r.hurry()
}

// departed tells of a departure.
func (r *benchReceiver) departed(e api.Event) error {
	now := r.client.clock.Now()
	text, _ := strings.CutPrefix(e.From, benchNamePrefix)
	gone, err := strconv.Atoi(text)
	if err != nil {
		return fmt.Errorf("%s left, who has no part in this load", e.From)
	}
	if r.client.part.Paired && gone < len(r.ended) {
		if r.left == nil {
			r.left = make([]bool, len(r.ended))
		}
		r.left[gone] = true
	}
	r.say(benchWord{At: wordLeft, Time: now, Gone: gone, Reason: e.Reason.String()})
	return nil
}
