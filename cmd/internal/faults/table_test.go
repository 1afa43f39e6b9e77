package faults_test

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

var (
	seedFlag  = flag.Uint64("faults.seed", 0, "the `seed` of all random choices; 0 for another one each time")
	tableFlag = flag.String("faults.table", "", "write the figures into this `file`, as Markdown")
	longFlag  = flag.Bool("faults.long", false, "play the variants too that show nothing new on most days")
	crierFlag = flag.String("faults.crier", "", "the crier `binary` to use; built from this module if not given")
)

func TestMain(m *testing.M) {
	flag.Parse()
	os.Setenv("GORACE", "atexit_sleep_ms=0") // of the processes, which would end a second late
	code := m.Run()
	figures.print()
	if err := figures.write(*tableFlag); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.RemoveAll(buildDir)
	os.Exit(code)
}

// table has the figures of all scenarios.
type table struct {
	mu   sync.Mutex
	rows []*row
}

var figures table

// row is what was measured of one scenario over one transport.
type row struct {
	scenario, transport, test string
	n                         int
	notice, recovery          []time.Duration
	memory                    int64 // of the provider, at its highest
	note                      string
}

func (t *table) row(scenario, transport, test string) *row {
	r := &row{scenario: scenario, transport: transport, test: test}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rows = append(t.rows, r)
	return r
}

var columns = []string{
	"scenario", "transport", "n", "notice median", "worst", "recover median", "worst", "provider RSS peak", "also", "test",
}

func (r *row) cells() []string {
	memory := ""
	if r.memory > 0 {
		memory = fmt.Sprintf("%d MB", r.memory>>20)
	}
	return []string{
		r.scenario, r.transport, fmt.Sprint(r.n),
		median(r.notice), worst(r.notice), median(r.recovery), worst(r.recovery), memory, r.note, r.test,
	}
}

func median(d []time.Duration) string {
	if len(d) == 0 {
		return ""
	}
	return short(slices.Sorted(slices.Values(d))[len(d)/2])
}

func worst(d []time.Duration) string {
	if len(d) == 0 {
		return ""
	}
	return short(slices.Max(d))
}

// short writes a time with three figures or so.
func short(d time.Duration) string {
	unit := time.Microsecond
	for d > 1000*unit {
		unit *= 10
	}
	return d.Round(unit).String()
}

// print writes the table for people.
func (t *table) print() {
	if len(t.rows) == 0 || !testing.Verbose() {
		return
	}
	lines := t.lines()
	widths := make([]int, len(columns))
	for _, line := range lines {
		for i, cell := range line {
			widths[i] = max(widths[i], len(cell))
		}
	}
	for _, line := range lines {
		for i, cell := range line {
			fmt.Printf("%-*s  ", widths[i], cell)
		}
		fmt.Println()
	}
}

func (t *table) lines() [][]string {
	lines := [][]string{columns}
	for _, r := range t.rows {
		if r.n > 0 { // it was not skipped
			lines = append(lines, r.cells())
		}
	}
	return lines
}

// write writes the table as Markdown.
func (t *table) write(path string) error {
	if path == "" {
		return nil
	}
	var text strings.Builder
	for i, line := range t.lines() {
		fmt.Fprintf(&text, "| %s |\n", strings.Join(line, " | "))
		if i == 0 {
			fmt.Fprintln(&text, strings.Repeat("|---", len(columns))+"|")
		}
	}
	return os.WriteFile(path, []byte(text.String()), 0o644)
}
