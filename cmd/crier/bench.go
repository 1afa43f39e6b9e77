package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"crier.local/cmd/internal/load"
)

// bench loads a provider from other processes, and measures what it does.
type bench struct {
	p        *program
	reach    reach
	own      bool
	scenario choice
	payload  int
	// publishers, processes and rate are -1 until the scenario has said what they
	// are if nobody did.
	publishers int
	receivers  int
	processes  int
	rate       int
	duration   time.Duration
	share      bool
	kill       percent
	json       bool

	out *output // outlasts an interrupt, after which there is something to be told
}

// The scenarios.
const (
	benchFanout  = "fanout"
	benchAll     = "all-to-all"
	benchLatency = "latency"
	benchIdle    = "idle"
	benchChurn   = "churn"
	benchKill    = "kill"
)

func (p *program) benchCommand() *cobra.Command {
	b := &bench{p: p, scenario: choice{benchFanout, []string{benchFanout, benchAll, benchLatency, benchIdle, benchChurn, benchKill}}}
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure a provider: throughput, latency, and what kill -9 does",
		Long:  benchHelp,
		Args:  noArguments,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			p.started = true
			return b.bindEnvironment(cmd)
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return b.run(cmd.Context()) },
	}
	b.reach.addTo(cmd)
	f := cmd.Flags()
	f.BoolVar(&b.own, "own", false, "start a provider for this alone, and stop it in the end")
	f.Var(&b.scenario, "scenario", "what to measure: "+strings.Join(b.scenario.allowed, ", "))
	f.Var(wholeNumber(&b.payload, 128, load.HeaderSize), "payload", "how many bytes a message has")
	f.Var(unsaid(&b.publishers, 1, "1"), "publishers", "how many clients send")
	f.Var(wholeNumber(&b.receivers, 10, 1), "receivers", "how many clients receive; in churn, how many come and go at a time")
	f.Var(unsaid(&b.processes, 1, "1; with --kill up to 10"), "processes", "over how many processes the receivers are spread")
	f.Var(unsaid(&b.rate, 0, "as many as it can; latency 1000, kill 10000"), "rate", "how many messages are sent in a second, by all publishers")
	f.Var(timeSpan(&b.duration, 3*time.Second, time.Millisecond), "duration", "how long to measure, after a warm-up")
	f.BoolVar(&b.share, "share", false, "let the receivers of a process be connections of one attachment")
	f.Var(&b.kill, "kill", "kill this `part` of the receivers' processes meanwhile, such as 10%")
	f.BoolVar(&b.json, "json", false, "print JSON")
	completeChoice(cmd, "scenario", &b.scenario)
	return cmd
}

const benchHelp = `Bench sends messages through a provider, the one found or with --own one that it
starts itself, and accounts for every delivery. Publishers and receivers are in
processes of their own; every receiver is an attachment of its own unless --share
is given. Messages are numbered: what is lost, delivered twice or out of order is
counted, and makes the exit code 1.

  fanout      publishers send, receivers receive
  all-to-all  every receiver also sends to all others
  latency     fanout by a schedule; a message's time counts from when it was due
  idle        receivers are connected and nothing is sent: what that costs the provider
  churn       clients attach, take a seat and leave again, over and over
  kill        fanout by a schedule, with --kill 10%

With --kill, which fanout and all-to-all take too, some of the receivers' processes
are killed with -9, one after another. Those that live must get everything, the
killed ones exactly the first messages up to their end, and a witness in each
process that lives must be told of every departure exactly once.

The time is from the first message to the last delivery. An interrupt ends the
measurement early, and what was measured is printed.`

// bindEnvironment is that of all commands, but that a provider of bench's own is
// not looked for.
func (b *bench) bindEnvironment(cmd *cobra.Command) error {
	f := cmd.Flags()
	if own := f.Lookup("own"); !own.Changed {
		if err := setFromEnvironment(own); err != nil {
			return err
		}
	}
	if b.own {
		for _, name := range []string{"address", "tls-ca", "tls-cert", "tls-key", "run-dir"} {
			if f.Lookup(name).Changed {
				return usage(fmt.Errorf("--own starts a provider, --%s is for one that is there", name), "give one of them")
			}
			f.Lookup(name).Annotations = map[string][]string{environmentKey: {""}}
		}
	}
	return bindEnvironment(cmd)
}

// run measures, and prints what was measured.
func (b *bench) run(ctx context.Context) error {
	if err := b.settle(); err != nil {
		return err
	}
	ctx, stop := b.p.stdout.untilClosed(ctx)
	defer stop()
	b.out = newOutput(context.WithoutCancel(ctx), b.p.stdout.file)
	host, err := b.openHost(ctx)
	if err != nil {
		return causeOf(ctx, err)
	}
	defer host.close()
	result, err := b.measure(ctx, host)
	if err != nil {
		return causeOf(ctx, benchFailed(err))
	}
	if err := host.close(); err != nil {
		return benchFailed(err)
	}
	if err := b.print(result); err != nil {
		return err
	}
	if err := result.verdict(); err != nil {
		return err
	}
	return context.Cause(ctx)
}

// benchFailed gives err exit code 1, whatever it was in the process that failed.
func benchFailed(err error) error {
	if isAny(err, context.Canceled) || err == nil {
		return err
	}
	if _, ok := errors.AsType[interrupted](err); ok || errors.Is(err, errOutputClosed) {
		return err
	}
	return &codedError{err, exitFailed, hintFor(err)}
}
