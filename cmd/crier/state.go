package main

import (
	"os"
	"os/signal"
	"runtime"
	"sync"
	"syscall"

	"github.com/hashicorp/go-hclog"

	"crier.local/provider"
)

// tellState logs a line about the state of p at each SIGUSR1, until stop is
// called, which waits.
func tellState(p *provider.Provider, logger hclog.Logger) (stop func()) {
	signals, over := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(signals, syscall.SIGUSR1)
	var watch sync.WaitGroup
	watch.Go(func() {
		for {
			select {
			case <-signals:
				logState(p, logger)
			case <-over:
				return
			}
		}
	})
	return sync.OnceFunc(func() {
		signal.Stop(signals)
		close(over)
		watch.Wait()
	})
}

// logState logs one line about the state of p.
func logState(p *provider.Provider, logger hclog.Logger) {
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	s := p.State()
	logger.Info("state", "goroutines", runtime.NumGoroutine(), "descriptors", descriptors(),
		"processes", s.Processes, "connections", s.Resources,
		"queued_bytes", s.QueuedBytes, "heap_bytes", memory.HeapAlloc)
}

// descriptors counts the descriptors that are open, -1 if that cannot be found
// out. The one that is opened for it is not counted.
func descriptors() int {
	for _, dir := range []string{"/proc/self/fd", "/dev/fd"} {
		if d, err := os.Open(dir); err == nil {
			names, err := d.Readdirnames(-1)
			d.Close()
			if err == nil {
				return len(names) - 1
			}
		}
	}
	return -1
}
