package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// table is text in rows and columns; the first row is the head.
type table [][]string

// write writes the table as Markdown whose columns stand straight.
func (t table) write(to io.Writer) error {
	if len(t) < 2 {
		return nil
	}
	widths := make([]int, len(t[0]))
	for _, row := range t {
		for i, text := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(text), 3)
		}
	}
	var b strings.Builder
	for n, row := range t {
		for i, text := range row {
			fmt.Fprintf(&b, "| %s%s ", text, strings.Repeat(" ", widths[i]-utf8.RuneCountInString(text)))
		}
		b.WriteString("|\n")
		if n > 0 {
			continue
		}
		for i := range row {
			align := ":"
			if i == 0 {
				align = "-"
			}
			fmt.Fprintf(&b, "|%s%s", strings.Repeat("-", widths[i]+1), align)
		}
		b.WriteString("|\n")
	}
	_, err := io.WriteString(to, b.String()+"\n")
	return err
}

// figure is a value that cells have in common, as it is shown.
type figure struct {
	title string
	value string
	scale float64 // what a unit of the table is
}

func figures() []figure {
	return []figure{
		{"Deliveries, millions a second", rate, 1e6},
		{"CPU of the server, ns a delivery", serverCPU, 1},
		{"CPU of all processes, ns a delivery", allCPU, 1},
		{"Latency, µs: half of the messages are not above", p50, 1},
		{"Latency, µs: 99 % are not above", p99, 1},
	}
}

// medians has a row for each cell that has the figure, and a column for each system
// that has.
func (b *bench) medians(f figure) table {
	return b.grid("", b.systems, func(c cell, s system) string {
		return number(b.samples.spread(key{c.name, s.name(), f.value}).median() / f.scale)
	})
}

// comparison has the ratios of Crier to each other system instead.
func (b *bench) comparison(f figure) table {
	return b.grid("crier against", b.peers(), func(c cell, s system) string {
		return b.samples.ratios(key{c.name, us, f.value}, key{c.name, s.name(), f.value}).text("×")
	})
}

// nothing is the text of what was not measured.
const nothing = "—"

// grid makes a table of the texts of cells and systems, without those that have
// none.
func (b *bench) grid(corner string, all []system, text func(cell, system) string) table {
	head := []string{corner}
	var columns []system
	for _, s := range all {
		if slices.ContainsFunc(b.cells, func(c cell) bool { return text(c, s) != nothing }) {
			head, columns = append(head, s.name()), append(columns, s)
		}
	}
	t := table{head}
	for _, c := range b.cells {
		row := []string{c.name}
		for _, s := range columns {
			row = append(row, text(c, s))
		}
		if slices.ContainsFunc(row[1:], func(text string) bool { return text != nothing }) {
			t = append(t, row)
		}
	}
	return t
}

// latencies has what the samples of all rounds give together.
func (b *bench) latencies() table {
	t := table{{"µs", "samples", "50 %", "99 %", "99.9 %", "all"}}
	for _, c := range b.cells {
		for _, s := range b.systems {
			if l := b.samples.latency(c.name, s.name()); l.Count() > 0 {
				t = append(t, []string{
					c.name + " " + s.name(), fmt.Sprint(l.Count()),
					number(l.P50()), number(l.P99()), number(l.P999()), number(l.Max()),
				})
			}
		}
	}
	return t
}

// us is the system that the others are the peers of.
const us = "crier"

func (b *bench) peers() []system {
	var peers []system
	for _, s := range b.systems {
		if s.name() != us {
			peers = append(peers, s)
		}
	}
	return peers
}
