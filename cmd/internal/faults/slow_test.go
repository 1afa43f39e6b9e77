package faults_test

import (
	"fmt"
	"testing"
	"time"

	"crier.local/cmd/internal/faults"
)

// TestSlowAmongThousand has one process with a thousand connections, of which one
// is never read and two are read once a second, which is less than keeps a seat:
// 16 KiB within the stall deadline. All others lose nothing, and no send waits for
// longer than that deadline.
func TestSlowAmongThousand(t *testing.T) {
	apart(t)
	const messages, size = 700, 7 << 10 // more than a queue and a window hold
	count := fewer(1000, 200)
	overBoth(t, "readers that stop or crawl, among many of one process", faults.Setup{Serve: []string{"--stall", stall.String()}}, func(s *scene) {
		s.witness("r")
		crowd := s.actor()
		s.crowd(crowd, "c", count-3, "room=r name=c")
		s.connect(crowd, "never", "room=r name=never window=65536")
		s.connect(crowd, "crawls", "room=r name=crawls window=65536")
		s.connect(crowd, "gap", "room=r name=gap gap window=65536")
		s.tell(crowd, "read %s never", crowd.Label("never"))
		s.tell(crowd, "read %s every=1s", crowd.Label("crawls"))
		s.tell(crowd, "read %s every=1s", crowd.Label("gap"))
		sender := s.uninvolved()
		s.connect(sender, "talk", "room=r sendonly")
		label := sender.Label("talk")
		var sends pauses
		heard := map[string]int{}
		s.listen(func(r faults.Record) {
			switch {
			case r.At == faults.AtOK && r.Conn == label:
				sends.happens()
			case r.Kind == "message":
				heard[r.Conn]++
			}
		})
		evicted := crowd.Watch(nth(2, func(r faults.Record) bool { return r.At == faults.AtEnd && r.Reason == "slow" }))
		began := time.Now()
		_, err := sender.Ask(s.ctx, faults.Said(label, "sent"), "send %s %d size=%d", label, messages, size)
		s.must(err)
		took := time.Since(began)
		for _, conn := range []string{"never", "crawls", "gap"} {
			s.tell(crowd, "read %s all", crowd.Label(conn))
		}
		s.wait(evicted)
		s.n = count
		s.note = fmt.Sprintf("a send waited %s at most, deadline %v; %d sends took %s", short(sends.worst), stall, messages, short(took))
		s.check()
		for i := range count - 3 {
			if n := heard[crowd.Label(fmt.Sprintf("c.%d", i))]; n < messages {
				t.Fatalf("connection %d has heard %d messages, want %d", i, n, messages)
			}
		}
	})
}
