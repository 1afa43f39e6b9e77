package main

import (
	"context"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// withSignals returns a context that the first interrupt ends, with the cause
// [interrupted]; a second one ends the process at once. release stops that and
// waits; it may be called repeatedly.
//
// Once it has been called a write to a closed pipe is an error instead of the end
// of the process. The signal is caught rather than ignored, since an ignored one
// would stay ignored in the processes that this one starts.
func withSignals(parent context.Context) (ctx context.Context, release func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals, pipe := make(chan os.Signal, 2), make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	signal.Notify(pipe, syscall.SIGPIPE)
	over, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		watchSignals(signals, over, cancel)
	}()
	return ctx, sync.OnceFunc(func() {
		signal.Stop(signals)
		close(over)
		<-done
		cancel(nil)
	})
}

func watchSignals(signals <-chan os.Signal, over <-chan struct{}, cancel context.CancelCauseFunc) {
	for first := true; ; first = false {
		select {
		case <-over:
			return
		case s := <-signals:
			number := s.(syscall.Signal)
			if !first {
				os.Exit(exitSignal + int(number))
			}
			cancel(interrupted{number})
		}
	}
}
