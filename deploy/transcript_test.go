package deploy

import (
	"bufio"
	"io"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience is how long an expected line may take on a busy machine.
const patience = time.Minute

// transcript is what a program has written, line by line. Lines are expected in
// their order; what comes between is passed over.
type transcript struct {
	t    testing.TB
	of   string
	done chan struct{}

	mu    sync.Mutex
	lines []line
	next  int           // the first line that has not been passed
	more  chan struct{} // closed when there is more, or it has ended
	ended bool
}

type line struct {
	text string
	at   time.Time // when it was read
}

func newTranscript(t testing.TB, of string) *transcript {
	return &transcript{t: t, of: of, done: make(chan struct{}), more: make(chan struct{})}
}

// read reads to the end, and must run in a goroutine of its own.
func (tr *transcript) read(r io.Reader) {
	defer close(tr.done)
	in := bufio.NewReader(r)
	for {
		text, err := in.ReadString('\n')
		tr.mu.Lock()
		if text != "" {
			tr.lines = append(tr.lines, line{strings.TrimSuffix(text, "\n"), time.Now()})
		}
		tr.ended = err != nil
		close(tr.more)
		tr.more = make(chan struct{})
		tr.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// wait returns when there is nothing more to come.
func (tr *transcript) wait() { <-tr.done }

// expect returns the next line that matches, and passes it.
func (tr *transcript) expect(pattern string) line {
	tr.t.Helper()
	re := regexp.MustCompile(pattern)
	late := time.After(patience)
	for {
		l, found, more := tr.pass(re)
		switch {
		case found:
			return l
		case more == nil:
			tr.t.Fatalf("%s ended without %q; it wrote:\n%s", tr.of, pattern, tr)
		}
		select {
		case <-more:
		case <-late:
			tr.t.Fatalf("%s: no %q; it wrote:\n%s", tr.of, pattern, tr)
		}
	}
}

// pass passes lines up to one that matches. If there is none yet, more is closed
// when to look again; it is nil if nothing will come.
func (tr *transcript) pass(re *regexp.Regexp) (l line, found bool, more <-chan struct{}) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	for tr.next < len(tr.lines) {
		l := tr.lines[tr.next]
		tr.next++
		if re.MatchString(l.text) {
			return l, true, nil
		}
	}
	if tr.ended {
		return line{}, false, nil
	}
	return line{}, false, tr.more
}

// from returns the lines from number n on. more is closed when there are others;
// it is nil if there never will be.
func (tr *transcript) from(n int) (lines []line, more <-chan struct{}) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if !tr.ended {
		more = tr.more
	}
	return tr.lines[n:len(tr.lines):len(tr.lines)], more
}

// count returns how many of the lines so far match.
func (tr *transcript) count(pattern string) (n int) {
	re := regexp.MustCompile(pattern)
	tr.mu.Lock()
	defer tr.mu.Unlock()
	for _, l := range tr.lines {
		if re.MatchString(l.text) {
			n++
		}
	}
	return n
}

// String returns the lines so far.
func (tr *transcript) String() string {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	var b strings.Builder
	for _, l := range tr.lines {
		b.WriteString("  " + l.text + "\n")
	}
	return b.String()
}
