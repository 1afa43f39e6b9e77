package main

import (
	"math"

	"crier.local/cmd/internal/load"
)

// benchAccount is what the client processes have told of a round.
type benchAccount struct {
	published  map[int]benchWord // by publisher, or visitor
	heard      map[int]benchWord // by receiver
	departures []benchWord       // that witnesses were told of
}

func newBenchAccount() *benchAccount {
	return &benchAccount{published: map[int]benchWord{}, heard: map[int]benchWord{}}
}

// sources are the publishers of a process, or its visitors.
func (p *benchPart) sources() []uint16 {
	if p.Visits {
		return numbersFrom(p.First, p.Receivers)
	}
	return p.Publishers
}

// finished reports whether all publishers that live have told how much they sent.
func (s *benchStage) finished() bool {
	for _, p := range s.processes {
		for _, n := range p.part.sources() {
			if _, ok := s.account.published[int(n)]; p.alive() && !ok {
				return false
			}
		}
	}
	return true
}

// heardOut reports whether all receivers that live have told what they got.
func (s *benchStage) heardOut() bool {
	_, silent := s.silent()
	return !silent
}

// silent returns a receiver that lives and has not told what it got, if there is one.
func (s *benchStage) silent() (receiver int, ok bool) {
	for _, p := range s.processes {
		for n := p.part.First; p.alive() && n < p.part.First+p.part.Receivers; n++ {
			if _, told := s.account.heard[n]; !told && p.receives() {
				return n, true
			}
		}
	}
	return 0, false
}

// sent is how many messages each publisher sent. Of those that were killed that is
// as many as anybody got, for all must get the same.
func (s *benchStage) sent() []uint64 {
	sent := make([]uint64, max(s.b.publishers, s.b.receivers))
	for n, w := range s.account.published {
		sent[n] = w.Count
	}
	for _, w := range s.account.heard {
		for n, count := range w.Dead {
			sent[n] = max(sent[n], count)
		}
	}
	return sent
}

// sum adds up what became of the messages of the round.
func (s *benchStage) sum() *benchResult {
	r := s.b.newResult()
	sent := s.sent()
	for _, n := range sent {
		r.Sent += n
	}
	for _, p := range s.processes {
		if p.killed != 0 {
			r.Delivered += p.count
			continue
		}
		for n := p.part.First; p.receives() && n < p.part.First+p.part.Receivers; n++ {
			owed := r.Sent
			if p.part.Paired {
				owed -= sent[n]
			}
			r.Add(balance(s.account.heard[n].Tally, owed))
		}
	}
	r.took(s.account.began(), s.account.ended())
	return r
}

// balance returns what a receiver counted, corrected by what it was owed, which it
// cannot know if the end marks were wrong, or if it was told too little by one that
// died.
func balance(counted *load.Tally, owed uint64) load.Tally {
	if counted == nil {
		return load.Tally{Lost: owed}
	}
	t := *counted
	switch all := t.Delivered + t.Lost; {
	case all < owed:
		t.Lost += owed - all
	case all > owed:
		t.Duplicated += all - owed
	}
	return t
}

// began is when the first message was sent, 0 if none was.
func (a *benchAccount) began() int64 {
	first := int64(math.MaxInt64)
	for _, w := range a.published {
		if w.Count > 0 {
			first = min(first, w.Time)
		}
	}
	if first == math.MaxInt64 {
		return 0
	}
	return first
}

// ended is when the last delivery was made.
func (a *benchAccount) ended() (last int64) {
	for _, w := range a.heard {
		last = max(last, w.Time)
	}
	return last
}

// latency is of all deliveries together.
func (a *benchAccount) latency() *latencyFigures {
	all := load.NewLatency()
	for _, w := range a.heard {
		if w.Latency != nil {
			all.Merge(w.Latency)
		}
	}
	return &latencyFigures{all.P50(), all.P99(), all.P999(), all.Max()}
}
