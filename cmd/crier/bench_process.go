package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
)

// benchProcess is a client process, as bench sees it.
type benchProcess struct {
	part benchPart
	cmd  *exec.Cmd
	in   io.WriteCloser
	told *json.Encoder // writes to in

	count  uint64 // delivered to it in this round, as far as it has told
	killed int64  // when; 0 if it was not
	over   bool
}

// benchSaid is a word, and who said it: nil for the provider.
type benchSaid struct {
	by *benchProcess
	benchWord
}

// startBenchProcess starts a client process. hear gets its words, from one
// goroutine, the last of them that it is over; it may wait.
func startBenchProcess(cmd *exec.Cmd, part benchPart, note func(line string), hear func(benchSaid)) (*benchProcess, error) {
	p := &benchProcess{part: part, cmd: cmd}
	var err error
	if p.in, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	var last string
	cmd.Stderr = &lineWriter{line: func(line []byte) error {
		last = string(line)
		note(last)
		return nil
	}}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p.told = json.NewEncoder(p.in)
	go func() { // until the process ends
		words := json.NewDecoder(out)
		for {
			var w benchWord
			if words.Decode(&w) != nil {
				break
			}
			hear(benchSaid{p, w})
		}
		_, _ = io.Copy(io.Discard, out) // so that it can end, whatever it wrote
		err := cmd.Wait()
		hear(benchSaid{p, benchWord{At: wordOver, Error: endOf(err, last)}})
	}()
	if err := p.told.Encode(part); err != nil {
		p.cmd.Process.Kill()
		return nil, err
	}
	return p, nil
}

// endOf says how a process failed, nothing if it did not; last is what it said in
// the end.
func endOf(err error, last string) string {
	switch {
	case err == nil:
		return ""
	case last == "":
		return fmt.Sprintf("a client process ended: %v", err)
	default:
		return fmt.Sprintf("a client process ended: %v: %s", err, last)
	}
}

// tell gives the process an order. One that does not take it is over, or about to
// be, which its last word says.
func (p *benchProcess) tell(o benchOrder) { _ = p.told.Encode(o) }

// alive reports whether more is to be expected of the process.
func (p *benchProcess) alive() bool { return !p.over && p.killed == 0 }

// publishes reports whether there are publishers in it, or visitors.
func (p *benchProcess) publishes() bool { return len(p.part.Publishers) > 0 || p.part.Visits }

// receives reports whether there are receivers of messages in it, or a guest book.
func (p *benchProcess) receives() bool {
	return p.part.Guestbook || p.part.Receivers > 0 && !p.part.Visits
}
