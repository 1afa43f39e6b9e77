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
// otherwise.
func (p *program) logger(level hclog.Level) hclog.Logger {
	if p.log.level.value != "" {
		level = hclog.LevelFromString(p.log.level.value)
	}
	terminal := isTerminal(p.stderr)
	options := &hclog.LoggerOptions{Name: "crier", Level: level, Output: p.stderr}
	options.JSONFormat = p.log.format.value == "json" || p.log.format.value == "" && !terminal
	var told hclog.ExcludeByMessage // by the error that follows
	told.Add("plugin process exited")
	told.Add("plugin failed to exit gracefully")
	options.Exclude = told.Exclude
	if terminal {
		options.Output = sanitizingWriter{p.stderr}
	}
	return hclog.New(options)
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
