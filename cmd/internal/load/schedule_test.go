package load_test

import (
	"context"
	"errors"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"crier.local/cmd/internal/load"
)

func TestSchedule(t *testing.T) {
	s := load.NewSchedule(1000, 4)
	for number, want := range []int64{1000, 250_001_000, 500_001_000, 750_001_000, 1_000_001_000} {
		if got := s.Due(uint64(number)); got != want {
			t.Errorf("message %d is due at %d, want %d", number, got, want)
		}
	}
	for now, want := range map[int64]uint64{0: 0, 999: 0, 1000: 1, 250_000_999: 1, 250_001_000: 2, 10_000_001_000: 41} {
		if got := s.Count(now); got != want {
			t.Errorf("%d are due at %d, want %d", got, now, want)
		}
	}
	if got := s.Due(math.MaxUint64); got != math.MaxInt64 {
		t.Errorf("message %d is due at %d", uint64(math.MaxUint64), got)
	}
}

// What Count counts is what Due says.
func TestScheduleAgrees(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		start := rapid.Int64Range(0, 1<<60).Draw(t, "start")
		s := load.NewSchedule(start, rapid.IntRange(1, load.MaxRate).Draw(t, "rate"))
		now := start + rapid.Int64Range(0, int64(time.Hour)).Draw(t, "after")
		n := s.Count(now)
		if n == 0 || s.Due(n-1) > now || s.Due(n) <= now {
			t.Errorf("at %d are %d due: the last at %d, the next at %d", now, n, s.Due(n-1), s.Due(n))
		}
	})
}

func TestScheduleNeedsARate(t *testing.T) {
	for _, rate := range []int{-1, 0, load.MaxRate + 1} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("there is a schedule of %d a second", rate)
				}
			}()
			load.NewSchedule(0, rate)
		}()
	}
}

func TestClock(t *testing.T) {
	c := newClock(t)
	before := c.Now()
	until := before + int64(3*time.Millisecond)
	for _, at := range []int64{until, until, until + 1000} { // one that is over does not wait
		if err := c.Wait(t.Context(), at); err != nil {
			t.Fatal(err)
		}
		if now := c.Now(); now < at {
			t.Errorf("waited until %d, and it is %d", at, now)
		}
	}
	other := newClock(t)
	low := c.Now()
	middle := other.Now()
	high := c.Now()
	const accuracy = int64(10 * time.Millisecond) // the comparison may have been interrupted
	if middle < low-accuracy || middle > high+accuracy {
		t.Errorf("another clock says %d between %d and %d", middle, low, high)
	}
}

func TestWaitEndsWithContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, at := range []int64{0, math.MaxInt64} {
		if err := newClock(t).Wait(ctx, at); !errors.Is(err, context.Canceled) {
			t.Errorf("waiting until %d: %v", at, err)
		}
	}
}

func newClock(t *testing.T) load.Clock {
	t.Helper()
	c, err := load.NewClock()
	if err != nil {
		t.Fatal(err)
	}
	return c
}
