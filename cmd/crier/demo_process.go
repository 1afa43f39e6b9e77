package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"

	"github.com/hashicorp/go-hclog"

	"crier.local/api"
	"crier.local/client"
	"crier.local/client/notification"
)

// processStage is a stage of processes: a provider spawned through go-plugin, and
// its siblings, the guests, which find it by CRIER_ADDRESS.
type processStage struct {
	demo       *demo
	executable string
	provider   *client.Spawned
	over       chan struct{} // closed when the provider has ended
	exit       error         // how; valid when it has
}

func newProcessStage(ctx context.Context, d *demo) (stage, error) {
	executable, err := os.Executable()
	if err != nil {
		return nil, err
	}
	dir, err := absolute(d.runDir)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(executable, append([]string{"plugin", "--name", "demo"}, d.logArgs()...)...)
	cmd.Env = providerEnvironment(dir)
	cmd.SysProcAttr = ownGroup()
	spawned, err := client.Spawn(ctx, cmd, d.p.logger(hclog.Warn))
	if err != nil {
		return nil, err
	}
	s := &processStage{demo: d, executable: executable, provider: spawned, over: make(chan struct{})}
	go func() {
		defer close(s.over)
		s.exit = spawned.Wait(context.Background())
	}()
	return s, nil
}

func (s *processStage) guestName(i int) string { return fmt.Sprintf("process%d", i) }

func (s *processStage) invite(ctx context.Context, name string) *guest {
	g := newGuest(name)
	cmd := exec.CommandContext(ctx, s.executable, s.guestArgs(name)...)
	cmd.Env = append(environment(), api.EnvAddress+"="+s.provider.Address().String())
	cmd.SysProcAttr = ownGroup()
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	cmd.WaitDelay = leaveTime
	out := &lineWriter{line: func(line []byte) error { return s.heard(g, line) }}
	last := &lastWords{guest: g, p: s.demo.p}
	words := &lineWriter{line: last.heard}
	cmd.Stdout, cmd.Stderr = out, words
	if err := cmd.Start(); err != nil {
		g.leave(err)
		return g
	}
	go func() {
		err := errors.Join(cmd.Wait(), out.flush(), words.flush())
		g.leave(last.explain(err))
	}()
	return g
}

func (s *processStage) guestArgs(name string) []string {
	args := []string{
		"join", "--name", name, "--interval", s.demo.interval.String(),
		"--give-up-after", leaveTime.String(), // if even this process dies without a word
	}
	return append(args, s.demo.logArgs()...)
}

// heard relays a line of a guest's standard output.
func (s *processStage) heard(g *guest, line []byte) error {
	if string(line) == fmt.Sprintf(nameFormat, g.name) {
		g.join()
	}
	out := s.demo.p.stdout
	return out.line(out.text(line))
}

func (s *processStage) dial(ctx context.Context) (*notification.Client, error) {
	return notification.Dial(ctx, client.Options{
		Address: s.provider.Address(), Wait: -1, GiveUpAfter: leaveTime, Logger: s.demo.p.logger(hclog.Warn),
	})
}

func (s *processStage) close() error {
	if err := s.provider.Close(); err != nil {
		return err
	}
	<-s.over
	os.Remove(s.provider.Address().Address) // it has, unless it was killed
	return s.exit
}

func (s *processStage) gone() <-chan struct{} { return s.over }

// logArgs are the flags by which other processes log as this one does.
func (d *demo) logArgs() []string {
	var args []string
	if level := d.p.log.level.value; level != "" {
		args = append(args, "--log-level", level)
	}
	if format := d.p.log.format.value; format != "" {
		args = append(args, "--log-format", format)
	}
	return args
}

// environment is this process's, without the settings of crier, which were meant
// for this process.
func environment() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "CRIER_") })
}

// providerEnvironment names the directory for the provider's socket, if one was
// given.
func providerEnvironment(runDir string) []string {
	if runDir == "" {
		return environment()
	}
	return append(environment(), api.EnvRunDir+"="+runDir)
}

// ownGroup keeps the interrupts of a terminal from a process: it is told to end by
// the one that started it.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// lastWords hears what a guest says on standard error: its tally, why it failed,
// and the rest, which is passed on.
type lastWords struct {
	guest  *guest
	p      *program
	reason string
}

func (w *lastWords) heard(line []byte) error {
	text := string(line)
	if n, _ := fmt.Sscanf(text, w.guest.name+": "+tallyFormat, &w.guest.tally.sent, &w.guest.tally.received); n == 2 {
		return nil
	}
	if reason, ok := strings.CutPrefix(text, "crier: "); ok {
		w.reason = reason
		return nil
	}
	if text != closing { // it would be the guest that is interrupted again
		w.p.note("%s", text)
	}
	return nil
}

// explain adds to err, which ended the guest, what the guest had to say about it.
func (w *lastWords) explain(err error) error {
	if _, exited := errors.AsType[*exec.ExitError](err); exited && w.reason != "" {
		return errors.New(w.reason)
	}
	return err
}

// lineWriter hands over what is written to it line by line.
type lineWriter struct {
	line    func([]byte) error
	partial []byte
}

func (w *lineWriter) Write(b []byte) (int, error) {
	w.partial = append(w.partial, b...)
	for {
		line, rest, ok := bytes.Cut(w.partial, []byte("\n"))
		if !ok {
			w.partial = bytes.Clone(w.partial) // let go of what was handed over
			return len(b), nil
		}
		w.partial = rest
		if err := w.line(line); err != nil {
			return 0, err
		}
	}
}

// flush hands over a last line that was not ended.
func (w *lineWriter) flush() error {
	if len(w.partial) == 0 {
		return nil
	}
	last := w.partial
	w.partial = nil
	return w.line(last)
}
