package deploy

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"
)

// TestTalk has containers talk that share nothing but the volume.
func TestTalk(t *testing.T) {
	s := newScene(t)
	provider := s.serve()
	listener := s.run("listener", options{}, "listen", "--presence")
	listener.said.expect("^listening in lobby as ")
	alice := s.run("alice", options{user: "10003:20000"}, "join", "--name", "alice", "--interval", "1h")
	listener.log.expect("^hello from alice")
	alice.kill()
	listener.said.expect("^alice left: died$")
	listener.stop()
	provider.stop()
	if code := provider.wait(); code != 0 {
		t.Errorf("the provider ended with %d", code)
	}
}

// death is when what happened at docker kill.
type death struct {
	asked time.Time // docker kill was called
	ended time.Time // the kernel said that the process is no more; zero if it could not be asked
	told  time.Time // the provider stamped the departure
	read  time.Time // the line that tells it was read
}

// TestKill kills clients by docker kill, one after the other, while another
// container tells who leaves. The times are to be seen with -v.
func TestKill(t *testing.T) {
	const victims = 36
	s := newScene(t)
	s.serve()
	listener := s.run("listener", options{}, "listen", "--presence", "--json")
	listener.said.expect("^listening in lobby as ")
	crowd := s.crowd(victims, "victim", options{}, func(name string) []string { return []string{"listen", "--name", name} })
	for range crowd {
		listener.log.expect(`"kind":"joined"`)
	}
	deaths := make([]death, victims)
	for i, c := range crowd {
		deaths[i] = dies(c, fmt.Sprint("victim-", i), listener)
	}
	spread(t, "from docker kill to the line", deaths, func(d death) time.Duration { return d.read.Sub(d.asked) })
	if deaths[0].ended.IsZero() {
		t.Log("the processes cannot be watched from here: no times from their ends")
		return
	}
	spread(t, "from the process's end to the event's time", deaths, func(d death) time.Duration { return d.told.Sub(d.ended) })
	spread(t, "from the process's end to the line", deaths, func(d death) time.Duration { return d.read.Sub(d.ended) })
}

// dies kills a client that goes by name, of which the listener is told.
func dies(c *container, name string, listener *container) (d death) {
	c.s.t.Helper()
	ended := watchEnd(c.state().Pid)
	d.asked = time.Now()
	c.kill()
	l := listener.log.expect(`"kind":"left"`)
	var event struct {
		From, Reason string
		Time         time.Time
	}
	if err := json.Unmarshal([]byte(l.text), &event); err != nil {
		c.s.t.Fatal(err)
	}
	if event.From != name || event.Reason != "died" {
		c.s.t.Errorf("%s was killed; told is %s", name, l.text)
	}
	d.told, d.read = event.Time, l.at
	if ended != nil {
		d.ended = <-ended
	}
	return d
}

// spread logs the median, the 95th percentile and the worst.
func spread(t *testing.T, what string, deaths []death, of func(death) time.Duration) {
	times := make([]time.Duration, len(deaths))
	for i, d := range deaths {
		times[i] = of(d)
	}
	slices.Sort(times)
	t.Logf("%s, %d times: median %v, p95 %v, worst %v", what, len(times),
		times[len(times)/2].Round(10*time.Microsecond), times[len(times)*95/100].Round(10*time.Microsecond), times[len(times)-1].Round(10*time.Microsecond))
}
