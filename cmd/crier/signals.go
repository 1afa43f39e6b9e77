package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// withSignals returns a context that the first interrupt ends, with the cause
// [interrupted]; a second one ends the process at once. What there is to say goes
// to stderr, which must not block. release stops that and waits; it may be called
// repeatedly.
//
// Once it has been called a write to a closed pipe is an error instead of the end
// of the process. The signal is caught rather than ignored, since an ignored one
// would stay ignored in the processes that this one starts.
func withSignals(parent context.Context, stderr io.Writer) (ctx context.Context, release func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals, pipe := make(chan os.Signal, 2), make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) { // nohup has it ignored
		signal.Notify(signals, syscall.SIGHUP)
	}
	signal.Notify(pipe, syscall.SIGPIPE)
	over, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		watchSignals(signals, over, cancel, stderr)
	}()
	return ctx, sync.OnceFunc(func() {
		signal.Stop(signals)
		close(over)
		<-done
		cancel(nil)
	})
}

// closing tells a person why nothing seems to happen, when an end in order takes
// longer than closingTime.
const (
	closing     = "closing; interrupt again to end at once"
	closingTime = time.Second
)

func watchSignals(signals <-chan os.Signal, over <-chan struct{}, cancel context.CancelCauseFunc, stderr io.Writer) {
	var late <-chan time.Time
	for first := true; ; {
		select {
		case <-over:
			return
		case <-late:
			fmt.Fprintln(stderr, closing)
		case s := <-signals:
			number := s.(syscall.Signal)
			if !first {
				os.Exit(exitSignal + int(number))
			}
			first = false
			cancel(interrupted{number})
			late = time.After(closingTime)
		}
	}
}
