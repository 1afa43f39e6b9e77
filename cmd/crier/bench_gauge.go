package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// gauge is what a process has used so far, as /proc tells it. The zero value tells
// nothing.
type gauge struct {
	cpu     time.Duration // of all its threads
	wakeups uint64        // voluntary context switches of the threads that it has
	rss     int64         // bytes in memory
}

// gauge reads what the provider has used, if its process is known.
func (h *benchHost) gauge() gauge {
	if h.pid == 0 {
		return gauge{}
	}
	return readGauge(filepath.Join("/proc", strconv.Itoa(h.pid)))
}

// readGauge reads a process's directory in /proc.
func readGauge(dir string) (g gauge) {
	g.rss = int64(statusField(filepath.Join(dir, "status"), "VmRSS")) << 10
	g.cpu = ticksOf(filepath.Join(dir, "stat"))
	threads, err := filepath.Glob(filepath.Join(dir, "task", "*"))
	if err != nil {
		return g // the pattern is right
	}
	var exact time.Duration
	for _, thread := range threads {
		g.wakeups += statusField(filepath.Join(thread, "status"), "voluntary_ctxt_switches")
		exact += scheduled(filepath.Join(thread, "schedstat"))
	}
	if exact > 0 {
		g.cpu = exact
	}
	return g
}

// statusField returns a field of a status file, which may have kB behind it; 0 if
// there is none.
func statusField(file, key string) uint64 {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if name, value, _ := strings.Cut(line, ":"); name == key {
			n, _ := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			return n
		}
	}
	return 0
}

// scheduled returns how long a thread has run, from its schedstat file, which tells
// it to the nanosecond; 0 if the kernel keeps none.
func scheduled(file string) time.Duration {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(text), " ")
	ns, _ := strconv.ParseInt(first, 10, 64)
	return time.Duration(ns)
}

// ticksOf returns how long a process has run, from its stat file, which tells it in
// hundredths of a second.
func ticksOf(file string) time.Duration {
	const userField, systemField = 11, 12 // behind the name, which ends with ')'
	const tick = time.Second / 100
	text, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) <= systemField {
		return 0
	}
	user, _ := strconv.ParseInt(fields[userField], 10, 64)
	system, _ := strconv.ParseInt(fields[systemField], 10, 64)
	return time.Duration(user+system) * tick
}

// idleFiguresOf compares what a provider had used before its clients came, and at
// the beginning and the end of the time that nothing was sent. It is nil if its
// process is not known.
func idleFiguresOf(before, first, last gauge, took time.Duration, connections int) *idleFigures {
	if last == (gauge{}) || took <= 0 {
		return nil
	}
	return &idleFigures{
		CPU:     float64(last.cpu-first.cpu) / float64(took) * 100,
		Wakeups: last.wakeups - min(last.wakeups, first.wakeups),
		Memory:  max(0, first.rss-before.rss) / int64(connections),
	}
}
