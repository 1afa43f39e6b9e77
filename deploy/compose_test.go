package deploy

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// composeTools are the two programs that read compose files.
var composeTools = [][]string{{"docker", "compose"}, {"docker-compose"}}

// forEachCompose runs test with each of them that there is.
func forEachCompose(t *testing.T, test func(t *testing.T, tool []string)) {
	engine(t)
	for _, tool := range composeTools {
		t.Run(strings.Join(tool, " "), func(t *testing.T) {
			version := exec.Command(tool[0], append(tool[1:], "version")...)
			if err := output(version); err != nil {
				t.Skipf("not installed: %v", err)
			}
			test(t, tool)
		})
	}
}

// composition is what a compose file brings up, in a project of its own.
type composition struct {
	scene
	tool []string
	file string
	env  []string
}

var compositions atomic.Int64

// newComposition returns that of a file, not up yet, whose image is that of this
// tree. What is left of it when the test ends is removed.
func newComposition(t testing.TB, tool []string, file string, env ...string) *composition {
	name := fmt.Sprintf("%s-compose-%d", image, compositions.Add(1))
	c := &composition{scene{t: t, name: name}, tool, file, append(env, "CRIER_IMAGE="+image)}
	t.Cleanup(func() { c.compose("down", "--volumes", "--timeout", "0") })
	return c
}

// compose runs a command of compose, which must work.
func (c *composition) compose(args ...string) {
	c.t.Helper()
	if err := output(c.command(args...)); err != nil {
		c.t.Fatal(err)
	}
}

func (c *composition) command(args ...string) *exec.Cmd {
	whole := slices.Concat(c.tool, []string{"--project-name", c.name, "--file", c.file}, args)
	cmd := exec.Command(whole[0], whole[1:]...)
	cmd.Env = append(os.Environ(), c.env...)
	return cmd
}

// up brings everything up, with images that there are.
func (c *composition) up() { c.t.Helper(); c.compose("up", "--detach", "--no-build") }

// things lists what Docker has of the project: containers, volumes and networks.
func (c *composition) things() string {
	c.t.Helper()
	of := "label=com.docker.compose.project=" + c.name
	return strings.Join(strings.Fields(strings.Join([]string{
		docker(c.t, "ps", "--all", "--quiet", "--filter", of),
		docker(c.t, "volume", "ls", "--quiet", "--filter", of),
		docker(c.t, "network", "ls", "--quiet", "--filter", of),
	}, " ")), " ")
}

// service returns the container of a service.
func (c *composition) service(name string) *container {
	c.t.Helper()
	id := docker(c.t, "ps", "--all", "--quiet",
		"--filter", "label=com.docker.compose.project="+c.name, "--filter", "label=com.docker.compose.service="+name)
	made := &container{s: &c.scene, name: id}
	made.follow()
	return made
}

// finished returns when a container that has ended did.
func (c *container) finished() time.Time {
	c.s.t.Helper()
	at, err := time.Parse(time.RFC3339Nano, c.state().FinishedAt)
	if err != nil {
		c.s.t.Fatal(err)
	}
	return at
}

// TestCompose plays the demo: it comes up, talks, tells who goes and how, and
// leaves nothing behind.
func TestCompose(t *testing.T) {
	t.Parallel()
	forEachCompose(t, func(t *testing.T, tool []string) {
		c := newComposition(t, tool, "compose.yaml")
		c.up()
		provider, room := c.service("provider"), c.service("room")
		user1, user2 := c.service("user1"), c.service("user2")
		user1.log.expect("^My name is user1$")
		user1.log.expect("^user1 received: hello from user2 ")
		user2.log.expect("^user2 received: hello from user1 ")
		room.log.expect("^hello from user")
		if health := provider.state().Health.Status; health != "healthy" {
			t.Errorf("the provider is %s while clients run", health)
		}

		before := c.things()
		c.up()
		if after := c.things(); after != before {
			t.Errorf("up a second time made %s of %s", after, before)
		}

		user1.kill()
		room.said.expect("^user1 left: died$")
		c.compose("stop")
		room.said.expect("^user2 left: closed$")
		for name, client := range map[string]*container{"user2": user2, "room": room} {
			if code := client.wait(); code != 0 {
				t.Errorf("%s ended with %d", name, code)
			}
			if provider.finished().Before(client.finished()) {
				t.Errorf("the provider was stopped before %s", name)
			}
		}
		if code := provider.wait(); code != 0 {
			t.Errorf("the provider ended with %d", code)
		}

		c.compose("down", "--volumes")
		if left := c.things(); left != "" {
			t.Errorf("down has left %s", left)
		}
	})
}

// TestComposeFiles has compose read every file there is.
func TestComposeFiles(t *testing.T) {
	files, err := filepath.Glob("*/compose*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	forEachCompose(t, func(t *testing.T, tool []string) {
		for _, file := range append(files, "compose.yaml") {
			cmd := exec.Command(tool[0], append(tool[1:], "--file", file, "config", "--quiet")...)
			if err := output(cmd); err != nil {
				t.Error(err)
			}
		}
	})
}
