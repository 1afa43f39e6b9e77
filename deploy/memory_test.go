package deploy

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestMemory has 200 clients attach to a provider in a container that may use 64 MB,
// and sends them more than would fit if it were kept for those who do not read. One
// more than there are places for is refused in words.
func TestMemory(t *testing.T) {
	t.Parallel()
	const each, messages, size = 100, 100, 64 << 10
	s := newScene(t)
	provider := s.run("provider", options{user: asProvider.user, flags: []string{"--memory", "64m", "--memory-swap", "64m"}},
		"serve", "--allow-gid", strconv.Itoa(groupID), "--stall", "1s")
	provider.said.expect("^listening on ")
	for i := range 2 { // a stranger may have half of the places
		name := fmt.Sprint("audience-", i)
		a := s.actor(name, options{user: fmt.Sprintf("%d:%d", 10011+i, groupID)})
		a.ask(said("", "dialled"), "dial %d", each)
		a.ask(said(name+"/c", "crowded"), "crowd %s/c %d each room=r name=%s", name, each, name)
	}
	slow := s.actor("slow", options{})
	slow.connect("never", "room=r name=never")
	slow.connect("gap", "room=r name=gap gap")
	slow.tell("read slow/never never")
	slow.tell("read slow/gap never")
	paused := s.actor("paused", options{})
	paused.connect("x", "room=r name=paused")
	paused.pause()

	talker := s.actor("talker", options{user: fmt.Sprintf("10013:%d", groupID)})
	talker.connect("talk", "sendonly room=r")
	talker.connect("mark", "sendonly room=r")
	sent := talker.ask(said("talker/talk", "posted"), "post talker/talk %d size=%d", messages, size)
	if sent.Count != messages {
		t.Errorf("%d messages were admitted, want %d", sent.Count, messages)
	}
	paused.unpause()
	paused.await(func(r record) bool { return r.At == "end" && r.Reason == "slow" })
	slow.tell("read slow/never all")
	slow.tell("read slow/gap all")
	slow.await(event("slow/gap", "gap"))
	slow.await(func(r record) bool { return r.At == "end" && r.Conn == "slow/never" && r.Reason == "slow" })
	s.judge(talker, "mark")

	s.fillPlaces(each)
	now := provider.state()
	if now.OOMKilled || !now.Running {
		t.Errorf("the provider is not what it was: %+v", now)
	}
	t.Logf("in use at most: %s; now: %s", peak(now.Pid),
		docker(t, "stats", "--no-stream", "--format", "{{.MemUsage}}", provider.name))
	s.over(provider)
}

// fillPlaces has a user attach as often as there are places for it, and once more.
// With 64 MB there are 256, half of them for each stranger.
func (s *scene) fillPlaces(taken int) {
	s.t.Helper()
	const places, ids = 128, "10011:20000"
	greedy := s.actor("greedy", options{user: ids})
	greedy.ask(said("", "dialled"), "dial %d", places-taken)
	code, text := s.once(options{user: ids}, "ping")
	if code != 75 || !strings.Contains(text, "has 128 of 256 places for processes, which is the limit for one") {
		s.t.Errorf("one too many: ended with %d, want 75 and what the limit is: %s", code, text)
	}
	s.t.Logf("one too many: %d\n%s", code, text)
	if code, text := s.once(options{user: "10012:20000"}, "ping"); code != 0 {
		s.t.Errorf("another user, who has places: %d: %s", code, text)
	}
	greedy.die()
}

// peak is how much memory the container of a process has used at most, in words.
func peak(pid int) string {
	groups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return "not to be seen from here"
	}
	for line := range strings.Lines(string(groups)) {
		part := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(part) != 3 {
			continue
		}
		for _, file := range []string{
			filepath.Join("/sys/fs/cgroup/memory", part[2], "memory.max_usage_in_bytes"),
			filepath.Join("/sys/fs/cgroup", part[2], "memory.peak"),
		} {
			text, err := os.ReadFile(file)
			n, parseErr := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
			if err == nil && parseErr == nil && (part[1] == "memory" || part[1] == "") {
				return fmt.Sprintf("%.1f MiB of the cgroup's memory", float64(n)/(1<<20))
			}
		}
	}
	return "not told by this kernel"
}
