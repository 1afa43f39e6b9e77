package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// debianPython has the packages that Debian's apt installs.
const debianPython = "/usr/bin/python3"

// python runs what is in api/python.
type python struct {
	env []string
}

// newPython generates what the Python of api/python imports. The test is skipped
// where that cannot be.
func newPython(t *testing.T) python {
	t.Helper()
	const need = "apt install python3-grpcio python3-protobuf protobuf-compiler"
	if out, err := exec.Command(debianPython, "-c", "import grpc, google.protobuf").CombinedOutput(); err != nil {
		t.Skipf("%s has no gRPC (%s): %v\n%s", debianPython, need, err, out)
	}
	protoc, err := exec.LookPath("protoc")
	if err != nil {
		t.Skipf("no protoc (%s): %v", need, err)
	}
	stubs := t.TempDir()
	cmd := exec.Command(protoc, "-I", "../../api/wire/wirepb", "--python_out", stubs, "crier.proto", "notification.proto")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, out)
	}
	env := []string{"PYTHONDONTWRITEBYTECODE=1", "PYTHONPATH=" + stubs}
	for _, dir := range []string{"../../api/python", "testdata/python"} {
		path, err := filepath.Abs(dir)
		if err != nil {
			t.Fatal(err)
		}
		env[1] += ":" + path
	}
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "CRIER_") {
			env = append(env, v)
		}
	}
	return python{env: env}
}

// command returns the command that runs a script. It is killed when ctx ends.
func (p python) command(ctx context.Context, script string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, debianPython, append([]string{script}, args...)...)
	cmd.Env = p.env
	return cmd
}

// pythonPeer is a process that carries out lines of Python, one after the other.
type pythonPeer struct {
	t     *testing.T
	cmd   *exec.Cmd
	in    io.WriteCloser
	out   *bufio.Reader
	words bytes.Buffer // standard error, to be read when it is over
	over  bool
}

// start starts a peer, which ends with the test at the latest.
func (p python) start(ctx context.Context, t *testing.T, env ...string) *pythonPeer {
	t.Helper()
	peer := &pythonPeer{t: t, cmd: p.command(ctx, "testdata/python/peer.py")}
	peer.cmd.Env = append(peer.cmd.Env, env...)
	peer.cmd.Stderr = &peer.words
	var err error
	if peer.in, err = peer.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := peer.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	peer.out = bufio.NewReader(out)
	if err := peer.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(peer.end)
	return peer
}

// end ends the peer, which must not have complained.
func (p *pythonPeer) end() {
	p.t.Helper()
	if p.over {
		return
	}
	p.over = true
	p.in.Close()
	if err := p.cmd.Wait(); err != nil || p.words.Len() > 0 {
		p.t.Errorf("python: %v\n%s", err, p.words.Bytes())
	}
}

// kill ends it with -9.
func (p *pythonPeer) kill() {
	p.over = true
	p.cmd.Process.Kill()
	p.cmd.Wait()
}

// pythonAnswer is what a peer answers: a value, or the error of Crier.
type pythonAnswer struct {
	Value  json.RawMessage
	Error  string // the code's name
	Text   string
	Reason uint32
}

// begin gives the peer something to do, whose answer comes with finish.
func (p *pythonPeer) begin(source string) {
	p.t.Helper()
	line, err := json.Marshal(source)
	if err == nil {
		_, err = p.in.Write(append(line, '\n'))
	}
	if err != nil {
		p.broken(err)
	}
}

func (p *pythonPeer) finish() (a pythonAnswer) {
	p.t.Helper()
	line, err := p.out.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &a)
	}
	if err != nil {
		p.broken(err)
	}
	return a
}

// broken gives up on the peer, which has not answered.
func (p *pythonPeer) broken(err error) {
	p.t.Helper()
	p.kill()
	p.t.Fatalf("python: %v\n%s", err, p.words.Bytes())
}

// do has the peer do something that succeeds.
func (p *pythonPeer) do(source string) json.RawMessage {
	p.t.Helper()
	p.begin(source)
	return p.done()
}

// done waits for what was begun, which must succeed.
func (p *pythonPeer) done() json.RawMessage {
	p.t.Helper()
	a := p.finish()
	if a.Error != "" {
		p.t.Fatalf("python: %s: %s", a.Error, a.Text)
	}
	return a.Value
}

// fails has the peer do something that fails with the error of that name.
func (p *pythonPeer) fails(name, source string) pythonAnswer {
	p.t.Helper()
	p.begin(source)
	a := p.finish()
	if a.Error != name {
		p.t.Fatalf("python: %s: %+v, want %s", source, a, name)
	}
	return a
}

// valueOf returns the value of an expression.
func valueOf[T any](p *pythonPeer, expression string) T {
	p.t.Helper()
	p.begin(expression)
	return valueDone[T](p)
}

// valueDone returns the value of the expression that was begun.
func valueDone[T any](p *pythonPeer) (value T) {
	p.t.Helper()
	if err := json.Unmarshal(p.done(), &value); err != nil {
		p.t.Fatalf("python: %v", err)
	}
	return value
}

// pythonEvent is an event as a peer tells of it.
type pythonEvent struct {
	Kind, Reason       uint32
	Seq                uint64
	From, To, Note     string
	Payload            []byte
	First, Last, Count uint64
	Members            []struct{ Name string }
	Departures         []struct{ Name string }
}

// members returns their names, sorted.
func (e *pythonEvent) members() (names []string) {
	for _, m := range e.Members {
		names = append(names, m.Name)
	}
	slices.Sort(names)
	return names
}

// receive returns the next event of what is called so in the peer.
func (p *pythonPeer) receive(connection string) pythonEvent {
	p.t.Helper()
	return valueOf[pythonEvent](p, connection+".receive(60)")
}
