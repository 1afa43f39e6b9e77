package main

import (
	"fmt"
	"slices"

	"crier.local/cmd/internal/load"
)

// receiver keeps account of what one connection hears.
type receiver struct {
	p       *player
	number  int
	ledger  load.Ledger
	latency *load.Latency // nil until something is timed
	ends    int           // publishers that are still to end
	foreign error         // what came that is none of the load
}

// stride is how many messages a receiver takes before it says so on the board.
const stride = 16

func newReceiver(p *player, number int) *receiver {
	r := &receiver{p: p, number: number, ends: p.Publishers}
	if r.number == p.Publisher {
		r.ends-- // its own
	}
	p.finished.Add(1)
	return r
}

// take takes a message. Systems that return to a publisher what it has published
// do so in vain.
func (r *receiver) take(payload []byte) {
	publisher, number, due, err := load.Parse(payload)
	if err != nil || len(payload) != r.p.Size || int(publisher) >= r.p.Publishers {
		r.foreign = fmt.Errorf("receiver %d got %d bytes that are none of the load", r.number, len(payload))
		return
	}
	if int(publisher) == r.p.Publisher {
		return
	}
	if due != 0 {
		if due == load.End {
			r.end(int(publisher), number)
			return
		}
		r.time(r.p.clock.Now() - due)
	}
	r.ledger.Take(publisher, number)
	if number%stride == stride-1 {
		r.p.board.taken(r.number, int(publisher)).Store(number + 1)
	}
}

func (r *receiver) time(ns int64) {
	if r.latency == nil {
		r.latency = load.NewLatency()
	}
	r.latency.Record(ns)
}

// end notes that a publisher sends no more.
func (r *receiver) end(publisher int, sent uint64) {
	r.p.board.taken(r.number, publisher).Store(sent)
	if r.ends--; r.ends == 0 {
		r.p.finished.Done()
	}
}

// report adds to what the player reports. The receiver has left by then.
func (r *receiver) report(sent []uint64, to *report) error {
	if r.foreign != nil {
		return r.foreign
	}
	if r.p.Publisher >= 0 {
		sent = slices.Clone(sent)
		sent[r.p.Publisher] = 0
	}
	to.Tally.Add(r.ledger.Sum(sent))
	if r.latency == nil {
		return nil
	}
	if to.Latency == nil {
		to.Latency = load.NewLatency()
	}
	to.Latency.Merge(r.latency)
	return nil
}
