package provider

import (
	"errors"
	"net"
	"time"
)

// complaintInterval is how often it is logged, at most, that connections cannot
// be accepted.
const complaintInterval = 10 * time.Second

// doorman lets in the connections of one listener. One goroutine uses it.
type doorman struct {
	front   *front
	hall    *hall           // where they wait to be known
	address string          // of the listener, for the log
	over    <-chan struct{} // closed when the listener is

	failures, drops ration
}

// ration keeps one line from being logged again and again.
type ration struct {
	count int // since it was logged
	last  time.Time
}

// take counts, and returns how many there were if that is to be logged now.
func (r *ration) take() int {
	r.count++
	now := time.Now()
	if !r.last.IsZero() && now.Sub(r.last) < complaintInterval {
		return 0
	}
	n := r.count
	r.count, r.last = 0, now
	return n
}

// errNobody is why there is no connection after all, while others may come.
var errNobody = errors.New("no connection")

// accept returns the next connection that next returns. It waits while too many
// have not greeted yet, and until the kernel can give one again after it could
// not. It ends with [net.ErrClosed] when next does, or the gate is shut.
func (d *doorman) accept(next func() (net.Conn, error)) (net.Conn, error) {
	for delay := time.Duration(0); ; {
		if !d.hall.await() {
			return nil, net.ErrClosed
		}
		conn, err := next()
		switch {
		case err == nil:
			return conn, nil
		case errors.Is(err, errFlood):
			if n := d.drops.take(); n > 0 {
				d.front.p.log.Warn("dropped a connection", "address", d.address, "error", err, "dropped", n)
			}
			continue
		case errors.Is(err, errNobody):
			continue
		case errors.Is(err, net.ErrClosed):
			return nil, err
		}
		delay = min(max(2*delay, 5*time.Millisecond), time.Second)
		if n := d.failures.take(); n > 0 {
			d.front.p.log.Warn("cannot accept a connection", "address", d.address, "error", err, "wait", delay.String(), "failures", n)
		}
		select {
		case <-time.After(delay):
		case <-d.over:
		}
	}
}
