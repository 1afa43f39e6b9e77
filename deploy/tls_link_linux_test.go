package deploy

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// promised is within what time either side notices that the other is out of reach.
const promised = 15 * time.Second

// within runs a program in the network of a container, as root there.
func (c *container) within(args ...string) string {
	c.s.t.Helper()
	text, err := exec.Command("nsenter", c.entering(args...)...).CombinedOutput()
	if err != nil {
		c.s.t.Fatalf("%s in the network of %s: %v: %s", strings.Join(args, " "), c.name, err, text)
	}
	return string(text)
}

// entering are the arguments of nsenter for a program in the network of a container.
func (c *container) entering(args ...string) []string {
	return append([]string{"--target", fmt.Sprint(c.state().Pid), "--net"}, args...)
}

// enterable skips the test unless this process can change the network of a
// container, with each of some programs.
func (c *container) enterable(programs ...string) {
	c.s.t.Helper()
	for _, program := range append(programs, "ip", "nsenter") {
		if _, err := exec.LookPath(program); err != nil {
			c.s.t.Skip(err)
		}
	}
	if err := output(exec.Command("nsenter", c.entering("ip", "link", "set", "lo", "up")...)); err != nil {
		c.s.t.Skipf("no way into the network of a container here; the engine may be on another machine: %v", err)
	}
}

// device returns the interface that a container has in a network.
func (c *container) device(network string) string {
	c.s.t.Helper()
	fields := strings.Fields(c.within("ip", "-oneline", "-4", "addr", "show", "to", c.address(network)))
	if len(fields) < 2 {
		c.s.t.Fatalf("%s has no interface with %s", c.name, c.address(network))
	}
	return fields[1]
}

// TestTLSLink takes the link away between the provider and two clients, one that is
// idle and one that talks.
func TestTLSLink(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name      string
		cut, mend func(r *region, alice, carol *container)
	}{
		{
			"the clients' ends go down",
			func(r *region, alice, carol *container) { alice.link(r.east, "down"); carol.link(r.east, "down") },
			func(r *region, alice, carol *container) { alice.link(r.east, "up"); carol.link(r.east, "up") },
		},
		{
			"the provider's end goes down",
			func(r *region, _, _ *container) { r.provider.link(r.east, "down") },
			func(r *region, _, _ *container) { r.provider.link(r.east, "up") },
		},
		{
			"packets vanish",
			func(r *region, _, _ *container) { r.provider.vanish(r.east, "--append") },
			func(r *region, _, _ *container) { r.provider.vanish(r.east, "--delete") },
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel() // it waits most of the time
			r := newRegion(t)
			r.provider.enterable("iptables")
			r.severed(test.cut, test.mend)
		})
	}
}

// link sets the container's end of the link to a network up or down.
func (c *container) link(network, state string) {
	c.s.t.Helper()
	c.within("ip", "link", "set", c.device(network), state)
}

// vanish has all packets of a network dropped without a word, or no longer.
func (c *container) vanish(network, change string) {
	c.s.t.Helper()
	device := c.device(network)
	c.within("iptables", "--wait", change, "INPUT", "--in-interface", device, "--jump", "DROP")
	c.within("iptables", "--wait", change, "OUTPUT", "--out-interface", device, "--jump", "DROP")
}

// severed plays one cut. Bob, in the other network, and the room, by the socket, see
// it from outside.
func (r *region) severed(cut, mend func(r *region, alice, carol *container)) {
	t := r.t
	room := r.run("room", options{}, "listen", "--presence", "--name", "room")
	room.said.expect("^listening in lobby as room$")
	bob := r.run("bob", r.client("bob", r.west), "join", "--name", "bob", "--interval", "200ms")
	room.said.expect("^bob joined$")
	alice := r.run("alice", r.client("alice", r.east), "listen", "--name", "alice", "--log-level", "info")
	room.said.expect("^alice joined$")
	carol := r.run("carol", r.client("carol", r.east), "join", "--name", "carol", "--interval", "200ms", "--log-level", "info")
	room.said.expect("^carol joined$")
	before := r.who()

	cut(r, alice, carol)
	began := time.Now()
	for range 2 {
		l := room.said.expect("^(alice|carol) left: ")
		r.inTime("the provider: "+l.text, l.at.Sub(began))
		if !strings.HasSuffix(l.text, " left: unreachable") {
			t.Errorf("the provider says %s", l.text)
		}
	}
	for _, c := range []*container{alice, carol} {
		l := c.said.expect("provider lost")
		r.inTime(c.name+": "+l.text, l.at.Sub(began))
	}
	began = time.Now()
	mend(r, alice, carol)
	for _, c := range []*container{alice, carol} {
		l := c.said.expect("reconnected")
		t.Logf("back %v after the mending began: %s", l.at.Sub(began).Round(time.Millisecond), l.text)
		room.said.expect("^(alice|carol) joined$")
	}
	r.healed(before)

	r.say("mended")
	alice.log.expect("^mended$")
	carol.log.expect("^carol received: mended$")
	(&series{from: "carol"}).hear(bob.log)
	bob.log.expect("^bob received: mended$")
	(&series{from: "carol"}).hear(bob.log)
	for _, c := range []*container{alice, carol} {
		if n := c.said.count("reconnected|restarted"); n != 1 {
			t.Errorf("%s was told %d times:\n%s", c.name, n, c.said)
		}
	}
	for _, c := range []*container{room, bob} {
		if c.said.count("bob left|room left|reconnected|restarted|bob: hello") > 0 {
			t.Errorf("%s was disturbed:\n%s", c.name, c.said)
		}
	}
}

// inTime holds the noticing to what is promised.
func (r *region) inTime(what string, after time.Duration) {
	r.t.Helper()
	r.t.Logf("noticed after %v: %s", after.Round(time.Millisecond), what)
	if after > promised {
		r.t.Errorf("that is more than %v", promised)
	}
}

// healed checks that everyone is there once, and with a new handle if the link was
// cut for them.
func (r *region) healed(before seats) {
	r.t.Helper()
	after := r.who()
	if len(after) != 4 {
		r.t.Errorf("there are %+v", after)
	}
	for name, isNew := range map[string]bool{"alice": true, "carol": true, "bob": false, "room": false} {
		was, is := before.only(r.t, name), after.only(r.t, name)
		if (was.Handle != is.Handle) != isNew || (was.Session != is.Session) != isNew {
			r.t.Errorf("%s was %+v, is %+v", name, was, is)
		}
	}
}

// late is the delay each way, and talk how many messages of alice's it takes to be
// longer under it than a dead link would be noticed.
const (
	late = 300 * time.Millisecond
	talk = 20
)

// TestTLSDelay has two talk of whom one is far away. All is heard, in order, and
// nobody is taken for dead.
func TestTLSDelay(t *testing.T) {
	t.Parallel() // it waits most of the time
	r := newRegion(t)
	r.provider.enterable("tc")
	room := r.run("room", options{}, "listen", "--presence", "--room", "lobby", "--room", "quiet")
	room.said.expect("^listening in quiet as ")
	bob := r.run("bob", r.client("bob", r.west), "join", "--name", "bob", "--interval", "50ms")
	bob.log.expect("^My name is bob$")
	alice := r.run("alice", r.client("alice", r.east), "join", "--name", "alice", "--interval", "50ms")
	fromAlice, fromBob := series{from: "alice"}, series{from: "bob"}
	fromAlice.hear(bob.log)
	fromBob.hear(alice.log)

	docker(t, "exec", "--detach", alice.name, "/crier", "listen", "--room", "quiet", "--name", "idle")
	room.said.expect("^quiet: idle joined$")
	before := r.who("--room", "quiet")

	r.delay(alice)
	trip := alice.roundTrip()
	t.Logf("a round trip takes %v", trip)
	if trip < 2*late {
		t.Errorf("the link is not late: %v", trip)
	}
	fromAlice.catchUp(bob.log)
	began, heard := time.Now(), fromAlice.seen
	for fromAlice.seen < heard+talk || time.Since(began) < promised {
		fromAlice.hear(bob.log)
	}
	lasted := time.Since(began)
	alice.sends(500)
	for i := range 500 {
		if got, want := bob.log.expect("^bob received: line ").text, fmt.Sprintf("bob received: line %d", i); got != want {
			t.Fatalf("%q, not %q", got, want)
		}
	}
	if after := r.who("--room", "quiet"); after.only(t, "idle").Handle != before.only(t, "idle").Handle {
		t.Errorf("the idle one was %+v, is %+v", before, after)
	}
	if room.said.count("left") > 0 {
		t.Errorf("somebody was taken for dead:\n%s", room.said)
	}
	r.say("quit")
	for _, c := range []*container{alice, bob} {
		if code := c.wait(); code != 0 || c.said.count("reconnected|restarted|hello") > 0 {
			t.Errorf("%s ended with %d:\n%s", c.name, code, c.said)
		}
	}
	alice.log.wait()
	fromBob.catchUp(alice.log)
	t.Logf("in %v %d messages, each after the receipt of the one before; then 500 in a row; the other way %d", lasted.Round(time.Millisecond), fromAlice.seen-heard, fromBob.seen)
}

// delay makes the link between the provider and a client of the east late, by the
// kernel if it can.
func (r *region) delay(client *container) {
	r.t.Helper()
	var err error
	for _, c := range []*container{client, r.provider} {
		delay := c.entering("tc", "qdisc", "add", "dev", c.device(r.east), "root", "netem", "delay", late.String())
		if err = output(exec.Command("nsenter", delay...)); err != nil {
			break
		}
	}
	if err == nil {
		r.t.Log("delayed by netem")
		return
	}
	r.t.Logf("no netem in this kernel, a cable of this test's delays each packet: %v", err)
	c := layCable(r.t, client, r.provider, r.east, late)
	r.t.Cleanup(func() { r.t.Logf("%d packets passed the cable", c.passed.Load()) })
}

// roundTrip returns how long a new client in a container has to wait for an answer.
func (c *container) roundTrip() time.Duration {
	c.s.t.Helper()
	var trip struct {
		Micros float64 `json:"rtt_us"`
	}
	text, _, _ := strings.Cut(docker(c.s.t, "exec", c.name, "/crier", "ping", "--json"), "\n")
	if err := json.Unmarshal([]byte(text), &trip); err != nil {
		c.s.t.Fatal(err)
	}
	return time.Duration(trip.Micros * 1e3)
}

// sends has somebody in the container's place send lines, as fast as they are taken.
func (c *container) sends(lines int) {
	c.s.t.Helper()
	var text strings.Builder
	for i := range lines {
		fmt.Fprintf(&text, "line %d\n", i)
	}
	cmd := exec.Command("docker", "exec", "--interactive", c.name, "/crier", "send", "--lines")
	cmd.Stdin = strings.NewReader(text.String())
	if err := output(cmd); err != nil {
		c.s.t.Fatal(err)
	}
}
