package notification

import (
	"testing"

	"crier.local/api"
	"crier.local/api/wire"
)

func TestWhoRoomsAndMembers(t *testing.T) {
	bubble(t, Options{Queue: 4000, Reserve: 1}, func(t *testing.T, h *house) {
		p, q := h.attach(t), h.attach(t)
		p.connect(api.Connect{Room: "r", Name: "slow", Window: 1})
		a := q.connect(api.Connect{Room: "r", Name: "a"})
		pub := q.connect(api.Connect{Room: "r", SendOnly: true})
		q.connect(api.Connect{Room: "s"})
		n, _ := a.fill(1000)
		pub.start("too")
		pub.start("and")
		seats := a.who("r")
		if len(seats) != 3 {
			t.Fatalf("who: %+v", seats)
		}
		if s := seats[0]; s.Name != "a" || s.Awaited || s.Parked != 1 || s.SendOnly || s.Handle != a.handle || s.Session != a.session || !s.Identity.Local {
			t.Errorf("a: %+v", s)
		}
		if s := seats[1]; s.Name != pub.connected.Name || s.Parked != 2 || !s.SendOnly {
			t.Errorf("pub: %+v", s)
		}
		if s := seats[2]; s.Name != "slow" || !s.Awaited || s.Parked != 0 || s.Queued != n-1 || s.QueuedBytes < int64(1000*(n-1)) {
			t.Errorf("slow: %+v", s)
		}
		if got := len(a.who("")); got != 4 {
			t.Errorf("%d seats in all", got)
		}
		if got := len(a.who("none")); got != 0 {
			t.Errorf("%d seats in a room that is not there", got)
		}
		e, err := q.result(q.call(wire.ClientEntry{Kind: wire.Invoke, Session: a.session, Method: api.MethodRooms}))
		if err != nil {
			t.Fatal(err)
		}
		rooms, err := wire.DecodeRooms(e.Body)
		if err != nil || len(rooms) != 2 || rooms[0].Name != "r" || rooms[0].Members != 2 || rooms[0].Seq == 0 || rooms[1].Name != "s" {
			t.Errorf("rooms %+v, %v", rooms, err)
		}
		body, err := pub.invoke(api.MethodMembers, nil)
		if err != nil {
			t.Fatal(err)
		}
		members, err := wire.DecodeMembers(body)
		if err != nil || len(members) != 2 || members[0].Name != "a" || members[1].Name != "slow" {
			t.Errorf("members %+v, %v", members, err)
		}
	})
}
