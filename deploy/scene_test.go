package deploy

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// What the examples and these tests run as. The group is what they share.
const (
	providerUID = 10001
	clientUID   = 10002
	groupID     = 20000
)

// runDirectory is where a volume is mounted in every container.
const runDirectory = "/run/crier"

// scene is a volume and the containers that share it. What is left of it when its
// test ends is removed.
type scene struct {
	t      testing.TB
	name   string // begins the names of all that belongs to it
	volume string
	actors []*actor
	visits atomic.Int64
}

var scenes atomic.Int64

// newScene makes a volume in memory, as deploy/compose.yaml has it; options are
// those of tmpfs that are to differ, as in "size=64k".
func newScene(t testing.TB, options ...string) *scene {
	t.Helper()
	engine(t)
	s := &scene{t: t, name: fmt.Sprintf("%s-%d", image, scenes.Add(1))}
	s.volume = s.name + "-run"
	o := strings.Join(append([]string{fmt.Sprintf("uid=%d,gid=%d,mode=2770", providerUID, groupID)}, options...), ",")
	docker(t, "volume", "create", "--driver", "local", "--opt", "type=tmpfs", "--opt", "device=tmpfs", "--opt", "o="+o, s.volume)
	t.Cleanup(s.clear)
	return s
}

func (s *scene) clear() {
	if ids := strings.Fields(docker(s.t, "ps", "--all", "--quiet", "--filter", "label=scene="+s.name)); len(ids) > 0 {
		docker(s.t, append([]string{"rm", "--force"}, ids...)...)
	}
	docker(s.t, "volume", "rm", s.volume)
}

// options are how a container differs from others. The zero value is a client
// that is in the group of those whom the provider admits.
type options struct {
	user   string   // uid:gid; empty is clientUID and groupID
	flags  []string // of docker run
	sealed bool     // without the volume
	image  string   // empty is that of this tree

	network string // empty is none
}

// asProvider is for the container of a provider.
var asProvider = options{user: fmt.Sprintf("%d:%d", providerUID, groupID)}

// container is a running container, and what it has written so far.
type container struct {
	s    *scene
	name string
	log  *transcript // standard output
	said *transcript // standard error
	in   io.WriteCloser
}

// run starts a container of the image: no network, nothing to write on, no
// privileges. It has crier do args. What goes in and out is in hand from the start.
func (s *scene) run(name string, o options, args ...string) *container {
	s.t.Helper()
	c := &container{s: s, name: s.name + "-" + name}
	docker(s.t, append([]string{"create"}, c.flags(o, args)...)...)
	c.start()
	return c
}

// start starts a container, or starts it again. What it wrote before is kept in the
// transcripts of before.
func (c *container) start() {
	c.s.t.Helper()
	before := c.state().StartedAt
	c.converse(exec.Command("docker", "start", "--attach", "--interactive", c.name))
	for again := time.NewTicker(10 * time.Millisecond); c.state().StartedAt == before; <-again.C {
		if _, more := c.said.from(0); more == nil {
			c.s.t.Fatalf("%s does not start: %s", c.name, c.said)
		}
	}
}

// crowd is run for several containers at once, whose words nobody hears. args are
// those of each, by its name.
func (s *scene) crowd(count int, name string, o options, args func(name string) []string) []*container {
	s.t.Helper()
	crowd := make([]*container, count)
	failed := make([]error, count)
	var starting sync.WaitGroup
	for i := range crowd {
		own := fmt.Sprintf("%s-%d", name, i)
		c := &container{s: s, name: s.name + "-" + own}
		crowd[i] = c
		starting.Go(func() { _, failed[i] = try(append([]string{"run", "--detach"}, c.flags(o, args(own))...)...) })
	}
	starting.Wait()
	if err := errors.Join(failed...); err != nil {
		s.t.Fatal(err)
	}
	return crowd
}

// flags are what docker run and docker create are given.
func (c *container) flags(o options, args []string) []string {
	flags := []string{
		"--interactive", "--name", c.name, "--label", "scene=" + c.s.name,
		"--user", cmp.Or(o.user, fmt.Sprintf("%d:%d", clientUID, groupID)),
		"--network", cmp.Or(o.network, "none"), "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
	}
	if !o.sealed {
		flags = append(flags, "--volume", c.s.volume+":"+runDirectory)
	}
	return append(append(append(flags, o.flags...), cmp.Or(o.image, image)), args...)
}

// serve starts a provider that admits the group, and returns once it listens.
func (s *scene) serve(args ...string) *container {
	s.t.Helper()
	c := s.run("provider", asProvider, append([]string{"serve", "--allow-gid", strconv.Itoa(groupID)}, args...)...)
	c.said.expect("^listening on ")
	return c
}

// converse is read by a command that also takes what the container is told.
func (c *container) converse(cmd *exec.Cmd) {
	c.s.t.Helper()
	in, err := cmd.StdinPipe()
	if err != nil {
		c.s.t.Fatal(err)
	}
	c.in = in
	c.read(cmd)
}

// read reads what the container writes, by a command that hands it over.
func (c *container) read(cmd *exec.Cmd) {
	c.s.t.Helper()
	c.log, c.said = newTranscript(c.s.t, c.name+" stdout"), newTranscript(c.s.t, c.name+" stderr")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		c.s.t.Fatal(err)
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		c.s.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		c.s.t.Fatal(err)
	}
	go c.log.read(stdout)
	go c.said.read(stderr)
	c.s.t.Cleanup(func() { // after clear, or before it
		_ = cmd.Process.Kill()
		c.log.wait()
		c.said.wait()
		_ = cmd.Wait()
	})
}

// tell writes a line to the container's standard input.
func (c *container) tell(format string, args ...any) {
	c.s.t.Helper()
	if c.in == nil {
		cmd := exec.Command("docker", "attach", "--sig-proxy=false", c.name)
		in, err := cmd.StdinPipe()
		if err != nil {
			c.s.t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			c.s.t.Fatal(err)
		}
		c.in = in
		c.s.t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
	}
	if _, err := fmt.Fprintf(c.in, format+"\n", args...); err != nil {
		c.s.t.Fatal(err)
	}
}

// state is what Docker knows about a container.
type state struct {
	Pid        int
	StartedAt  string
	FinishedAt string
	OOMKilled  bool
	Running    bool
	Health     struct{ Status string }
}

func (c *container) state() (s state) {
	c.s.t.Helper()
	text := docker(c.s.t, "inspect", "--format", "{{json .State}}", c.name)
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		c.s.t.Fatal(err)
	}
	return s
}

// wait returns the exit code once the container has ended.
func (c *container) wait() int {
	c.s.t.Helper()
	code, err := strconv.Atoi(docker(c.s.t, "wait", c.name))
	if err != nil {
		c.s.t.Fatal(err)
	}
	return code
}

func (c *container) kill()    { c.s.t.Helper(); docker(c.s.t, "kill", "--signal", "KILL", c.name) }
func (c *container) stop()    { c.s.t.Helper(); docker(c.s.t, "stop", c.name) }
func (c *container) pause()   { c.s.t.Helper(); docker(c.s.t, "pause", c.name) }
func (c *container) unpause() { c.s.t.Helper(); docker(c.s.t, "unpause", c.name) }

// restart has Docker stop and start the container. What it wrote before is kept
// in the transcripts of before.
func (c *container) restart() {
	c.s.t.Helper()
	docker(c.s.t, "restart", c.name)
	c.in = nil
	// Its start is told too late: a quick one has written by then.
	c.follow("--since", c.state().FinishedAt)
}
