package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// status is how a check ended.
type status string

const (
	statusOK   status = "ok"
	statusWarn status = "warn"
	statusFail status = "fail"
	statusSkip status = "skip" // there was nothing to be said
)

// details are facts of a finding for programs. Their names are in snake_case.
type details map[string]any

// finding is what a check found. Its texts may hold what others wrote.
type finding struct {
	Check  string  `json:"check"`
	Status status  `json:"status"`
	Found  string  `json:"found"`
	Fix    string  `json:"fix,omitempty"`
	Code   int     `json:"exit_code,omitempty"`
	Detail details `json:"detail,omitempty"`
}

// sheet is what doctor writes its findings on, one by one.
type sheet struct {
	out     *output
	json    bool
	style   sheetStyle
	counts  map[status]int
	first   *finding // that failed
	failure error    // of the output
}

// sheetStyle is how findings are shown to a person.
type sheetStyle struct {
	width  int // of a line, 0 for any
	colour bool
}

func newSheet(out *output, json bool) sheet {
	s := sheet{out: out, json: json, counts: map[status]int{}}
	if out.terminal {
		s.style = sheetStyle{width: terminalWidth(out.file), colour: os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
	}
	return s
}

// terminalWidth returns how many columns a terminal has, 0 if it does not tell.
func terminalWidth(f *os.File) int {
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0
	}
	return int(size.Col)
}

// add writes f, unless writing has failed before.
func (s *sheet) add(f finding) {
	s.counts[f.Status]++
	if f.Status == statusFail && s.first == nil {
		s.first = &f
	}
	switch {
	case s.failure != nil:
	case s.json:
		s.failure = s.out.json(f)
	default:
		_, s.failure = s.out.Write(s.style.text(f))
	}
}

// verdict writes the last line and returns the error of the first check that
// failed, with its exit code.
func (s *sheet) verdict() error {
	if !s.json && s.failure == nil {
		s.failure = s.out.printf("%s", s.style.paint(s.worst(), s.sum()))
	}
	switch {
	case s.failure != nil:
		return s.failure
	case s.first != nil:
		return s.first.err(s.json)
	}
	return nil
}

// err returns f as an error, with its fix if nobody has seen that.
func (f *finding) err(unseen bool) error {
	// What follows a semicolon would be taken for the hint.
	err := fmt.Errorf("%s: %s", f.Check, strings.ReplaceAll(f.Found, "; ", ", "))
	if !unseen {
		return &codedError{err, f.Code, ""}
	}
	return &codedError{err, f.Code, f.Fix}
}

func (s *sheet) worst() status {
	switch {
	case s.counts[statusFail] > 0:
		return statusFail
	case s.counts[statusWarn] > 0:
		return statusWarn
	}
	return statusOK
}

// sum says in a line how it went.
func (s *sheet) sum() string {
	warnings := ""
	if n := s.counts[statusWarn]; n > 0 {
		warnings = ", " + count(n, "warning")
	}
	switch n := s.counts[statusFail]; {
	case n == 1:
		return fmt.Sprintf("1 check failed%s (exit code %d)", warnings, s.first.Code)
	case n > 1:
		return fmt.Sprintf("%d checks failed%s; the first is the likeliest cause (exit code %d)", n, warnings, s.first.Code)
	case warnings != "":
		return "no check failed" + warnings
	}
	return "all is well"
}

const (
	// labelWidth and checkWidth are those of the first two columns.
	labelWidth = 4
	checkWidth = len("environment")
	textColumn = labelWidth + 2 + checkWidth + 2
	// leastText is how much room texts get, however narrow the terminal is.
	leastText = 24
)

// text returns the lines of f.
func (y sheetStyle) text(f finding) []byte {
	label := map[status]string{statusOK: "ok", statusWarn: "warn", statusFail: "FAIL", statusSkip: "--"}[f.Status]
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s  %-*s  ", y.paint(f.Status, fmt.Sprintf("%-*s", labelWidth, label)), checkWidth, f.Check)
	y.block(&b, f.Found, textColumn)
	if f.Fix != "" {
		fmt.Fprintf(&b, "%*sfix: ", textColumn, "")
		y.block(&b, f.Fix, textColumn+len("fix: "))
	}
	return b.Bytes()
}

// block writes text into what is right of column, where the first line begins.
func (y sheetStyle) block(b *bytes.Buffer, text string, column int) {
	width := 0
	if y.width > 0 {
		width = max(leastText, y.width-column)
	}
	for i, line := range wrap(sanitize([]byte(text)), width) {
		if i > 0 {
			fmt.Fprintf(b, "%*s", column, "")
		}
		fmt.Fprintln(b, line)
	}
}

// wrap breaks text between words into lines of at most width characters, but for
// words that are longer. A width of 0 is any.
func wrap(text string, width int) []string {
	if width == 0 || text == "" {
		return []string{text}
	}
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		switch {
		case line == "":
			line = word
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) <= width:
			line += " " + word
		default:
			lines, line = append(lines, line), word
		}
	}
	return append(lines, line)
}

// paint returns text in the colour of s, if there are colours.
func (y sheetStyle) paint(s status, text string) string {
	colour := map[status]string{statusOK: "32", statusWarn: "33", statusFail: "1;31", statusSkip: "2"}[s]
	if !y.colour || colour == "" {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}
