package main

import (
	"bytes"
	"fmt"
	"io"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"
)

// logFlags say what is logged to standard error, and how.
type logFlags struct {
	level  choice
	format choice
}

func (l *logFlags) addTo(root *cobra.Command) {
	l.level = choice{allowed: []string{"trace", "debug", "info", "warn", "error", "off"}}
	l.format = choice{allowed: []string{"text", "json"}}
	f := root.PersistentFlags()
	f.Var(&l.level, "log-level", "least severe `level` to log: trace, debug, info, warn, error, off (default warn; serve: info)")
	f.Var(&l.format, "log-format", "text or json (default text on a terminal, else json)")
	completeChoice(root, "log-level", &l.level)
	completeChoice(root, "log-format", &l.format)
}

// logger returns the program's logger; level is what is logged unless a flag says
// otherwise. To log never blocks: see [journal].
func (p *program) logger(level hclog.Level) hclog.Logger {
	if p.log.level.value != "" {
		level = hclog.LevelFromString(p.log.level.value)
	}
	o := hclog.LoggerOptions{Name: "crier", Level: level, Output: p.stderr}
	o.JSONFormat = p.log.format.value == "json" || p.log.format.value == "" && !p.stderr.terminal
	var told hclog.ExcludeByMessage // by the error that follows
	told.Add("plugin process exited")
	told.Add("plugin failed to exit gracefully")
	o.Exclude = told.Exclude
	if p.stderr.terminal {
		o.Output = sanitizingWriter{p.stderr}
	}
	p.stderr.tell(func(lines int) []byte { return lossLine(o, lines) })
	return hclog.New(&o)
}

// lossLine returns the line of the log that tells of others that are lost.
func lossLine(o hclog.LoggerOptions, lines int) []byte {
	var line bytes.Buffer
	o.Output, o.Level = &line, hclog.Warn
	hclog.New(&o).Warn("lines are lost here that could not be written", "lines", lines)
	return line.Bytes()
}

// sanitizingWriter sanitises each line of what is written to it.
type sanitizingWriter struct{ to io.Writer }

func (w sanitizingWriter) Write(b []byte) (int, error) {
	for line := range bytes.Lines(b) {
		if _, err := fmt.Fprintln(w.to, sanitize(bytes.TrimSuffix(line, []byte("\n")))); err != nil {
			return 0, err
		}
	}
	return len(b), nil
}
