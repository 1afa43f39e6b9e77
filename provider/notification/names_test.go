package notification

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"crier.local/api"
	"crier.local/api/wire"
)

func TestNames(t *testing.T) {
	long := strings.Repeat("n", api.MaxName)
	tests := []struct {
		connect api.Connect
		want    error
	}{
		{api.Connect{Name: "Alice"}, nil},
		{api.Connect{Name: "alice"}, api.ErrNameTaken},
		{api.Connect{Name: "ALICE", SendOnly: true}, api.ErrNameTaken},
		{api.Connect{Name: "alice", Room: "r"}, nil},
		{api.Connect{Name: "Σίσυφος"}, nil},
		{api.Connect{Name: "σίσυφοσ"}, api.ErrNameTaken}, // the two small sigmas are one letter
		{api.Connect{Name: "client-1"}, api.ErrBadName},
		{api.Connect{Name: "CLIENT-x"}, api.ErrBadName},
		{api.Connect{Name: "client"}, nil},
		{api.Connect{Name: " a"}, api.ErrBadName},
		{api.Connect{Name: "a\u202e"}, api.ErrBadName},
		{api.Connect{Name: "a\x1b"}, api.ErrBadName},
		{api.Connect{Name: long[1:]}, nil},
		{api.Connect{Name: long}, nil},
		{api.Connect{Name: long + "n"}, api.ErrBadName},
		{api.Connect{Room: strings.Repeat("r", api.MaxRoomName)}, nil},
		{api.Connect{Room: strings.Repeat("r", api.MaxRoomName+1)}, api.ErrBadName},
		{api.Connect{Room: "r "}, api.ErrBadName},
	}
	bubble(t, Options{}, func(t *testing.T, h *house) {
		p := h.attach(t)
		session := p.open(1)
		w := p.connectIn(session, api.Connect{Name: "w", Presence: true})
		w.events()
		for _, test := range tests {
			before, rooms := len(slices.Collect(h.Resources())), len(h.service.all())
			s, err := p.tryConnect(session, test.connect)
			expectError(t, err, test.want)
			if test.want == nil {
				continue
			}
			if s != nil || len(slices.Collect(h.Resources())) != before || len(h.service.all()) != rooms {
				t.Errorf("%+v left something behind", test.connect)
			}
		}
		expectEvents(t, w, "+Alice +Σίσυφος +client +"+long[1:]+" +"+long)
	})
}

func TestRename(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, h *house) {
		p := h.attach(t)
		w, a := p.connect(api.Connect{Name: "w", Presence: true}), p.connect(api.Connect{Name: "a", Presence: true})
		w.events()
		a.events()
		for _, step := range []struct {
			to   string
			want error
			told string
		}{
			{"b", nil, "a>b"},
			{"B", nil, "b>B"},
			{"B", nil, ""},
			{"W", api.ErrNameTaken, ""},
			{"client-9", api.ErrBadName, ""},
			{"", api.ErrBadName, ""},
			{"a", nil, "B>a"},
		} {
			_, err := a.invoke(api.MethodRename, wire.EncodeRename(step.to))
			expectError(t, err, step.want)
			expectEvents(t, w, step.told)
		}
		a.send("x")
		expectEvents(t, w, "a:x")
		expectEvents(t, a, "")
		b := p.connect(api.Connect{Name: "b", Presence: true})
		expectEvents(t, b, "[b,w,a]")
	})
}

func TestCloseWith(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, h *house) {
		w := h.attach(t).connect(api.Connect{Name: "w", Presence: true})
		gateway := h.attach(t)
		for _, reason := range []api.Reason{api.ReasonClosed, api.ReasonDied, api.ReasonUnreachable, api.ReasonSlow, api.ReasonLimit} {
			guest := gateway.connect(api.Connect{Name: "guest"})
			w.events()
			if _, err := guest.invoke(api.MethodCloseWith, wire.EncodeCloseWith(reason, "no pong")); err != nil {
				t.Fatal(err)
			}
			if left := w.events(); len(left) != 1 || left[0].Reason != reason || left[0].Note != "no pong" ||
				left[0].By != w.who("")[0].Identity.String() || left[0].From != "guest" {
				t.Errorf("w hears %+v", left)
			}
			if _, err := guest.send("x"); !errors.Is(err, api.ErrUnknownHandle) {
				t.Errorf("sending on a closed connection: %v", err)
			}
		}
		guest := gateway.connect(api.Connect{Name: "guest"})
		w.events()
		for _, args := range [][]byte{
			wire.EncodeCloseWith(api.ReasonReplaced, ""),
			wire.EncodeCloseWith(api.ReasonGoingAway, ""),
			wire.EncodeCloseWith(0, ""),
			wire.EncodeCloseWith(api.ReasonDied, strings.Repeat("x", maxNote+1)),
		} {
			if _, err := guest.invoke(api.MethodCloseWith, args); api.CodeOf(err) != api.CodeCall {
				t.Errorf("error %v", err)
			}
		}
		expectEvents(t, w, "")
		if _, err := guest.invoke(api.MethodCloseWith, wire.EncodeCloseWith(api.ReasonDied, strings.Repeat("x", maxNote))); err != nil {
			t.Error(err)
		}
		guest.die()
		expectEvents(t, w, "-guest(died)")
	})
}
