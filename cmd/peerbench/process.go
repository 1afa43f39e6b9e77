package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// launcher starts processes that die with this one, however it dies. The kernel
// ties that to the thread that starts them, so one goroutine holds on to its own.
type launcher struct {
	commands chan *exec.Cmd
	started  chan error
}

func newLauncher() *launcher {
	l := &launcher{make(chan *exec.Cmd), make(chan error)}
	go l.work()
	return l
}

// work starts what it is given until close.
func (l *launcher) work() {
	defer close(l.started)
	holdThread()
	for cmd := range l.commands {
		l.started <- cmd.Start()
	}
}

func (l *launcher) close() {
	close(l.commands)
	for range l.started { // nothing more comes
	}
}

func (l *launcher) start(cmd *exec.Cmd) error {
	cmd.SysProcAttr = dieWithParent()
	l.commands <- cmd
	return <-l.started
}

// process is a process that was started, which ends in stop at the latest.
type process struct {
	name  string
	cmd   *exec.Cmd
	in    io.WriteCloser
	words *tail
	ended chan struct{} // closed when it is reaped

	// lines is what a player says; nil for a server.
	lines chan []byte
}

// serve starts a server. Whatever it prints is kept for the case that it fails.
func (l *launcher) serve(name string, cmd *exec.Cmd) (*process, error) {
	p := &process{name: name, cmd: cmd, words: &tail{}, ended: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p.words, p.words
	var err error
	if p.in, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := l.start(cmd); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	go func() {
		defer close(p.ended)
		_ = cmd.Wait() // how it ended is in its ProcessState
	}()
	return p, nil
}

// play starts this program as another process, which plays a part.
func (l *launcher) play(name string, a assignment) (*process, error) {
	p, err := l.converse(name, "player")
	if err != nil {
		return nil, err
	}
	return p, p.tell(a)
}

// converse starts this program in another role, in which it reports on its standard
// output.
func (l *launcher) converse(name, role string, args ...string) (*process, error) {
	cmd, err := ownCommand(role, args...)
	if err != nil {
		return nil, err
	}
	p := &process{name: name, cmd: cmd, words: &tail{}, ended: make(chan struct{}), lines: make(chan []byte, 16)}
	cmd.Stderr = p.words
	if p.in, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := l.start(cmd); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	go p.listen(out)
	return p, nil
}

// ownCommand returns a command that is this program in another role.
func ownCommand(role string, args ...string) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), roleKey+"="+role)
	return cmd, nil
}

// listen passes the lines on, and reaps the process when they end.
func (p *process) listen(out io.Reader) {
	defer close(p.ended)
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			break
		}
		p.lines <- line
	}
	close(p.lines)
	_ = p.cmd.Wait() // how it ended is in its ProcessState
}

// tell writes a line of JSON to the process.
func (p *process) tell(what any) error {
	line, err := json.Marshal(what)
	if err != nil {
		return err
	}
	if _, err = p.in.Write(append(line, '\n')); err != nil {
		return p.failure(err)
	}
	return nil
}

// hear waits for the next report of the process.
func (p *process) hear(patience time.Duration) (report, error) {
	var r report
	select {
	case line, open := <-p.lines:
		if !open {
			<-p.ended
			return r, p.failure(errors.New("has ended"))
		}
		if err := json.Unmarshal(line, &r); err != nil {
			return r, p.failure(err)
		}
		if r.Error != "" {
			return r, fmt.Errorf("%s: %s", p.name, r.Error)
		}
		return r, nil
	case <-time.After(patience):
		return r, p.failure(fmt.Errorf("has said nothing for %v", patience))
	}
}

// failure adds to err what is known about the process.
func (p *process) failure(err error) error {
	text := ""
	select {
	case <-p.ended:
		text = ", " + p.cmd.ProcessState.String()
	default:
	}
	if words := p.words.String(); words != "" {
		text += "\n" + words
	}
	return fmt.Errorf("%s: %w%s", p.name, err, text)
}

// lastWords returns why the process has ended, which nobody asked it to.
func (p *process) lastWords() error {
	if p.lines == nil {
		return p.failure(errors.New("has ended"))
	}
	for line := range p.lines {
		var r report
		if err := json.Unmarshal(line, &r); err == nil && r.Error != "" {
			return fmt.Errorf("%s: %s", p.name, r.Error)
		}
	}
	return p.failure(errors.New("has ended"))
}

// over reports whether the process has ended.
func (p *process) over() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// patience is how long a process may take to end when it is told to.
const patience = 5 * time.Second

// stop ends the process and returns when it is reaped: a player by the end of its
// input, a server by SIGTERM; and by SIGKILL if that does not help.
func (p *process) stop() {
	_ = p.in.Close()
	if p.lines == nil {
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
	}
	late := time.After(patience)
	for {
		select {
		case <-p.lines:
			if p.over() {
				return
			}
		case <-p.ended:
			return
		case <-late:
			p.kill()
		}
	}
}

// kill kills the process; it is reaped a little later.
func (p *process) kill() { _ = p.cmd.Process.Kill() }

func (p *process) pid() int { return p.cmd.Process.Pid }

// tail keeps the last that was written to it.
type tail struct {
	mu   sync.Mutex
	text []byte
}

const tailSize = 4 << 10

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, b...)
	if over := len(t.text) - tailSize; over > 0 {
		t.text = append(t.text[:0], t.text[over:]...)
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.text))
}
