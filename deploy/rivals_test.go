package deploy

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// rival starts a provider of another user in a container of its own.
func (s *scene) rival(name string, uid int, args ...string) *container {
	s.t.Helper()
	args = append([]string{"serve", "--allow-gid", fmt.Sprint(groupID)}, args...)
	return s.run(name, options{user: fmt.Sprintf("%d:%d", uid, groupID)}, args...)
}

// TestRivals has two providers, of two users, in one volume: the preferred one is
// found; of equals somebody has to choose.
func TestRivals(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	one := s.rival("one", 10001, "--name", "one")
	one.said.expect("^listening on ")
	two := s.rival("two", 10009, "--name", "two", "--priority", "preferred")
	two.said.expect("^listening on ")
	s.joins("first", "two")

	three := s.rival("three", 10010, "--name", "three", "--priority", "preferred")
	three.said.expect("^listening on ")
	code, text := s.once(options{}, "ping")
	if code != 76 || !strings.Contains(text, "two@") || !strings.Contains(text, "three@") {
		t.Errorf("two that are preferred alike: ended with %d, want 76 and both names: %s", code, text)
	}
	t.Logf("%d: %s", code, text)
	three.kill()
	three.wait()
	s.joins("second", "two")
	two.stop()
	s.joins("third", "one")
}

// joins has a client find a provider, and checks that it is the one of that name.
func (s *scene) joins(client, provider string) {
	s.t.Helper()
	a := s.actor(client, options{})
	epoch := a.connect("x", "name="+client).Epoch
	code, text := s.once(options{}, "providers", "--json")
	if code != 0 {
		s.t.Fatalf("crier providers ended with %d: %s", code, text)
	}
	for line := range strings.Lines(text) {
		var p struct{ Name, Epoch string }
		if err := json.Unmarshal([]byte(line), &p); err != nil {
			s.t.Fatalf("%q: %v", line, err)
		}
		if p.Epoch == epoch && p.Name != provider {
			s.t.Errorf("%s has found %s, want %s", client, p.Name, provider)
		}
	}
	if !strings.Contains(text, epoch) {
		s.t.Errorf("%s has found a provider that is not announced: %s", client, text)
	}
	s.leave(a)
}

// TestOneAddress has a second provider, of the same user and of another, want the
// address of the first: it is refused and told by what, and the first does not
// notice. When the first is dead the address is free.
func TestOneAddress(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	first := s.serve()
	alice := s.actor("alice", options{})
	alice.connect("x", "name=alice room=r")
	alice.connect("say", "sendonly room=r")
	for i, uid := range []int{10001, 10009} {
		second := s.rival(fmt.Sprint("second-", i), uid)
		code := second.wait()
		second.said.wait()
		if words := second.said.String(); code != 78 || !strings.Contains(words, "/run/crier/crier.sock.lock") {
			t.Errorf("uid %d: ended with %d, want 78 and words that name the lock: %s", uid, code, words)
		}
		t.Logf("uid %d, while the first lives: %s", uid, second.said)
		alice.ask(nth(i+1, said("alice/say", "sent")), "send alice/say 10")
	}
	s.judge(alice, "say")
	if n := alice.count(event("alice/x", "reconnected")) + alice.count(event("alice/x", "restarted")); n > 0 {
		t.Error("the first provider's client has lost its link")
	}
	for i, uid := range []int{10009, 10001} {
		first.kill()
		first.wait()
		second := s.rival(fmt.Sprint("next-", i), uid)
		second.said.expect("^listening on ")
		alice.await(nth(i+1, event("alice/x", "restarted")))
		first = second
	}
	s.over(first)
}
