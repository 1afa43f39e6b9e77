package main

import (
	"crypto/rand"
	"strings"
)

// parts returns what the client processes play: the publishers' first, if they have
// one of their own.
func (b *bench) parts() []benchPart {
	common := benchPart{
		Room: "bench-" + strings.ToLower(rand.Text()[:10]), Payload: b.payload, Share: b.share,
		Sources: b.publishers, Timed: b.scenario.value == benchLatency,
	}
	var parts []benchPart
	own := common
	switch b.scenario.value {
	case benchAll:
		common.Paired = true
	case benchChurn:
		common.Visits, own.Guestbook = true, true
		parts = append(parts, own)
	default:
		own.Publishers = numbersFrom(0, b.publishers)
		parts = append(parts, own)
	}
	killed := b.killedProcesses()
	for i := range b.processes {
		part := common
		part.First, part.Receivers = share(b.receivers, b.processes, i)
		part.Doomed = i >= b.processes-killed
		part.Witness = killed > 0 && !part.Doomed
		if part.Paired {
			part.Publishers = numbersFrom(part.First, part.Receivers)
		}
		parts = append(parts, part)
	}
	return parts
}

// killedProcesses is how many processes are killed: the part asked for, but one at
// least, and one stays.
func (b *bench) killedProcesses() int {
	if b.kill == 0 {
		return 0
	}
	n := (b.processes*int(b.kill) + 50) / 100
	return max(1, min(n, b.processes-1))
}

// share returns the part that i of n has of the numbers below total, as even as can
// be.
func share(total, n, i int) (first, count int) {
	first = total * i / n
	return first, total*(i+1)/n - first
}

func numbersFrom(first, count int) []uint16 {
	numbers := make([]uint16, count)
	for i := range numbers {
		numbers[i] = uint16(first + i)
	}
	return numbers
}
