package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

func main() {
	if role := os.Getenv(roleKey); role != "" {
		os.Exit(act(role, os.Args[1:]))
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	interrupted := ctx.Err() != nil
	cancel()
	switch {
	case interrupted:
		fmt.Fprintln(os.Stderr, "peerbench: interrupted")
		os.Exit(130)
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	case err != nil:
		fmt.Fprintf(os.Stderr, "peerbench: %v\n", err)
		os.Exit(1)
	}
}

// options are what the flags say.
type options struct {
	systems, cells string
	rounds         int
	seconds, warm  float64
	window         uint64
	json           string
	charts         string
	bars           bool
	profiles       string
	binaries       map[string]string
}

func parse(args []string) (o options, err error) {
	o.binaries = map[string]string{}
	f := flag.NewFlagSet("peerbench", flag.ContinueOnError)
	f.StringVar(&o.systems, "systems", "", "the `systems` to measure, separated by commas (default all)")
	f.StringVar(&o.cells, "cells", "", "the `cells` to measure, separated by commas (default all)")
	f.IntVar(&o.rounds, "rounds", 5, "how many `rounds` there are")
	f.Float64Var(&o.seconds, "seconds", 1, "how many `seconds` each part is measured")
	f.Float64Var(&o.warm, "warm-up", 0.3, "how many `seconds` each part runs before that")
	f.Uint64Var(&o.window, "window", windowBytes, "how many `bytes` a publisher may be ahead of the slowest receiver")
	f.StringVar(&o.json, "json", "", "a `file` for all results as they were measured")
	f.StringVar(&o.charts, "charts", "", "a `directory` for charts, and for RESULTS.md above it")
	f.BoolVar(&o.bars, "bars", true, "compare with what Crier wants to reach")
	f.StringVar(&o.profiles, "profile", "", "an existing `directory` for CPU profiles of clients, and of Crier's provider")
	f.Func("crier", "the `binary` of Crier to measure (default: built from the source beside)", func(path string) (err error) {
		o.binaries["crier"], err = filepath.Abs(path)
		return err
	})
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	return o, nil
}

// run does what the command line says.
func run(ctx context.Context, args []string) (err error) {
	o, err := parse(args)
	if err != nil {
		return err
	}
	h, err := newHouse(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.close()) }()
	b, err := newBench(h, o)
	if err != nil {
		return err
	}
	if err := b.run(); err != nil {
		return err
	}
	return b.publish(os.Stdout)
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
