package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// measure carries out the scenario, and returns what came of it.
func (b *bench) measure(ctx context.Context, host *benchHost) (*benchResult, error) {
	before := host.gauge()
	s, err := b.openStage(ctx, host)
	if err != nil {
		return nil, err
	}
	defer s.abandon()
	var r *benchResult
	switch b.scenario.value {
	case benchIdle:
		r, err = s.idle(ctx, before)
	case benchChurn:
		r, err = s.churn(ctx)
	default:
		r, err = s.load(ctx)
	}
	if err != nil {
		return nil, err
	}
	err = s.close()
	r.Duplicated += s.stray
	return r, err
}

// The warm-up is a part of the duration, and comes before it.
const (
	warmUpPart = 5
	warmUpMost = time.Second
)

func (b *bench) warmUp() time.Duration { return min(b.duration/warmUpPart, warmUpMost) }

// load has the publishers publish for the duration.
func (s *benchStage) load(ctx context.Context) (*benchResult, error) {
	o := benchOrder{Do: doPublish, Rate: s.b.rate, Timed: s.b.scenario.value == benchLatency}
	s.begin("warming up", 0)
	r, err := s.round(o, func() error { return s.pass(ctx, s.b.warmUp()) })
	if err := errors.Join(err, context.Cause(ctx)); err != nil || r.verdict() != nil {
		return r, err
	}
	s.begin(s.b.scenario.value, s.b.duration)
	r, err = s.round(o, func() error { return s.killings(ctx) })
	if err != nil {
		return nil, err
	}
	if o.Timed {
		r.latencyFigures = s.account.latency()
	}
	if s.b.kill > 0 {
		r.killFigures = s.killFigures()
	}
	return r, nil
}

// round has the publishers publish while during goes on, and adds up what became of
// it. An interrupt, which ends during early, is no error.
func (s *benchStage) round(o benchOrder, during func() error) (*benchResult, error) {
	s.open()
	s.tell(o, (*benchProcess).publishes)
	if o.Limit == 0 {
		_ = during() // what went wrong is s.err; else it was interrupted
		s.tell(benchOrder{Do: doStop}, (*benchProcess).publishes)
	}
	if err := s.hearOut(); err != nil {
		return nil, err
	}
	return s.sum(), nil
}

// open begins a new round.
func (s *benchStage) open() {
	s.account = newBenchAccount()
	for _, p := range s.processes {
		p.count = 0
	}
}

// hearOut waits until everybody has got everything. Those who still wait for
// something when nothing comes any more are to say what they got.
func (s *benchStage) hearOut() error {
	done, err := s.settle(func() bool { return s.finished() && s.heardOut() })
	switch {
	case err != nil || done:
		return err
	case !s.finished():
		return errors.New("a publisher does not come to an end: its messages are not admitted")
	}
	s.tell(benchOrder{Do: doSum, Sent: s.sent()}, (*benchProcess).receives)
	if done, err = s.settle(s.heardOut); err == nil && !done {
		n, _ := s.silent()
		err = fmt.Errorf("receiver %d gets nothing any more, and does not say what it got", n)
	}
	return err
}

// settlingMost bounds how long clients are left alone before idling counts, which
// is as long as it is measured for: what connecting them has left to do is over
// after some seconds.
const settlingMost = 10 * time.Second

// idle measures the provider while nothing is sent, and in the end whether
// everybody is still there: each publisher sends one message.
func (s *benchStage) idle(ctx context.Context, before gauge) (*benchResult, error) {
	s.begin("settling", 0)
	if err := s.pass(ctx, min(s.b.duration, settlingMost)); err != nil {
		return nil, err
	}
	s.begin(benchIdle, s.b.duration)
	first, began := s.host.gauge(), s.clock.Now()
	if err := s.pass(ctx, s.b.duration); err != nil && ctx.Err() == nil {
		return nil, err
	}
	last, ended := s.host.gauge(), s.clock.Now()
	r, err := s.round(benchOrder{Do: doPublish, Limit: 1}, nil)
	if err != nil {
		return nil, err
	}
	r.took(began, ended)
	r.idleFigures = idleFiguresOf(before, first, last, time.Duration(ended-began), s.b.receivers)
	return r, nil
}

// churn has visitors come and go for the duration. What counts as sent is that
// they came and that they went, and as delivered that a witness was told.
func (s *benchStage) churn(ctx context.Context) (*benchResult, error) {
	s.begin("warming up", 0)
	r, err := s.visits(ctx, s.b.warmUp())
	if err := errors.Join(err, context.Cause(ctx)); err != nil || r.verdict() != nil {
		return r, err
	}
	s.begin(benchChurn, s.b.duration)
	return s.visits(ctx, s.b.duration)
}

func (s *benchStage) visits(ctx context.Context, d time.Duration) (*benchResult, error) {
	s.open()
	s.tell(benchOrder{Do: doVisit}, (*benchProcess).publishes)
	_ = s.pass(ctx, d) // what went wrong is s.err; else it was interrupted
	s.tell(benchOrder{Do: doStop}, (*benchProcess).publishes)
	switch done, err := s.settle(s.finished); {
	case err != nil:
		return nil, err
	case !done:
		return nil, errors.New("a visitor does not come to an end")
	}
	visits := s.sent()
	r := s.b.newResult()
	for _, n := range visits {
		r.Sent += 2 * n
	}
	if err := s.readGuestbook(visits, r.Sent); err != nil {
		return nil, err
	}
	r.Tally = balance(s.account.heard[0].Tally, r.Sent)
	r.took(s.account.began(), s.account.ended())
	r.churnFigures = &churnFigures{Connects: r.Sent / 2, ConnectRate: perSecond(r.Sent/2, r.Seconds)}
	return r, nil
}

// readGuestbook waits until the guest book has that many entries, or gets no more,
// and asks what is in it.
func (s *benchStage) readGuestbook(visits []uint64, entries uint64) error {
	complete := func() bool { return s.delivered() >= entries }
	for s.changed = time.Now(); !complete() && time.Since(s.changed) < benchQuiet; {
		s.tell(benchOrder{Do: doCount}, (*benchProcess).receives)
		if err := s.pass(context.Background(), confession); err != nil {
			return err
		}
	}
	s.tell(benchOrder{Do: doSum, Sent: visits}, (*benchProcess).receives)
	done, err := s.settle(func() bool { return len(s.account.heard) > 0 })
	if err == nil && !done {
		err = errors.New("the witness does not say whom it saw")
	}
	return err
}
