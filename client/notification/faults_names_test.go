package notification_test

import (
	"errors"
	"strings"
	"testing"

	"crier.local/api"
	"crier.local/provider"
	service "crier.local/provider/notification"
)

func TestNames(t *testing.T) {
	w := newWorld(t)
	w.serve(provider.Options{}, service.Options{})
	c := w.dial()
	w.connectBy(c, api.Connect{Room: "r", Name: "Straße ΑΣ"})
	seats := func() int {
		seats, err := c.Who(w.ctx, "")
		if err != nil {
			t.Fatal(err)
		}
		return len(seats)
	}
	long := func(n int) string { return strings.Repeat("x", n) }
	for _, tc := range []struct {
		what, room, name string
		want             error
	}{
		{"free", "r", "other", nil},
		{"taken", "r", "Straße ΑΣ", api.ErrNameTaken},
		{"taken, in other case", "r", "STRAßE ας", api.ErrNameTaken},
		{"not folded into two letters", "r", "strasse ας", nil},
		{"taken in another room", "R", "Straße ΑΣ", nil},
		{"longest", "r", long(api.MaxName), nil},
		{"too long", "r", long(api.MaxName + 1), api.ErrBadName},
		{"not UTF-8", "r", "a\xffb", api.ErrBadName},
		{"control", "r", "a\x1bb", api.ErrBadName},
		{"newline", "r", "a\n", api.ErrBadName},
		{"zero", "r", "a\x00b", api.ErrBadName},
		{"C1", "r", "a\u0085b", api.ErrBadName},
		{"bidi", "r", "a\u202eb", api.ErrBadName},
		{"zero width", "r", "a\u200bb", api.ErrBadName},
		{"space in front", "r", " a", api.ErrBadName},
		{"space behind", "r", "a\u00a0", api.ErrBadName},
		{"space inside", "r", "a b", nil},
		{"reserved", "r", "client-1", api.ErrBadName},
		{"reserved, in other case", "r", "CLIENT-1", api.ErrBadName},
		{"nearly reserved", "r", "client", nil},
		{"no name", "r", "", nil},
		{"no name again", "r", "", nil},
		{"longest room", long(api.MaxRoomName), "", nil},
		{"room too long", long(api.MaxRoomName + 1), "", api.ErrBadName},
		{"room with a control", "r\t", "", api.ErrBadName},
		{"room not UTF-8", "\xc3", "", api.ErrBadName},
	} {
		before := seats()
		x, err := c.Connect(w.ctx, api.Connect{Room: tc.room, Name: tc.name})
		switch {
		case !errors.Is(err, tc.want):
			t.Errorf("%s: %v, want %v", tc.what, err, tc.want)
		case tc.want != nil && seats() != before:
			t.Errorf("%s: refused, but there are %d connections instead of %d", tc.what, seats(), before)
		case tc.want == nil && tc.name != "" && x.Name() != tc.name:
			t.Errorf("%s: name %q, want %q", tc.what, x.Name(), tc.name)
		case tc.want == nil && tc.name == "" && !strings.HasPrefix(x.Name(), api.ReservedPrefix):
			t.Errorf("%s: name %q", tc.what, x.Name())
		}
	}
}

func TestEmptyRoomIsTheLobby(t *testing.T) {
	w := newWorld(t)
	w.serve(provider.Options{}, service.Options{})
	x, y := w.connect(api.Connect{}), w.connect(api.Connect{Room: api.DefaultRoom})
	if x.Room() != api.DefaultRoom {
		t.Errorf("room %q", x.Room())
	}
	w.send(x, "hello")
	if e := w.next(y); string(e.Payload) != "hello" || e.From != x.Name() {
		t.Errorf("heard %q from %q", e.Payload, e.From)
	}
}

func TestRenameRules(t *testing.T) {
	w := newWorld(t)
	w.serve(provider.Options{}, service.Options{})
	witness := w.connect(api.Connect{Presence: true})
	x := w.connect(api.Connect{Name: "x"})
	w.connect(api.Connect{Name: "y"})
	for _, tc := range []struct {
		name string
		want error
	}{
		{"y", api.ErrNameTaken},
		{"Y", api.ErrNameTaken},
		{"", api.ErrBadName},
		{"client-2", api.ErrBadName},
		{"a\x07", api.ErrBadName},
		{strings.Repeat("x", api.MaxName+1), api.ErrBadName},
		{"X", nil},
		{"z", nil},
	} {
		if err := x.Rename(w.ctx, tc.name); !errors.Is(err, tc.want) {
			t.Errorf("rename to %q: %v, want %v", tc.name, err, tc.want)
		}
	}
	w.connect(api.Connect{Name: "x"}) // free again
	var renamed []string
	for _, e := range w.rest(witness) {
		if e.Kind == api.KindRenamed {
			renamed = append(renamed, e.From+" "+e.To)
		}
	}
	if got := strings.Join(renamed, ", "); got != "x X, X z" {
		t.Errorf("renamed: %s", got)
	}
}
