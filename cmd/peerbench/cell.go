package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// cell is one thing that is measured, of one system at a time.
type cell struct {
	name string
	kind kind

	size       int // of a payload, in bytes
	publishers int
	receivers  int
	further    int           // connections that each opens later
	all        bool          // all-to-all: each publisher is a receiver and a process
	shared     bool          // the receivers share one attachment
	rate       int           // messages a second; 0 for as many as possible
	seconds    int           // how many times as long as others it is measured; 0 for once
	settle     time.Duration // how long a server is left alone before it is looked at

	// systems that are measured; nil stands for all that carry messages.
	systems []string
	// once is true for what one round says as much about as five.
	once bool
}

// kind is how a cell is measured.
type kind int

const (
	flow     kind = iota // messages, as fast as they go or at a rate
	request              // one message at a time, each answered
	memory               // the server's memory for processes and their connections
	attached             // the server's memory for ever more attachments
	connects             // how fast clients come
	killed               // how soon the death of a process is told
	idle                 // what nothing costs
)

func flowCell(size, receivers int) cell {
	return cell{name: fmt.Sprintf("%dx%d", size, receivers), size: size, publishers: 1, receivers: receivers}
}

func meshCell(size int) cell {
	return cell{name: fmt.Sprintf("%dall8", size), size: size, publishers: 8, receivers: 8, all: true}
}

const (
	// settling is how long a server is left alone before its memory is read.
	settling = time.Second
	// resting is how long it is left alone until it has nothing left to do of the time
	// when it was not idle: a Go program returns memory for some seconds.
	resting = 10 * time.Second
)

// cells returns all there are, in the order in which they are shown.
func cells() []cell {
	var all []cell
	for _, size := range []int{16, 128, 1024} {
		for _, receivers := range []int{1, 10, 100} {
			all = append(all, flowCell(size, receivers))
		}
	}
	thousand := flowCell(128, 1000)
	thousand.systems = []string{"crier"}
	return append(all,
		meshCell(128), meshCell(1024),
		cell{name: "shared", size: 128, publishers: 1, receivers: 100, shared: true, systems: []string{"crier", "nats"}},
		cell{name: "latency", size: 64, publishers: 1, receivers: 1, rate: 2000, seconds: 10},
		cell{name: "loaded", size: 128, publishers: 1, receivers: 10, rate: 80_000, seconds: 2,
			systems: []string{"crier", "nats", "redis-unix", "redis-tcp", "zeromq", "raw"}},
		thousand,
		cell{name: "send", kind: request, size: 128, systems: []string{"crier", "grpc"}},
		cell{name: "send-heard", kind: request, size: 128, receivers: 1, systems: []string{"crier"}},
		cell{name: "memory", kind: memory, receivers: 500, further: 50, settle: settling, systems: []string{"crier", "nats"}},
		cell{name: "attached", kind: attached, receivers: 5000, settle: settling, systems: []string{"crier"}},
		cell{name: "connects", kind: connects, receivers: 2000, systems: []string{"crier", "nats"}},
		cell{name: "killed", kind: killed, receivers: 100, systems: []string{"crier"}},
		cell{name: "idle", kind: idle, receivers: 1000, seconds: 30, settle: resting, systems: []string{"crier", "nats"}, once: true},
	)
}

// pick returns the items whose names are in words, separated by commas; all of
// them if there are none.
func pick[T any](items []T, words string, name func(T) string) ([]T, error) {
	if words == "" {
		return items, nil
	}
	var picked []T
	for word := range strings.SplitSeq(words, ",") {
		i := slices.IndexFunc(items, func(t T) bool { return name(t) == word })
		if i < 0 {
			var names []string
			for _, t := range items {
				names = append(names, name(t))
			}
			return nil, fmt.Errorf("no %q; there are %s", word, strings.Join(names, ","))
		}
		picked = append(picked, items[i])
	}
	return picked, nil
}

// has reports whether the cell is about that system.
func (c *cell) has(system string) bool {
	if c.systems == nil {
		return system != "grpc"
	}
	return slices.Contains(c.systems, system)
}

// measured returns for how long the cell is measured.
func (c *cell) measured(seconds float64) time.Duration {
	return time.Duration(max(seconds, seconds*float64(c.seconds)) * float64(time.Second))
}
