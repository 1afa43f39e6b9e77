package main

import (
	"fmt"
	"strconv"
	"strings"
)

// text is the result for people: a name and what there is to say of it on each line.
func (r *benchResult) text() string {
	var lines []string
	add := func(name, format string, args ...any) {
		lines = append(lines, fmt.Sprintf("%-11s ", name)+fmt.Sprintf(format, args...))
	}
	add("scenario", "%s", r.title())
	switch {
	case r.churnFigures != nil:
		add("connects", "%s in %.2f s, %s a second", grouped(r.Connects), r.Seconds, short(r.ConnectRate))
		add("told", "%s of %s arrivals and departures", grouped(r.Delivered), grouped(r.Sent))
	case r.Scenario == benchIdle:
		add("idle", "%.2f s", r.Seconds)
		add("afterwards", "%s sent, %s delivered", grouped(r.Sent), grouped(r.Delivered))
	default:
		add("sent", "%s in %.2f s", grouped(r.Sent), r.Seconds)
		add("delivered", "%s, %s a second (%s/s)", grouped(r.Delivered), short(r.Rate), bytesText(r.Rate*float64(r.Payload)))
	}
	add("exactness", "%s lost, %s duplicated, %s reordered", grouped(r.Lost), grouped(r.Duplicated), grouped(r.Reordered))
	if f := r.latencyFigures; f != nil {
		add("latency", "p50 %s, p99 %s, p99.9 %s, longest %s", microsText(f.P50), microsText(f.P99), microsText(f.P999), microsText(f.Max))
	}
	if f := r.killFigures; f != nil {
		add("killed", "%s, with kill -9", count(f.Killed, "receiver"))
		add("departures", "%d told, %d missing, repeated or false", f.Departures, f.Wrong)
		add("told after", "p50 %s, longest %s", microsText(f.P50), microsText(f.Max))
	}
	if f := r.idleFigures; f != nil {
		add("provider", "%.3f %% of a core, woken %s", f.CPU, count(f.Wakeups, "time"))
		add("memory", "%s per connection", bytesText(float64(f.Memory)))
	} else if r.Scenario == benchIdle {
		add("provider", "its process is not known here, nor what it used")
	}
	return strings.Join(lines, "\n")
}

// title names the scenario with its size.
func (r *benchResult) title() string {
	receivers := fmt.Sprintf("%s in %s", count(r.Receivers, "receiver"), processesText(r.Processes))
	size := bytesText(float64(r.Payload))
	switch r.Scenario {
	case benchIdle:
		return fmt.Sprintf("%s: %s", r.Scenario, receivers)
	case benchChurn:
		return fmt.Sprintf("%s: %s in %s", r.Scenario, count(r.Receivers, "visitor"), processesText(r.Processes))
	case benchAll:
		return fmt.Sprintf("%s: %s, each sending to all others, %s a message", r.Scenario, receivers, size)
	default:
		return fmt.Sprintf("%s: %s to %s, %s a message", r.Scenario, count(r.Publishers, "publisher"), receivers, size)
	}
}

func processesText(n int) string {
	if n == 1 {
		return "1 process"
	}
	return fmt.Sprintf("%d processes", n)
}

// grouped writes a number with its thousands apart.
func grouped(n uint64) string {
	digits := strconv.FormatUint(n, 10)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// short writes a rate with three digits.
func short(rate float64) string {
	switch {
	case rate >= 1e6:
		return fmt.Sprintf("%.2f M", rate/1e6)
	case rate >= 1e4:
		return fmt.Sprintf("%.0f k", rate/1e3)
	default:
		return fmt.Sprintf("%.0f", rate)
	}
}

// bytesText writes a number of bytes.
func bytesText(n float64) string {
	const step = 1024
	switch {
	case n >= step*step:
		return fmt.Sprintf("%.1f MiB", n/step/step)
	case n >= 10*step:
		return fmt.Sprintf("%.1f KiB", n/step)
	default:
		return fmt.Sprintf("%.0f B", n)
	}
}

// microsText writes a time given in microseconds.
func microsText(us float64) string {
	if us >= 1e4 {
		return fmt.Sprintf("%.1f ms", us/1e3)
	}
	return fmt.Sprintf("%.0f µs", us)
}
