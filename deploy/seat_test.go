package deploy

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// seat is a line of crier who --json.
type seat struct {
	Room      string
	Name      string
	Handle    int
	Session   int
	PID       int
	UID       int
	GID       int
	Container string
	Subject   string // of its certificate
	Awaited   bool
	SendOnly  bool `json:"send_only"`
}

type seats []seat

// who asks a provider for the connections that there are.
func (s *scene) who(args ...string) seats {
	s.t.Helper()
	code, text := s.once(options{}, append([]string{"who", "--json"}, args...)...)
	if code != 0 {
		s.t.Fatalf("crier who ended with %d: %s", code, text)
	}
	return parseSeats(s.t, text)
}

func parseSeats(t testing.TB, text string) (list seats) {
	t.Helper()
	for line := range strings.Lines(text) {
		var one seat
		if err := json.Unmarshal([]byte(line), &one); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		list = append(list, one)
	}
	return list
}

// find returns which of the seats has that name, -1 if none does.
func (l seats) find(name string) int {
	return slices.IndexFunc(l, func(s seat) bool { return s.Name == name })
}

// once has a container do something and end. It returns the exit code, and what it
// wrote.
func (s *scene) once(o options, args ...string) (code int, text string) {
	s.t.Helper()
	c := s.run(fmt.Sprintf("once-%d", s.visits.Add(1)), o, args...)
	c.log.wait()
	c.said.wait()
	return c.wait(), c.log.String() + c.said.String()
}
