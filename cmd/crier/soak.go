package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"crier.local/cmd/internal/faults"
)

// soak is a long mixed load with faults in it, whose every message is accounted for.
type soak struct {
	p          *program
	duration   time.Duration
	seed       int
	processes  int
	rate       int
	faultEvery time.Duration
	json       bool
	records    string
	tls        bool
	spare      bool // the provider is left alone

	began   time.Time
	dir     string
	program faults.Program
	history *faults.History
	cast    *cast
	report  report
	pulse   pulse
	out     *output // outlasts an interrupt, after which there is a summary to be told
	ways    ways
	log     *os.File // gets all records; nil for none
}

func (p *program) soakCommand() *cobra.Command {
	s := &soak{p: p, history: faults.NewHistory()}
	s.pulse.tell = func(gap time.Duration) {
		p.note("%s the host stood still for %s", s.report.elapsed(), gap.Round(time.Millisecond))
	}
	cmd := &cobra.Command{
		Use:   "soak",
		Short: "Load a provider for a long time, break things, and account for every message",
		Long: `Soak starts a provider and client processes of its own, which talk, flood, read
slowly, come and go. Now and then it breaks something: it kills or stops
processes, the provider too, lets readers fall asleep, and more. All the while it
compares what was sent with what everybody received, and tells of it each minute
on standard error. It ends with a summary, and with exit code 1 if anything was
lost, doubled, reordered or never told.

The same --seed breaks the same things in the same order. A fault is over before the
next one begins, so that there may be fewer than --fault-every asks for. An interrupt
ends it in order, with the summary.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return s.run(cmd.Context()) },
	}
	f := cmd.Flags()
	f.Var(timeSpan(&s.duration, 10*time.Minute, time.Second), "duration", "how long")
	f.Var(wholeNumber(&s.seed, 1, 0), "seed", "the `number` that all choices come from")
	f.Var(wholeNumber(&s.processes, 12, 6), "processes", "how many client processes there are")
	f.Var(wholeNumber(&s.rate, 1000, 1), "rate", "how many messages are sent in a second, floods aside")
	f.Var(timeSpan(&s.faultEvery, time.Minute, time.Millisecond), "fault-every", "the time from one fault to the next")
	f.BoolVar(&s.tls, "tls", false, "let every second client process come over TCP with TLS")
	f.BoolVar(&s.spare, "spare-provider", false, "leave the provider alone, to see what grows with its age")
	f.StringVar(&s.records, "records", "", "a `file` that gets everything that is done and heard: much")
	f.BoolVar(&s.json, "json", false, "print the lines and the summary as JSON")
	return cmd
}

// What is waited for, at most.
const (
	soakStart   = time.Minute      // until everybody is there
	soakRecover = time.Minute      // until a fault is over
	soakEnd     = 2 * time.Minute  // until everybody has heard everything, and left
	soakCheck   = 2 * time.Second  // between two looks at the history
	soakLine    = time.Minute      // between two lines
	soakQuiet   = 20 * time.Second // until the provider holds what it should
)

func (s *soak) run(ctx context.Context) error {
	ctx, stop := s.p.stdout.untilClosed(ctx)
	defer stop()
	s.out = newOutput(context.WithoutCancel(ctx), s.p.stdout.file)
	defer s.clear()
	if err := s.prepare(); err != nil {
		return err
	}
	if err := s.play(ctx); err != nil && ctx.Err() == nil {
		return err
	}
	s.watch(s.history.Check(true))
	if err := s.report.sumUp(s); err != nil {
		return err
	}
	if n := s.report.violations(); n > 0 {
		return fmt.Errorf("%d violations; --seed %d has the same faults again", n, s.seed)
	}
	return ctx.Err()
}

func (s *soak) prepare() (err error) {
	s.began = time.Now()
	s.report.began(s)
	if s.program.Crier, err = os.Executable(); err != nil {
		return err
	}
	if s.dir, err = os.MkdirTemp("", "crier-soak-"); err != nil {
		return err
	}
	s.program.Dir = s.dir
	if s.tls {
		if err := s.certify(); err != nil {
			return err
		}
	}
	if s.records != "" {
		s.log, err = os.Create(s.records)
	}
	return err
}

// clear removes what prepare has made.
func (s *soak) clear() {
	os.RemoveAll(s.dir)
	if s.log != nil {
		s.log.Close()
	}
}

// play raises the curtain, lets the load run and ends it. The error says that
// there was nothing to be checked.
func (s *soak) play(ctx context.Context) error {
	s.cast = newCast(s)
	defer s.cast.sweep()
	start, cancel := context.WithTimeout(ctx, soakStart)
	defer cancel()
	if err := s.cast.raise(start); err != nil {
		return fmt.Errorf("start: %w", err)
	}
	s.measure(ctx, "start")
	s.load(ctx)
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), soakEnd)
	defer cancel()
	s.cast.finish(end)
	return nil
}

// load lets everybody talk, and breaks something now and then, until the time is
// over or ctx ends.
func (s *soak) load(ctx context.Context) {
	over, cancel := context.WithTimeoutCause(ctx, s.duration, errSoakOver)
	defer cancel()
	checks := time.NewTicker(soakCheck)
	defer checks.Stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.breakThings(over)
	}()
	var pulse sync.WaitGroup
	pulse.Go(func() { s.pulse.run(over) })
	defer pulse.Wait()
	for {
		select {
		case <-checks.C:
			s.watch(s.history.Check(false))
		case <-done:
			return
		}
	}
}

var errSoakOver = errors.New("the time is over")

// breakThings carries out faults until ctx ends.
func (s *soak) breakThings(ctx context.Context) {
	lines := time.NewTicker(soakLine)
	defer lines.Stop()
	ticks := time.NewTicker(s.faultEvery)
	defer ticks.Stop()
	last := "none"
	for number := uint64(0); ; {
		select {
		case <-ctx.Done():
			s.measure(context.WithoutCancel(ctx), last)
			return
		case <-ticks.C:
			last = s.fault(ctx, number)
			number++
		case <-lines.C:
			s.measure(ctx, last)
			last = "none"
		}
	}
}

// measure looks at the provider, and reports a line.
func (s *soak) measure(ctx context.Context, fault string) {
	ctx, cancel := context.WithTimeout(ctx, soakQuiet)
	defer cancel()
	state := s.cast.settled(ctx)
	s.report.line(s, fault, state)
}

// watch reports violations.
func (s *soak) watch(found []faults.Violation) {
	for _, v := range found {
		s.report.violation(s, v)
	}
}

func (s *soak) socket() string { return filepath.Join(s.dir, "crier.sock") }

// write writes a record to the file for them.
func (s *soak) write(r *faults.Record) {
	if s.log == nil {
		return
	}
	if line, err := json.Marshal(r); err == nil {
		_, _ = s.log.Write(append(line, '\n')) // it is only for whoever looks into it
	}
}
