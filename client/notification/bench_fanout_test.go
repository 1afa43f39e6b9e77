package notification_test

import (
	"encoding/binary"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"crier.local/api"
	"crier.local/client/notification"
	service "crier.local/provider/notification"
)

// fanout is how many receivers there are, each with an attachment of its own.
const fanout = 10

// BenchmarkFanout has one process publish to ten receivers in another one, with
// the provider in a third. b.N counts messages; each of their deliveries is
// checked for order, and none may be missing or come twice.
func BenchmarkFanout(b *testing.B) {
	w := newWorld(b)
	w.spawn(service.DefaultStall)
	audience := w.start("audience")
	audience.expect("here")
	publisher := w.start("publisher")
	publisher.expect("here")
	for _, size := range []int{16, 128, 1024} {
		b.Run(fmt.Sprintf("%dB", size), func(b *testing.B) {
			cast := []*child{w.process, publisher, audience}
			var cpu []time.Duration
			for _, c := range cast {
				cpu = append(cpu, c.usage())
			}
			b.ResetTimer()
			audience.tell("take %d %d", b.N, size)
			publisher.tell("publish %d %d", b.N, size)
			verdict := audience.expect("took")
			took := b.Elapsed()
			b.StopTimer()
			publisher.expect("published")
			if verdict != "lost 0 again 0 late 0 torn 0" {
				b.Fatalf("of %d messages: %s", b.N, verdict)
			}
			deliveries := float64(fanout * b.N)
			b.ReportMetric(deliveries/took.Seconds(), "deliveries/s")
			for i, c := range cast {
				b.ReportMetric(float64(c.usage()-cpu[i])/deliveries, c.role+"-cpu-ns/delivery")
			}
		})
	}
}

// usage returns the CPU time that the process has taken.
func (c *child) usage() time.Duration {
	c.w.t.Helper()
	c.tell("usage")
	return time.Duration(c.expectNumber("usage"))
}

func (c *child) expectNumber(begin string) (n int64) {
	c.w.t.Helper()
	line := c.expect(begin)
	if _, err := fmt.Sscan(line, &n); err != nil {
		c.w.t.Fatalf("%s says %s %q: %v", c, begin, line, err)
	}
	return n
}

// cpuTime returns the nanoseconds of CPU that this process has taken.
func cpuTime() int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

// playPublisher posts messages that carry consecutive numbers: "publish COUNT SIZE".
func playPublisher(s *stage) error {
	c, x, err := s.connect(api.Connect{SendOnly: true})
	if err != nil {
		return err
	}
	defer c.Close()
	s.say("here")
	number := uint64(0)
	for command := range s.commands {
		var count, size int
		if _, err := fmt.Sscanf(command, "publish %d %d", &count, &size); err != nil {
			return err
		}
		payload := make([]byte, size)
		for range count {
			binary.BigEndian.PutUint64(payload, number)
			number++
			if err := x.Post(s.ctx, payload); err != nil {
				return err
			}
		}
		if f, err := x.Flush(s.ctx); err != nil || f.Err != nil || f.Ended != count {
			return fmt.Errorf("flush: %+v, %v", f, err)
		}
		s.say("published")
	}
	return nil
}

// playAudience is ten receivers: "take COUNT SIZE" has each of them take the next
// so many messages, and is answered with what was wrong with them.
func playAudience(s *stage) error {
	var receivers []*checker
	for range fanout {
		c, x, err := s.connect(api.Connect{})
		if err != nil {
			return err
		}
		defer c.Close()
		receivers = append(receivers, &checker{x: x, missing: map[uint64]bool{}})
	}
	s.say("here")
	for command := range s.commands {
		var count, size int
		if _, err := fmt.Sscanf(command, "take %d %d", &count, &size); err != nil {
			return err
		}
		var all sync.WaitGroup
		failed := make(chan error, fanout)
		for _, r := range receivers {
			all.Go(func() { failed <- r.take(s, count, size) })
		}
		all.Wait()
		var sum checker
		for _, r := range receivers {
			if err := <-failed; err != nil {
				return err
			}
			sum.lost += len(r.missing)
			sum.again += r.again
			sum.late += r.late
			sum.torn += r.torn
		}
		s.say("took lost %d again %d late %d torn %d", sum.lost, sum.again, sum.late, sum.torn)
	}
	return nil
}

// checker checks the numbers of one receiver.
type checker struct {
	x       *notification.Connection
	next    uint64          // the number that is to come
	missing map[uint64]bool // that should have come before

	lost, again, late, torn int
}

// take receives until the last of the next count messages has come.
func (r *checker) take(s *stage, count, size int) error {
	for end := r.next + uint64(count); r.next < end; {
		e, err := r.x.Receive(s.ctx)
		switch {
		case err != nil:
			return err
		case e.Kind != api.KindMessage:
			return fmt.Errorf("event of kind %v", e.Kind)
		case len(e.Payload) != size:
			r.torn++
			return nil
		}
		r.check(binary.BigEndian.Uint64(e.Payload))
	}
	return nil
}

func (r *checker) check(n uint64) {
	switch {
	case n == r.next:
		r.next++
	case n > r.next:
		for ; r.next < n; r.next++ {
			r.missing[r.next] = true
		}
		r.next++
	case r.missing[n]:
		delete(r.missing, n)
		r.late++
	default:
		r.again++
	}
}
