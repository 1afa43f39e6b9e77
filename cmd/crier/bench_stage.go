package main

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/hashicorp/go-hclog"

	"crier.local/cmd/internal/load"
)

// benchStage is the client processes of a bench, and what they have said. It is for
// one goroutine.
type benchStage struct {
	b         *bench
	host      *benchHost
	clock     load.Clock
	processes []*benchProcess
	said      chan benchSaid
	left      chan struct{} // closed when nobody hears any more
	ticks     *time.Ticker

	ready   int // processes that are
	buried  int // that have buried the dead
	account *benchAccount
	stray   uint64    // deliveries after the last
	changed time.Time // when something last went on
	err     error     // what has gone wrong
	closing bool      // processes may end

	log      hclog.Logger
	progress progress
	asked    bool // how much was delivered, since that was shown
}

// openStage starts the client processes, and returns when all clients are there.
func (b *bench) openStage(ctx context.Context, host *benchHost) (_ *benchStage, err error) {
	s := &benchStage{
		b: b, host: host, said: make(chan benchSaid, 1024), left: make(chan struct{}),
		ticks: time.NewTicker(benchTick), account: newBenchAccount(),
		log: b.p.logger(hclog.Warn), progress: progress{to: b.p.stderr, on: b.p.stderr.terminal},
	}
	defer func() {
		if err != nil {
			s.abandon()
		}
	}()
	if s.clock, err = load.NewClock(); err != nil {
		return nil, err
	}
	go s.watch(host.ended())
	for _, part := range b.parts() {
		if err := s.start(part); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, benchStart, errors.New("the clients do not come to be connected"))
	defer cancel()
	s.begin("connecting", 0)
	return s, s.await(ctx, func() bool { return s.ready == len(s.processes) })
}

// watch tells when the provider has ended, and how.
func (s *benchStage) watch(ended <-chan string) {
	select {
	case how := <-ended:
		s.hear(benchSaid{nil, benchWord{At: wordOver, Error: how}})
	case <-s.left:
	}
}

func (s *benchStage) start(part benchPart) error {
	cmd, err := s.host.command()
	if err != nil {
		return err
	}
	note := func(line string) {
		if s.b.p.log.level.value != "" { // else it is told if the process fails
			s.b.p.note("%s", line)
		}
	}
	p, err := startBenchProcess(cmd, part, note, s.hear)
	if err == nil {
		s.processes = append(s.processes, p)
	}
	return err
}

// hear passes on what somebody says, for as long as anybody wants to hear it.
func (s *benchStage) hear(said benchSaid) {
	select {
	case s.said <- said:
	case <-s.left:
	}
}

// await waits until done, or returns why it cannot be.
func (s *benchStage) await(ctx context.Context, done func() bool) error {
	for s.err == nil && !done() {
		select {
		case said := <-s.said:
			s.take(said)
		case <-s.ticks.C:
			s.tick()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return s.err
}

// benchTick is half of the time between two looks at how far things are.
const benchTick = time.Second / 2

// tick asks how much was delivered, or shows it, in turns.
func (s *benchStage) tick() {
	if s.asked = !s.asked; s.asked {
		s.tell(benchOrder{Do: doCount}, (*benchProcess).receives)
	} else {
		s.progress.show()
	}
}

// begin tells what begins: whoever watches the terminal, and the log.
func (s *benchStage) begin(doing string, of time.Duration) {
	s.log.Info(doing)
	s.progress.begin(doing, of)
	s.ticks.Reset(benchTick)
	s.asked = false
}

var errPassed = errors.New("the time has passed")

// pass lets some time pass.
func (s *benchStage) pass(ctx context.Context, d time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, d, errPassed)
	defer cancel()
	err := s.await(ctx, func() bool { return false })
	if errors.Is(err, errPassed) {
		return nil
	}
	return err
}

// settle waits until done, or until nothing has gone on for a while: it reports
// which.
func (s *benchStage) settle(done func() bool) (bool, error) {
	s.changed = time.Now()
	err := s.await(context.Background(), func() bool { return done() || time.Since(s.changed) > benchQuiet })
	return done(), err
}

// tell gives an order to those processes that are alive and meant.
func (s *benchStage) tell(o benchOrder, meant func(*benchProcess) bool) {
	for _, p := range s.processes {
		if p.alive() && meant(p) {
			p.tell(o)
		}
	}
}

// take takes what was said.
func (s *benchStage) take(said benchSaid) {
	p := said.by
	switch said.At {
	case wordReady:
		s.ready++
	case wordBuried:
		s.buried++
	case wordCount:
		if said.Count == p.count {
			return
		}
		p.count = said.Count
		s.progress.counted(s.delivered())
	case wordStray:
		s.stray += said.Count
	case wordFailed:
		s.fail(said.Error)
	case wordPublished:
		if said.Error != "" && p.killed == 0 {
			s.fail(said.Error)
		}
		s.account.published[said.Number] = said.benchWord
	case wordHeard:
		if _, told := s.account.heard[said.Number]; !told {
			s.account.heard[said.Number] = said.benchWord
		}
	case wordLeft:
		if !s.closing { // then all leave
			s.account.departures = append(s.account.departures, said.benchWord)
		}
	case wordOver:
		s.ended(said)
	}
	s.changed = time.Now()
}

// ended takes that a process, or the provider, is over.
func (s *benchStage) ended(said benchSaid) {
	if said.by != nil {
		said.by.over = true
		if said.by.killed != 0 {
			return
		}
	}
	switch {
	case said.Error != "":
		s.fail(said.Error)
	case !s.closing:
		s.fail("a client process ended too early")
	}
}

// fail notes the first thing that went wrong.
func (s *benchStage) fail(text string) {
	if s.err == nil {
		s.err = errors.New(text)
	}
}

// delivered is how many messages have come in this round, as far as is known.
func (s *benchStage) delivered() (n uint64) {
	for _, p := range s.processes {
		n += p.count
	}
	return n
}

// close has all clients leave, and waits for them.
func (s *benchStage) close() error {
	s.closing = true
	defer s.abandon()
	for _, p := range s.processes {
		p.in.Close()
	}
	ctx, cancel := context.WithTimeoutCause(context.Background(), benchEnd, errors.New("the clients do not leave"))
	defer cancel()
	return s.await(ctx, func() bool {
		return !slices.ContainsFunc(s.processes, func(p *benchProcess) bool { return !p.over })
	})
}

// abandon ends the client processes at once. It may be called after close.
func (s *benchStage) abandon() {
	s.progress.clear()
	s.b.p.stderr.flush(lingerTime) // before anything is printed
	s.ticks.Stop()
	for _, p := range s.processes {
		if !p.over {
			p.cmd.Process.Kill()
		}
	}
	for _, p := range s.processes { // until all are reaped
		for !p.over {
			if said := <-s.said; said.At == wordOver && said.by != nil {
				said.by.over = true
			}
		}
	}
	select {
	case <-s.left:
	default:
		close(s.left)
	}
}
