package faults_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"crier.local/client"
	"crier.local/cmd/internal/faults"
)

// outcome is how a command ended.
type outcome struct {
	code   int
	stdout string
	stderr string
	took   time.Duration
}

func (o outcome) String() string {
	return fmt.Sprintf("exit code %d after %s, standard error %q", o.code, short(o.took), o.stderr)
}

// run runs crier as a client of the stage's provider.
func (s *scene) run(args ...string) outcome {
	s.t.Helper()
	return s.runFed("", args...)
}

// runFed is run with something on standard input.
func (s *scene) runFed(input string, args ...string) outcome {
	s.t.Helper()
	cmd := exec.CommandContext(s.ctx, crier(s.t), append(args, s.ActorArgs()...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &stdout, &stderr
	began := time.Now()
	err := cmd.Run()
	o := outcome{stdout: stdout.String(), stderr: stderr.String(), took: time.Since(began)}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		o.code = exit.ExitCode()
	} else {
		s.must(err)
	}
	return o
}

// served waits until crier ping is answered, and returns how long that took.
func (s *scene) served() time.Duration {
	s.t.Helper()
	began := time.Now()
	s.poll(func() error {
		if o := s.run("ping", "--wait", "0s"); o.code != 0 {
			return errors.New(o.String())
		}
		return nil
	})
	return time.Since(began)
}

// silent opens connections to the provider that say nothing, as far as the kernel
// takes them at once; close closes them.
func (s *scene) silent(count int) (closeAll func()) {
	s.t.Helper()
	address := s.Address()
	var open []net.Conn
	for range count {
		ctx, cancel := context.WithTimeout(s.ctx, time.Second)
		conn, err := (&net.Dialer{}).DialContext(ctx, address.Network, address.Address)
		cancel()
		if err != nil {
			break
		}
		open = append(open, conn)
	}
	return func() {
		for _, conn := range open {
			conn.Close()
		}
	}
}

// logged counts the lines of the provider's log that hold text.
func (s *scene) logged(text string) int { return strings.Count(s.Provider().Words(), text) }

// limited wraps a provider so that it may have so many descriptors.
func limited(descriptors int) []string {
	return []string{"sh", "-c", fmt.Sprintf(`ulimit -n %d && exec "$0" "$@"`, descriptors)}
}

// limitThatLeaves returns the limit of descriptors under which a process can open
// so many more. The kernel gives the lowest number that is free.
func limitThatLeaves(p *faults.Provider, more int) (int, error) {
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.Pid()))
	used := map[string]bool{}
	for _, entry := range entries {
		used[entry.Name()] = true
	}
	limit := 0
	for ; more >= 0; limit++ {
		if !used[strconv.Itoa(limit)] {
			more--
		}
	}
	return limit - 1, err
}

// sends has a send a message, and returns when it has its receipt.
func (s *scene) sends(a *faults.Actress, conn string) {
	s.t.Helper()
	rec, err := a.Ask(s.ctx, func(r faults.Record) bool { return r.At == faults.AtOK || r.At == faults.AtFailed }, "send %s 1", a.Label(conn))
	s.must(err)
	if rec.Error != "" {
		s.t.Errorf("a message of %s: %s", a.Label(conn), rec.Error)
	}
}

// clientOptions are those of a client in this process.
func (s *scene) clientOptions() client.Options {
	o := client.Options{Address: s.Address(), Wait: -1}
	files := map[string]*string{"--tls-ca": &o.TLS.CA, "--tls-cert": &o.TLS.Cert, "--tls-key": &o.TLS.Key}
	args := s.ActorArgs()
	for i, arg := range args {
		if file := files[arg]; file != nil {
			*file = args[i+1]
		}
	}
	return o
}

// attachMany attaches until it is refused, or so many are there; leave ends them.
func (s *scene) attachMany(count int) (leave func(), err error) {
	s.t.Helper()
	var clients []*client.Client
	for err == nil && len(clients) < count {
		var c *client.Client
		if c, err = client.Dial(s.ctx, s.clientOptions()); err == nil {
			clients = append(clients, c)
		}
	}
	return func() {
		for _, c := range clients {
			c.Close()
		}
	}, err
}

// evict has somebody sent away who does not read, which the provider logs, and
// returns when the room has heard of it.
func (s *scene) evict(room string) {
	s.t.Helper()
	w := s.witness(room)
	slow := s.actor()
	s.connect(slow, "slow", "room=%s name=slow", room)
	s.tell(slow, "read %s never", slow.Label("slow"))
	gone := w.Watch(s.Seen(room, left("slow")))
	s.flood(room, 64<<10, 200)
	s.wait(gone)
	s.tell(slow, "read %s all", slow.Label("slow"))
	s.must(slow.Leave(s.ctx))
}

// use has the following scenes of the test played with another binary.
func use(t *testing.T, binary string) {
	t.Helper()
	before := crier(t)
	built = binary
	t.Cleanup(func() { built = before })
}

// usePlain has them played without the race detector, which takes many times the
// memory.
func usePlain(t *testing.T) {
	t.Helper()
	if raceEnabled {
		use(t, buildPlain(t))
	}
}

// buildPlain builds crier without the race detector, with further arguments of go
// build.
func buildPlain(t *testing.T, args ...string) (path string) {
	t.Helper()
	path = filepath.Join(shortDir(t), "crier")
	args = append([]string{"build", "-o", path}, append(args, "crier.local/cmd/crier")...)
	if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
		t.Fatalf("build crier: %v: %s", err, out)
	}
	return path
}
