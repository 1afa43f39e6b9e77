package faults

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
)

// gate is a reader of records that takes nothing until it is opened.
type gate struct {
	bytes.Buffer
	open chan struct{}
}

func (g *gate) Write(b []byte) (int, error) {
	<-g.open
	return g.Buffer.Write(b)
}

// TestRecorderAnnounces: an announcement returns when it is written, and not
// before; other records wait for nobody.
func TestRecorderAnnounces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{open: make(chan struct{})}
		r := newRecorder(g)
		r.record(Record{At: AtSaid, Reason: "one"})
		announced := false
		go func() {
			r.announce(Record{At: AtInvoke, ID: "a/c#1"})
			announced = true
		}()
		synctest.Wait()
		if announced {
			t.Error("announced, and not written yet")
		}
		close(g.open)
		synctest.Wait()
		if !announced {
			t.Error("written, and not announced")
		}
		if err := r.close(); err != nil {
			t.Error(err)
		}
		var got []string
		for line := range strings.Lines(g.String()) {
			rec, err := parseRecord([]byte(line))
			if err != nil || rec.Nanos == 0 {
				t.Errorf("%q: %v", line, err)
			}
			got = append(got, rec.At)
		}
		if want := "said invoke"; strings.Join(got, " ") != want {
			t.Errorf("written: %q, want %q", got, want)
		}
	})
}

// TestRecorderOfNobody: when nobody reads any more, nothing waits.
func TestRecorderOfNobody(t *testing.T) {
	in, out := io.Pipe()
	in.Close()
	r := newRecorder(out)
	r.announce(Record{At: AtSaid})
	for range 2 * backlog / 1000 {
		r.record(Record{At: AtSaid, Error: strings.Repeat("x", 1000)})
	}
	if err := r.close(); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("error %v, want %v", err, io.ErrClosedPipe)
	}
}

func TestActorCommands(t *testing.T) {
	for input, want := range map[string]string{
		"":                   "",
		"quit\nnonsense\n":   "",
		"nonsense\n":         "nonsense: no such command",
		"connect\n":          "connect: no label",
		"connect a/0 blue\n": `connect a/0 blue: "blue": no such word`,
		"dial many\n":        `dial many: "many": no such word`,
		"read a/0 every=x\n": `read a/0 every=x: time: invalid duration "x"`,
	} {
		err := Actor{In: strings.NewReader(input), Out: io.Discard}.Run(context.Background())
		if got := text(err); got != want {
			t.Errorf("%q: error %q, want %q", input, got, want)
		}
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestActorWithoutConnection(t *testing.T) {
	var out bytes.Buffer
	if err := (Actor{In: strings.NewReader("send a/0 1\n"), Out: &out}).Run(context.Background()); err != nil {
		t.Fatal(err)
	}
	rec, err := parseRecord(out.Bytes())
	if err != nil || rec.At != AtSaid || rec.Conn != "a/0" || rec.Error == "" {
		t.Errorf("said %+v, %v", rec, err)
	}
}
