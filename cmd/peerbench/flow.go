package main

import (
	"errors"
	"fmt"
	"time"

	"crier.local/cmd/internal/load"
)

const (
	// windowBytes bounds how far a publisher is ahead of the slowest receiver: in
	// payload, and some more for each message. Between 1 and 8 MiB Crier, NATS and
	// Redis did not gain or lose by it with 10 receivers; with 100 the former two were
	// faster with less.
	windowBytes = 2 << 20
	perMessage  = 64
)

// measureFlow measures how messages flow, for that long after the warm-up.
func measureFlow(st *stage, warm, measured time.Duration) (s sample, err error) {
	defer func() { err = errors.Join(err, st.close()) }()
	if err := st.cast(); err != nil {
		return s, err
	}
	for _, p := range st.publishers() {
		if err := p.tell(order{Do: doPublish}); err != nil {
			return s, err
		}
	}
	if err := st.warmUp(warm); err != nil {
		return s, err
	}
	before, err := st.read()
	if err != nil {
		return s, err
	}
	st.board.phase().Store(measuring)
	after, err := st.later(before, measured)
	if err != nil {
		return s, err
	}
	st.board.phase().Store(stopping)
	s = after.since(before, st.c)
	return s, st.settle(&s)
}

// cast starts the server, the receivers and then the publishers.
func (st *stage) cast() error {
	a, err := st.open(st.c.receivers)
	if err != nil {
		return err
	}
	if st.c.all {
		return st.openMesh(a)
	}
	receivers := a
	receivers.Count = st.c.receivers
	if _, err := st.enter("receivers", receivers); err != nil {
		return err
	}
	a.Publisher = 0
	_, err = st.enter("publisher", a)
	return err
}

// openMesh starts processes each of which is a publisher and a receiver.
func (st *stage) openMesh(a assignment) error {
	for i := range st.c.publishers {
		one := a
		one.Publisher, one.First, one.Count = i, i, 1
		if err := st.play(fmt.Sprintf("player %d", i), one); err != nil {
			return err
		}
	}
	for _, p := range st.players {
		if _, err := p.hear(joining); err != nil {
			return err
		}
	}
	return nil
}

// publishers are the players that publish.
func (st *stage) publishers() []*process {
	if st.c.all {
		return st.players
	}
	return st.players[1:]
}

// receivers are the players that receive.
func (st *stage) receivers() []*process {
	if st.c.all {
		return st.players
	}
	return st.players[:1]
}

// warmUp waits until messages arrive, and then for that long.
func (st *stage) warmUp(warm time.Duration) error {
	for deadline := time.Now().Add(joining); st.board.sum() == 0; {
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: nothing arrives", st.sys.name())
		}
		if err := st.rest(time.Millisecond); err != nil {
			return err
		}
	}
	return st.rest(warm)
}

// settle has everything arrive that was sent, and notes what became of it.
func (st *stage) settle(s *sample) error {
	sent := make([]uint64, 0, st.c.publishers)
	for _, p := range st.publishers() {
		r, err := p.hear(joining)
		if err != nil {
			return err
		}
		sent = append(sent, r.Sent)
	}
	for _, p := range st.receivers() {
		if err := p.tell(order{Do: doFinish, Sent: sent}); err != nil {
			return err
		}
	}
	for _, p := range st.receivers() {
		r, err := p.hear(joining)
		if err != nil {
			return err
		}
		s.Tally.Add(r.Tally)
		if r.Latency == nil {
			continue
		}
		if s.Latency == nil {
			s.Latency = load.NewLatency()
		}
		s.Latency.Merge(r.Latency)
	}
	s.Values.addLatency(s.Latency)
	return nil
}

// reading is what can be read off at one moment.
type reading struct {
	at        int64
	taken     uint64
	server    time.Duration // CPU
	publisher time.Duration
	receivers time.Duration
}

func (st *stage) read() (r reading, err error) {
	cpu := func(processes []*process) (sum time.Duration) {
		for _, p := range processes {
			t, e := cpuTime(p.pid())
			err = errors.Join(err, e)
			sum += t
		}
		return sum
	}
	if st.server.process != nil {
		r.server = cpu([]*process{st.server.process})
	}
	r.publisher, r.receivers = cpu(st.publishers()), cpu(st.receivers())
	r.taken, r.at = st.board.sum(), time.Now().UnixNano()
	return r, err
}

// later reads again when that time has passed and something has arrived in it.
func (st *stage) later(before reading, measured time.Duration) (r reading, err error) {
	for deadline := time.Now().Add(measured + joining); r.taken <= before.taken; {
		if time.Now().After(deadline) {
			return r, fmt.Errorf("%s: nothing arrives any more", st.sys.name())
		}
		if err := st.rest(measured); err != nil {
			return r, err
		}
		if r, err = st.read(); err != nil {
			return r, err
		}
	}
	return r, nil
}

// since returns the figures of what happened since an earlier reading.
func (r reading) since(before reading, c cell) sample {
	taken := float64(r.taken - before.taken)
	seconds := float64(r.at-before.at) / 1e9
	each := func(now, then time.Duration) float64 { return float64(now-then) / taken }
	v := values{
		rate:         taken / seconds,
		publisherCPU: each(r.publisher, before.publisher),
		receiverCPU:  each(r.receivers, before.receivers),
	}
	v[allCPU] = each(r.server, before.server) + v[receiverCPU]
	if !c.all { // otherwise the receivers are the publishers
		v[allCPU] += v[publisherCPU]
	}
	if r.server > 0 {
		v[serverCPU] = each(r.server, before.server)
	}
	if c.rate > 0 { // which says how many there were
		delete(v, rate)
	}
	return sample{Values: v}
}
