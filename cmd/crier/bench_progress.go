package main

import (
	"fmt"
	"io"
	"time"
)

// progress is a line on a terminal that tells how far bench is, and is written anew
// each second.
type progress struct {
	to io.Writer
	on bool // somebody watches

	doing string
	of    time.Duration // how long it takes; 0 if nobody knows
	since time.Time

	last, shown counted
}

// counted is how much was delivered at a time.
type counted struct {
	n  uint64
	at time.Time
}

// eraseLine moves to the beginning of the line, and erases it.
const eraseLine = "\r\x1b[K"

// begin tells what is being done from now on.
func (p *progress) begin(doing string, of time.Duration) {
	now := time.Now()
	p.doing, p.of, p.since = doing, of, now
	p.last = counted{0, now}
	p.shown = p.last
	p.write("")
}

// counted takes how much was delivered by now.
func (p *progress) counted(n uint64) { p.last = counted{n, time.Now()} }

// show tells how far that is, and how much was delivered lately.
func (p *progress) show() {
	text := ""
	if p.of > 0 {
		text = fmt.Sprintf(" %s of %s", time.Since(p.since).Truncate(time.Second), p.of)
	}
	if took := p.last.at.Sub(p.shown.at).Seconds(); took > 0 && p.last.n > p.shown.n {
		text += fmt.Sprintf(", %s deliveries/s", short(float64(p.last.n-p.shown.n)/took))
	}
	p.shown = p.last
	p.write(text)
}

func (p *progress) write(text string) {
	if p.on {
		fmt.Fprint(p.to, eraseLine+p.doing+text)
	}
}

// clear erases the line.
func (p *progress) clear() {
	if p.on {
		fmt.Fprint(p.to, eraseLine)
	}
	p.on = false
}
