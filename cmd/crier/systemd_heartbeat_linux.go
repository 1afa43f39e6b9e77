package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"crier.local/api"
	"crier.local/client"
)

// heartbeat gives a supervisor signs of life of a provider, as often as it wants. Before
// each one a client of its own attaches to the provider and asks it something: what
// keeps clients from that keeps the sign from being given.
type heartbeat struct {
	boss   *supervisor
	door   *door
	logger hclog.Logger
}

// beginHeartbeat gives signs of life until stop is called, which waits. If the supervisor
// wants none, nothing runs.
func (s *supervisor) beginHeartbeat(epoch api.Epoch, addresses []api.Endpoint, logger hclog.Logger) (stop func(), err error) {
	if s.patience == 0 {
		return func() {}, nil
	}
	d, err := openDoor(epoch, addresses)
	if err != nil {
		return nil, err
	}
	b := &heartbeat{boss: s, door: d, logger: logger}
	ctx, cancel := context.WithCancel(context.Background())
	var beating sync.WaitGroup
	beating.Go(func() { b.run(ctx) })
	return sync.OnceFunc(func() {
		cancel()
		beating.Wait()
		d.close()
	}), nil
}

// run gives a sign each half of the time in which one is due. When the provider does
// not answer it asks again soon, since it may have been the machine that was busy.
func (b *heartbeat) run(ctx context.Context) {
	for delay := b.boss.patience / 2; ; {
		select {
		case <-ctx.Done():
			return
		case <-time.After(delay):
		}
		delay = b.boss.patience / 10
		if b.beat(ctx) {
			delay = b.boss.patience / 2
		}
	}
}

// beat gives one sign, if the provider answers.
func (b *heartbeat) beat(ctx context.Context) bool {
	limit := b.boss.patience / 4
	trip, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("no answer within %s", limit))
	defer cancel()
	err := causeOf(trip, b.door.try(trip))
	switch {
	case ctx.Err() != nil:
		return false
	case err != nil:
		b.logger.Error("the provider does not answer; the service manager gets no sign of life", "address", b.door.path, "error", err)
		return false
	}
	err = b.boss.alive()
	warnUnheard(b.logger, err)
	return err == nil
}

// door is where a provider's own client comes in: its first unix socket. It is held
// by a descriptor of the file, so that it leads to the provider also when somebody has
// removed the file: that is a trouble, but the provider is well.
type door struct {
	path  string
	epoch api.Epoch
	file  *os.File
}

// openDoor opens the first unix socket of the provider's addresses.
func openDoor(epoch api.Epoch, addresses []api.Endpoint) (*door, error) {
	for _, a := range addresses {
		if a.Network == "unix" {
			d := &door{path: a.Address, epoch: epoch}
			return d, d.open()
		}
	}
	return nil, errors.New("the watchdog tries the provider at a unix socket, and it has none; " +
		"add one (ListenStream=/run/crier/crier.sock), or do without WatchdogSec=")
}

func (d *door) open() error {
	file, err := os.OpenFile(d.path, unix.O_PATH|unix.O_NOFOLLOW, 0)
	if err != nil {
		return fmt.Errorf("watchdog: %w", err)
	}
	d.close()
	d.file = file
	return nil
}

func (d *door) close() {
	if d.file != nil {
		d.file.Close()
	}
}

// try attaches to the provider and asks it something. A provider that has made its
// socket anew is found there.
func (d *door) try(ctx context.Context) error {
	err := d.attach(ctx)
	if err == nil || ctx.Err() != nil || !d.moved() || d.open() != nil {
		return err
	}
	return d.attach(ctx)
}

// moved reports whether another file is at the path than the one that is held.
func (d *door) moved() bool {
	held, heldErr := d.file.Stat()
	there, err := os.Lstat(d.path)
	return heldErr == nil && err == nil && !os.SameFile(held, there)
}

func (d *door) attach(ctx context.Context) error {
	e := api.UnixEndpoint(fmt.Sprintf("/proc/self/fd/%d", d.file.Fd()))
	c, err := client.Dial(ctx, client.Options{Address: e, Wait: -1})
	switch {
	case errors.Is(err, api.ErrTooMany):
		return nil // it lives: it has answered that it is full
	case err != nil:
		return errors.New(strings.ReplaceAll(err.Error(), e.Address, d.path))
	}
	defer c.Close()
	if c.Provider().Epoch != d.epoch {
		return fmt.Errorf("another provider, %s, answers at %s", c.Provider(), d.path)
	}
	return c.Ping(ctx)
}
