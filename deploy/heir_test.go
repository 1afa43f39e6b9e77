package deploy

import (
	"fmt"
	"strconv"
	"testing"
)

// TestHeir kills a client whose child has inherited the socket, and lives on: others
// are told of the death all the same. The client is not what the container was
// started for, nor a child of its init: the container, and with it the heir, would
// end with the client.
func TestHeir(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	provider := s.serve()
	house := s.run("house", tooled(t), "sleep", "600")
	witness := s.actor("witness", options{})
	witness.connect("see", "presence name=witness room=r")
	witness.connect("mark", "sendonly room=r")
	parent := s.actorIn(house, "parent")
	parent.connect("x", "name=parent room=r")
	heir := parent.ask(said("", "forked"), "fork").Count
	if s.sockets(house, heir) == 0 {
		t.Fatal("the heir has inherited no socket")
	}
	parent.killed = true
	docker(t, "exec", house.name, "/tool", "orphan", fmt.Sprint(heir))
	r := witness.await(left("witness/see", "parent"))
	if r.Reason != "died" {
		t.Errorf("it left because it %s, want died", r.Reason)
	}
	if s.sockets(house, heir) == 0 {
		t.Error("the heir has no socket any more: it proves nothing")
	}
	parent.log.wait()
	s.judge(witness, "mark")
	s.over(provider)
}

// sockets returns how many sockets a process has open in a container.
func (s *scene) sockets(house *container, pid uint64) int {
	s.t.Helper()
	n, err := strconv.Atoi(docker(s.t, "exec", house.name, "/tool", "sockets", fmt.Sprint(pid)))
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}
