package load

import (
	"math"
	"math/bits"
)

// Schedule says when each message of an open loop is due, however the earlier ones
// fare. A sender that comes late sends all that is due at once, each with the time
// at which it was due in it, so that what waited because of a stall counts with
// all its waiting: no coordinated omission.
//
//	for sent := uint64(0); ; {
//		for due := s.Count(clock.Now()); sent < due; sent++ {
//			load.Put(b, publisher, sent, s.Due(sent))
//			post(b)
//		}
//		if err := clock.Wait(ctx, s.Due(sent)); err != nil {
//			return err
//		}
//	}
type Schedule struct {
	start int64
	rate  uint64 // per second
}

// NewSchedule returns the schedule of rate messages a second, of which the first
// is due at start, a time of [Clock]. It panics unless rate is from 1 to [MaxRate].
func NewSchedule(start int64, rate int) Schedule {
	if rate < 1 || rate > MaxRate {
		panic("load: no schedule for such a rate")
	}
	return Schedule{start, uint64(rate)}
}

const second = 1e9 // in nanoseconds

// MaxRate is the highest rate of a schedule, a message each nanosecond.
const MaxRate = second

// Due returns when the message with that number is due.
func (s Schedule) Due(number uint64) int64 {
	high, low := bits.Mul64(number, second)
	if high >= s.rate {
		return math.MaxInt64
	}
	after, _ := bits.Div64(high, low, s.rate)
	if after > uint64(math.MaxInt64-s.start) {
		return math.MaxInt64
	}
	return s.start + int64(after)
}

// Count returns how many messages are due at the time now: the first that is not
// has this number.
func (s Schedule) Count(now int64) uint64 {
	if now < s.start {
		return 0
	}
	// Due rounds down: number n is due from floor(n*second/rate) on.
	high, low := bits.Mul64(uint64(now-s.start)+1, s.rate)
	low, borrow := bits.Sub64(low, 1, 0)
	quotient, _ := bits.Div64(high-borrow, low, second)
	return quotient + 1
}
