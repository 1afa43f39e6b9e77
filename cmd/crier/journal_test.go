package main

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
)

// reader is what a journal is written to.
type reader struct {
	asleep chan struct{} // a write waits for it

	mu   sync.Mutex
	text bytes.Buffer
	room int // bytes that can be written yet; -1 for no end
}

func newReader() *reader {
	r := &reader{asleep: make(chan struct{}), room: -1}
	close(r.asleep)
	return r
}

func (r *reader) Write(b []byte) (int, error) {
	<-r.asleep
	r.mu.Lock()
	defer r.mu.Unlock()
	n := len(b)
	if r.room >= 0 {
		n = min(n, r.room)
		r.room -= n
	}
	r.text.Write(b[:n])
	if n < len(b) {
		return n, errors.New("no room")
	}
	return n, nil
}

func (r *reader) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

func (r *reader) allow(room int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.room = room
}

func TestJournalWritesLinesInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReader()
		j := newJournal(r)
		var want strings.Builder
		for i := range 1000 {
			line := fmt.Sprintf("line %d\n", i)
			fmt.Fprint(j, line)
			want.WriteString(line)
		}
		synctest.Wait()
		if r.String() != want.String() {
			t.Errorf("read\n%s", r)
		}
	})
}

func TestJournalThatNobodyReadsKeepsNobodyWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReader()
		r.asleep = make(chan struct{})
		j := newJournal(r)
		fmt.Fprintln(j, "first")
		synctest.Wait() // it is being written now
		line := strings.Repeat("x", 1023) + "\n"
		const more = 10
		for range journalRoom/len(line) + more {
			fmt.Fprint(j, line)
		}
		began := time.Now()
		j.flush(time.Second)
		if took := time.Since(began); took != time.Second {
			t.Errorf("flush took %s", took)
		}
		close(r.asleep)
		j.flush(time.Hour)
		fmt.Fprintln(j, "last")
		synctest.Wait()
		head, tail := "first\n"+line, line+fmt.Sprintf("crier: %d lines are lost here, which could not be written\nlast\n", more)
		if got := r.String(); !strings.HasPrefix(got, head) || !strings.HasSuffix(got, tail) {
			t.Errorf("read %.40s ... %s", got, got[len(got)-200:])
		}
	})
}

func TestJournalTellsWhatCouldNotBeWritten(t *testing.T) {
	for _, test := range []struct {
		name  string
		room  int // for the first line, of 9 bytes
		after string
	}{
		{"nothing fits", 0, "crier: 2 lines are lost here, which could not be written\nthird\n"},
		{"half a line fits", 4, "firs\ncrier: 2 lines are lost here, which could not be written\nthird\n"},
		{"one line fits", 9, "first...\ncrier: 1 lines are lost here, which could not be written\nthird\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newReader()
				r.allow(test.room)
				j := newJournal(r)
				fmt.Fprintln(j, "first...")
				synctest.Wait()
				fmt.Fprintln(j, "second")
				synctest.Wait()
				r.allow(-1)
				fmt.Fprintln(j, "third")
				synctest.Wait()
				if r.String() != test.after {
					t.Errorf("read %q, want %q", r, test.after)
				}
			})
		})
	}
}

// A pipe keeps writes of up to 4 KiB together, so that the lines of processes
// that share it do not mix.
func TestJournalWritesWholeLines(t *testing.T) {
	line := strings.Repeat("x", 999) + "\n"
	for _, test := range []struct {
		text string
		want int
	}{
		{"short\n", 6},
		{strings.Repeat(line, 10), 4000},
		{strings.Repeat("y", 9000) + "\n" + line, 9001},
		{strings.Repeat("y", 9000), 9000},
	} {
		if got := pieceOf([]byte(test.text)); got != test.want {
			t.Errorf("%d bytes of %d, want %d", got, len(test.text), test.want)
		}
	}
}

func TestLossIsToldInTheLogsFormat(t *testing.T) {
	o := hclog.LoggerOptions{Name: "crier", Level: hclog.Error, JSONFormat: true}
	line := string(lossLine(o, 7))
	if !strings.Contains(line, `"lines":7`) || !strings.HasSuffix(line, "}\n") {
		t.Errorf("got %q", line)
	}
}
