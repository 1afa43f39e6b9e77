package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// publish prints what was measured, and writes the files that are wanted.
func (b *bench) publish(to io.Writer) error {
	if err := b.writeTables(to); err != nil {
		return err
	}
	if b.json != "" {
		text, err := json.MarshalIndent(b.samples, "", " ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(b.json, append(text, '\n'), 0o644); err != nil {
			return err
		}
	}
	if b.charts == "" {
		return nil
	}
	if err := b.drawCharts(b.charts); err != nil {
		return err
	}
	return b.writeResults(filepath.Join(filepath.Dir(filepath.Clean(b.charts)), "RESULTS.md"))
}

// writeTables writes all figures as tables.
func (b *bench) writeTables(to io.Writer) error {
	for _, f := range figures() {
		medians := b.medians(f)
		if len(medians) < 2 {
			continue
		}
		if _, err := fmt.Fprintf(to, "## %s\n\nMedians of %d rounds.\n\n", f.title, b.rounds); err != nil {
			return err
		}
		if err := medians.write(to); err != nil {
			return err
		}
		comparison := b.comparison(f)
		if len(comparison) < 2 || len(comparison[0]) < 2 {
			continue
		}
		if _, err := fmt.Fprint(to, "Ratios of the same round: median [range].\n\n"); err != nil {
			return err
		}
		if err := comparison.write(to); err != nil {
			return err
		}
	}
	if latencies := b.latencies(); len(latencies) > 1 {
		if _, err := fmt.Fprint(to, "## Latencies of all rounds together\n\n"); err != nil {
			return err
		}
		if err := latencies.write(to); err != nil {
			return err
		}
	}
	if err := b.writeLosses(to); err != nil || !b.bars {
		return err
	}
	if _, err := fmt.Fprint(to, "## Bars\n\n"); err != nil {
		return err
	}
	return b.samples.barTable().write(to)
}

// writeLosses tells of what failed, and of messages whose fate was not exact.
func (b *bench) writeLosses(to io.Writer) error {
	checked, odd := uint64(0), table{{"round", "cell", "system", "what was wrong"}}
	for _, s := range b.samples {
		checked += s.Tally.Delivered
		if s.Error != "" || !s.Tally.Exact() {
			first, _, _ := strings.Cut(s.summary(), "\n")
			odd = append(odd, []string{fmt.Sprint(s.Round + 1), s.Cell, s.System, first})
		}
	}
	_, err := fmt.Fprintf(to, "%d deliveries were checked; measurements with a message lost, twice or out of order, or that failed: %d.\n\n",
		checked, len(odd)-1)
	return errors.Join(err, odd.write(to))
}

// writeResults writes the page that is kept.
func (b *bench) writeResults(path string) (err error) {
	f, err := os.Create(filepath.Clean(path))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := fmt.Fprintf(f, "# Crier and its peers\n\n%s\n\n%s\n\n", b.how(), fairness); err != nil {
		return err
	}
	return b.writeTables(f)
}

// how says how the figures were made.
func (b *bench) how() string {
	return fmt.Sprintf("Made by `go -C cmd/peerbench run . --charts charts` on %d processors (%s), Linux %s, %s: %d rounds of %v s for each system and cell, after %v s of warm-up.",
		runtime.NumCPU(), processor(), kernel(), runtime.Version(), b.rounds, b.seconds, b.warm)
}

func processor() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(text)) {
		if name, value, found := strings.Cut(line, ":"); found && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

func kernel() string {
	text, err := exec.Command("uname", "-r").Output()
	if err != nil {
		return "of unknown release"
	}
	return strings.TrimSpace(string(text))
}

// fairness is how the systems are treated alike; doc.go says more.
const fairness = `Every system has a server process of its own (ZeroMQ has none: its publishers do that work), a process that
publishes and one process with all receivers, each over an attachment or connection of its own; all-to-all is
eight processes that do both. Payloads belong to their receiver, every delivery is checked by its number, and
publishers are held to the same distance from the slowest receiver. The raw limit is no service: a process that
copies bytes between unix sockets, 64 KiB at a time, and lends the payloads. Cells are named by payload and
receivers: 128x10 is 128 bytes from one to ten. Ratios are those of the same round.`
