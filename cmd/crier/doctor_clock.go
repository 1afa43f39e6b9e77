package main

import (
	"context"
	"crypto/rand"
	"errors"
	"runtime/debug"
	"time"

	"crier.local/api"
	"crier.local/client/notification"
)

const (
	checkClock = "clock"
	// clockSlack is how far two readings of one clock may seem apart; a clock that is
	// being corrected jumps by less. remoteSlack is for clocks of two machines.
	clockSlack  = 50 * time.Millisecond
	remoteSlack = time.Second
	// releaseYear is the year of this release, for builds that do not know when they
	// were made.
	releaseYear = 2026
)

// clock compares this clock with the provider's, and with common sense.
func (d *doctor) clock(ctx context.Context) {
	now := time.Now()
	if built := builtAfter(); now.Before(built) {
		d.warn(checkClock, "set the clock: certificates seem not to be valid yet, and times of messages are wrong",
			details{"now": timeText(now)}, "it is %s by this clock, which is before this program was built", now.UTC().Format(time.RFC3339))
		return
	}
	if !d.reached() {
		d.skip(checkClock, "it is %s by this clock; there is no provider to compare it with", now.UTC().Format(time.RFC3339))
		return
	}
	offset, spread, err := d.offset(ctx)
	if err != nil {
		d.skip(checkClock, "it is %s by this clock; the provider's cannot be asked: %v", now.UTC().Format(time.RFC3339), err)
		return
	}
	slack, fix := clockSlack, "one of the two stands in a virtual machine, or is being set right now: look again"
	if d.target.Network == "tcp" {
		slack, fix = remoteSlack, "have both machines set their clocks by NTP"
	}
	more := details{"now": timeText(now), "offset_us": micros(offset), "spread_us": micros(spread)}
	if offset.Abs() > slack+spread {
		d.warn(checkClock, fix, more, "the provider's clock is %s this one", aheadText(offset))
		return
	}
	d.ok(checkClock, more, "the provider's clock and this one agree to within %s; it is %s",
		milliseconds(offset.Abs()+spread), now.UTC().Format(time.RFC3339))
}

func aheadText(offset time.Duration) string {
	if offset < 0 {
		return offset.Abs().Round(time.Millisecond).String() + " behind"
	}
	return offset.Round(time.Millisecond).String() + " ahead of"
}

// offset returns how far the provider's clock is ahead, which is known but for
// spread. It takes a seat, in a room of its own, where nobody is told of it, and
// asks since when it has it.
func (d *doctor) offset(ctx context.Context) (offset, spread time.Duration, err error) {
	rooms := notification.New(d.client)
	defer rooms.Close()
	room := "doctor-" + rand.Text()
	before := time.Now()
	seat, err := rooms.Connect(ctx, api.Connect{Room: room, SendOnly: true})
	after := time.Now()
	if err != nil {
		return 0, 0, err
	}
	defer seat.Close()
	seats, err := rooms.Who(ctx, room)
	if err != nil {
		return 0, 0, err
	}
	for _, s := range seats {
		if s.Handle == seat.Handle() {
			spread = after.Sub(before) / 2
			return s.Since.Sub(before.Add(spread)), spread, nil
		}
	}
	return 0, 0, errors.New("it does not list a connection that was just made")
}

// builtAfter returns the beginning of the year in which this program was built: a
// clock that is before it is wrong.
func builtAfter() time.Time {
	year := releaseYear
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if at, err := time.Parse(time.RFC3339, s.Value); s.Key == "vcs.time" && err == nil {
				year = max(year, at.Year())
			}
		}
	}
	return time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC)
}
