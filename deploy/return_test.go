package deploy

import (
	"fmt"
	"testing"
)

// TestReturn has the provider end and come again, in every way that containers
// have: clients in other containers come back by themselves. Each is told once, and
// knows who is there right afterwards; nothing is left of the time before.
func TestReturn(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	provider := s.serve()
	alice, bob := s.actor("alice", options{}), s.actor("bob", options{user: "10003:20000"})
	alice.connect("x", "presence name=alice room=r")
	bob.connect("x", "presence name=bob room=r")
	bob.connect("say", "sendonly room=r")
	handles := map[int]string{}
	times := 0
	returns := func(how string, again func()) {
		t.Helper()
		times++
		for _, seat := range s.who() {
			handles[seat.Handle] = "before " + how
		}
		again()
		for _, conn := range []string{"alice/x", "bob/x"} {
			s.isBack(s.actorOf(conn), conn, times)
		}
		bob.ask(nth(times, said("bob/say", "sent")), "send bob/say 20")
		seats := s.who()
		if len(seats) != 3 {
			t.Errorf("%s: %d connections, want 3: %+v", how, len(seats), seats)
		}
		for _, seat := range seats {
			if of := handles[seat.Handle]; of != "" {
				t.Errorf("%s: handle %d of %s is one of %s", how, seat.Handle, seat.Name, of)
			}
		}
	}
	returns("docker restart", func() {
		provider.restart()
		provider.said.expect("^listening on ")
	})
	returns("docker kill and docker start", func() {
		provider.kill()
		provider.wait()
		provider.start()
		provider.said.expect("^listening on ")
	})
	returns("another container of the same user", func() {
		docker(t, "rm", "--force", provider.name)
		provider = s.serve()
	})
	returns("another container of another user of the group", func() {
		docker(t, "rm", "--force", provider.name)
		provider = s.run("heir", options{user: fmt.Sprintf("10009:%d", groupID)}, "serve", "--allow-gid", fmt.Sprint(groupID))
		provider.said.expect("^listening on ")
	})
	s.judge(bob, "say")
	for _, conn := range []string{"alice/x", "bob/x"} {
		a := s.actorOf(conn)
		if n := a.count(event(conn, "restarted")) + a.count(event(conn, "reconnected")); n != times {
			t.Errorf("%s was told %d times, want %d", conn, n, times)
		}
	}
	s.over(provider)
}

// isBack returns once a connection is told for the nth time that the provider began
// anew, and then who is there.
func (s *scene) isBack(a *actor, conn string, times int) {
	s.t.Helper()
	told, next := 0, false
	members := a.await(func(r record) bool {
		switch {
		case !event(conn, "restarted")(r):
			return next && event(conn, "members")(r)
		default:
			told++
			next = told == times
			return false
		}
	})
	for _, name := range members.Members { // the others come when they come
		if name != "alice" && name != "bob" {
			s.t.Errorf("%s is told that %s is there", conn, name)
		}
	}
	if len(members.Members) == 0 {
		s.t.Errorf("%s is told of nobody, not even of itself", conn)
	}
}

// nth matches the nth record that match does.
func nth(n int, match func(record) bool) func(record) bool {
	return func(r record) bool {
		if match(r) {
			n--
		}
		return n == 0
	}
}
