package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"crier.local/cmd/internal/faults"
)

// report is what a soak tells.
type report struct {
	mu     sync.Mutex
	begin  time.Time
	found  []faults.Violation // the first ones
	count  int
	faults map[string]*faultFigures
	memory memoryFigures
}

// faultFigures are the times of one kind of fault.
type faultFigures struct {
	count, failed   int
	notice, recover []time.Duration
}

// memoryFigures are of the provider, in bytes.
type memoryFigures struct {
	FirstRSS, LastRSS, PeakRSS, FirstHeap, LastHeap int64
}

// soakLineJSON is a line as JSON.
type soakLineJSON struct {
	Kind        string         `json:"kind"` // "line"
	Time        time.Time      `json:"time"`
	Seconds     float64        `json:"seconds"`
	Fault       string         `json:"fault"`
	Totals      faults.Summary `json:"totals"`
	RSS         int64          `json:"rss_bytes"`
	Heap        int64          `json:"heap_bytes"`
	Goroutines  int            `json:"goroutines"`
	Descriptors int            `json:"descriptors"`
	Connections int            `json:"connections"`
	Processes   int            `json:"processes"`
	Unsettled   int            `json:"unsettled"`
	Violations  int            `json:"violations"`
}

// soakFaultJSON is a row of the table of faults.
type soakFaultJSON struct {
	Fault         string  `json:"fault"`
	Count         int     `json:"count"`
	Failed        int     `json:"failed"`
	NoticeMedian  float64 `json:"notice_median_ms,omitempty"`
	NoticeWorst   float64 `json:"notice_worst_ms,omitempty"`
	RecoverMedian float64 `json:"recover_median_ms,omitempty"`
	RecoverWorst  float64 `json:"recover_worst_ms,omitempty"`
}

// soakSummaryJSON is the end of a soak.
type soakSummaryJSON struct {
	Kind       string             `json:"kind"` // "summary"
	Seed       int                `json:"seed"`
	Seconds    float64            `json:"seconds"`
	Totals     faults.Summary     `json:"totals"`
	Restarts   int                `json:"provider_starts"`
	Memory     memoryJSON         `json:"memory"`
	Faults     []soakFaultJSON    `json:"faults"`
	Still      int                `json:"host_stood_still"`
	StillWorst float64            `json:"host_stood_still_worst_ms,omitempty"`
	Count      int                `json:"violations"`
	Violations []faults.Violation `json:"violations_found"`
}

type memoryJSON struct {
	FirstRSS  int64 `json:"first_rss_bytes"`
	LastRSS   int64 `json:"last_rss_bytes"`
	PeakRSS   int64 `json:"peak_rss_bytes"`
	FirstHeap int64 `json:"first_heap_bytes"`
	LastHeap  int64 `json:"last_heap_bytes"`
}

const (
	// maxFound bounds the violations that the summary tells.
	maxFound = 100
	// soakMemory is how much memory the provider may take (I6): its default limit
	// for what is queued, and as much again for all else.
	soakMemory = 512 << 20
)

func (r *report) began(s *soak) {
	r.begin = s.began
	r.faults, r.found = map[string]*faultFigures{}, []faults.Violation{}
}

func (r *report) violations() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count
}

// elapsed is the time since the beginning, to the second.
func (r *report) elapsed() string { return time.Since(r.begin).Round(time.Second).String() }

// violation tells of a violation at once, with what came before it.
func (r *report) violation(s *soak, v faults.Violation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count++
	if len(r.found) < maxFound {
		r.found = append(r.found, v)
	}
	s.p.note("%s VIOLATION %s %s: %s", r.elapsed(), v.Invariant, v.Room, v.Text)
	if r.count > maxFound {
		return
	}
	for _, record := range s.history.Recent(v.Room, 15) {
		if line, err := json.Marshal(record); err == nil {
			s.p.note("    %s", line)
		}
	}
}

// fault takes the figures of a fault.
func (r *report) fault(name string, t *trial, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.faults[name]
	if f == nil {
		f = &faultFigures{}
		r.faults[name] = f
	}
	f.count++
	if err != nil {
		f.failed++
		return
	}
	if t.notice > 0 {
		f.notice = append(f.notice, t.notice)
	}
	if t.recover > 0 {
		f.recover = append(f.recover, t.recover)
	}
}

// line tells how things are.
func (r *report) line(s *soak, fault string, l look) {
	if l.high > soakMemory {
		r.violation(s, faults.Violation{Invariant: "I6", Text: fmt.Sprintf("the provider had %d MiB", l.high>>20)})
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.memory.take(&l)
	sum := s.history.Summary()
	unsettled, _ := s.history.Size()
	s.p.note("%s %-28s sent %d, delivered %d, missing %d, unknown %d, failed %d · provider %d MiB, heap %d MiB, %d goroutines, %d descriptors, %d connections of %d processes · unsettled %d · violations %d",
		r.elapsed(), fault, sum.Sent, sum.Delivered, sum.Missing, sum.Unknown, sum.Failed,
		l.rss>>20, l.HeapBytes>>20, l.Goroutines, l.Descriptors, l.Connections, l.Processes, unsettled, r.count)
	if s.json {
		_ = s.out.json(soakLineJSON{
			Kind: "line", Time: time.Now().UTC(), Seconds: time.Since(r.begin).Seconds(), Fault: fault, Totals: sum,
			RSS: l.rss, Heap: l.HeapBytes, Goroutines: l.Goroutines, Descriptors: l.Descriptors,
			Connections: l.Connections, Processes: l.Processes, Unsettled: unsettled, Violations: r.count,
		})
	}
}

func (m *memoryFigures) take(l *look) {
	if m.FirstRSS == 0 {
		m.FirstRSS, m.FirstHeap = l.rss, l.HeapBytes
	}
	m.LastRSS, m.LastHeap = l.rss, l.HeapBytes
	m.PeakRSS = max(m.PeakRSS, l.high)
}

// sumUp tells the end of it.
func (r *report) sumUp(s *soak) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	sum := soakSummaryJSON{
		Kind: "summary", Seed: s.seed, Seconds: time.Since(r.begin).Seconds(), Totals: s.history.Summary(), Restarts: s.cast.epochs,
		Memory: memoryJSON(r.memory), Faults: r.table(), Count: r.count, Violations: r.found,
	}
	still, worst := s.pulse.figures()
	sum.Still, sum.StillWorst = still, float64(worst.Milliseconds())
	if s.json {
		return s.out.json(sum)
	}
	return s.out.printf("%s", sum.text())
}

func (r *report) table() []soakFaultJSON {
	var rows []soakFaultJSON
	for _, k := range faultKinds() {
		if f := r.faults[k.name]; f != nil {
			row := soakFaultJSON{Fault: k.name, Count: f.count, Failed: f.failed}
			row.NoticeMedian, row.NoticeWorst = middleAndWorst(f.notice)
			row.RecoverMedian, row.RecoverWorst = middleAndWorst(f.recover)
			rows = append(rows, row)
		}
	}
	return rows
}

// middleAndWorst returns the median and the maximum in milliseconds.
func middleAndWorst(list []time.Duration) (median, worst float64) {
	if len(list) == 0 {
		return 0, 0
	}
	list = slices.Sorted(slices.Values(list))
	ms := func(d time.Duration) float64 {
		return float64(d.Round(10*time.Microsecond)) / float64(time.Millisecond)
	}
	return ms(list[len(list)/2]), ms(list[len(list)-1])
}

// text is the summary for people.
func (sum *soakSummaryJSON) text() string {
	var b strings.Builder
	t := &sum.Totals
	fmt.Fprintf(&b, "%.0f s with seed %d, starts of the provider: %d\n", sum.Seconds, sum.Seed, sum.Restarts)
	fmt.Fprintf(&b, "sent %d: %d with a receipt, %d failed, %d with unknown outcome\n", t.Sent, t.OK, t.Failed, t.Unknown)
	fmt.Fprintf(&b, "delivered %d, presence %d; %d events accounted for by all who were there\n", t.Delivered, t.Presence, t.Checked)
	fmt.Fprintf(&b, "gaps %d, with %d events; of these known from what others heard: reported %d, caused %d\n", t.Gaps, t.Missing, t.Reported, t.Caused)
	fmt.Fprintf(&b, "provider's memory: first %d MiB, last %d MiB, peak %d MiB; heap first %d MiB, last %d MiB\n",
		sum.Memory.FirstRSS>>20, sum.Memory.LastRSS>>20, sum.Memory.PeakRSS>>20, sum.Memory.FirstHeap>>20, sum.Memory.LastHeap>>20)
	fmt.Fprintf(&b, "%-30s %6s %6s %24s %24s\n", "fault", "count", "failed", "notice median/worst ms", "recover median/worst ms")
	for _, f := range sum.Faults {
		fmt.Fprintf(&b, "%-30s %6d %6d %24s %24s\n", f.Fault, f.Count, f.Failed,
			pairOf(f.NoticeMedian, f.NoticeWorst), pairOf(f.RecoverMedian, f.RecoverWorst))
	}
	if sum.Still > 0 {
		fmt.Fprintf(&b, "the host stood still %d times, for %.0f ms at most\n", sum.Still, sum.StillWorst)
	}
	fmt.Fprintf(&b, "violations %d", sum.Count)
	for _, v := range sum.Violations {
		fmt.Fprintf(&b, "\n  %s %s: %s", v.Invariant, v.Room, v.Text)
	}
	return b.String()
}

// pairOf returns two figures, and a dash for what was not measured.
func pairOf(median, worst float64) string {
	if worst == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f / %.2f", median, worst)
}
