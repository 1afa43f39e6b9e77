package api

import (
	"errors"
	"strings"
	"testing"
)

func TestNames(t *testing.T) {
	type rule struct{ text, broken string } // broken is in the error; "" for a good one
	for noun, tc := range map[string]struct {
		check func(string) error
		limit int
		rules []rule
	}{
		"room": {CheckRoom, MaxRoomName, []rule{{"client-1-2", ""}, {"CLIENT-", ""}}},
		"name": {CheckName, MaxName, []rule{
			{"client-", "the provider's"},
			{"client-1-2", "the provider's"},
			{"Client-x", "the provider's"},
			{"CLIENT-X", "the provider's"},
			{"cLiEnT-" + strings.Repeat("x", MaxName), "the provider's"},
			{"client", ""},
			{"clients-x", ""},
			{"my client-x", ""},
		}},
	} {
		common := []rule{
			{"", "is empty"},
			{"x", ""},
			{"lobby", ""},
			{"two words", ""},
			{"Łódź 東京 🚀", ""},
			{"-", ""},
			{strings.Repeat("x", tc.limit), ""},
			{strings.Repeat("x", tc.limit+1), "too long"},
			{strings.Repeat("é", tc.limit/2), ""},
			{strings.Repeat("é", tc.limit/2) + "x", "too long"},
			{"\xff", "not valid UTF-8"},
			{"half a rune \xe2\x82", "not valid UTF-8"},
			{"surrogate \xed\xa0\x80", "not valid UTF-8"},
			{"overlong \xc0\xaf", "not valid UTF-8"},
			{"a\x00b", "control or format"},
			{"a\nb", "control or format"},
			{"a\tb", "control or format"},
			{"\x1b[31mred", "control or format"},
			{"a\x7fb", "control or format"},
			{"a\u0085b", "control or format"}, // next line
			{"a\u009bb", "control or format"}, // what begins an escape sequence in 8 bits
			{"a\u00adb", "control or format"}, // soft hyphen
			{"a\u200db", "control or format"}, // zero width joiner
			{"a\u202eb", "control or format"}, // right to left from here on
			{"a\u2066b", "control or format"}, // isolate
			{"\ufeffb", "control or format"},  // byte order mark
			{"a\U000e0041b", "control or format"},
			{" ", "starts with a space"},
			{" x", "starts with a space"},
			{"x ", "ends with a space"},
			{"\u00a0x", "starts with a space"},
			{"x\u3000", "ends with a space"},
			{"x\u2028", "ends with a space"},
		}
		for _, r := range append(common, tc.rules...) {
			err := tc.check(r.text)
			switch {
			case r.broken == "" && err != nil:
				t.Errorf("%s %q: %v", noun, r.text, err)
			case r.broken != "" && (!errors.Is(err, ErrBadName) || !strings.Contains(err.Error(), r.broken)):
				t.Errorf("%s %q: %v, want %q in it", noun, r.text, err, r.broken)
			}
		}
	}
}

func TestBadNamesAreShownSafely(t *testing.T) {
	for _, text := range []string{"\x1b]0;x\x07", "a\u202eb", "\xff\xfe"} {
		if err := CheckName(text); err == nil || strings.Contains(err.Error(), text) {
			t.Errorf("the error shows %q as it is: %v", text, err)
		}
	}
}

func TestFoldName(t *testing.T) {
	for _, same := range [][]string{
		{"anna", "Anna", "ANNA", "aNNa"},
		{"kelvin", "KELVIN", "\u212aelvin"},              // the Kelvin sign
		{"angstr\u00f6m \u00e5", "ANGSTR\u00d6M \u212b"}, // the Ångström sign
		{"ms", "MS", "m\u017f"},                          // long s
		{"\u03c3", "\u03a3", "\u03c2"},                   // sigma, capital, final
		{"ж", "Ж"},
		{"", ""},
		{"東京", "東京"},
	} {
		for _, name := range same {
			if FoldName(name) != FoldName(same[0]) {
				t.Errorf("%q and %q are not the same name", name, same[0])
			}
		}
	}
	for _, different := range [][2]string{
		{"strasse", "straße"}, // full folding, not simple
		{"i", "\u0131"},       // dotless
		{"e\u0301", "\u00e9"}, // not normalised
		{"anna", "anna "},
		{"a", "b"},
	} {
		if FoldName(different[0]) == FoldName(different[1]) {
			t.Errorf("%q and %q are the same name", different[0], different[1])
		}
	}
}

func TestFoldNameIsIdempotent(t *testing.T) {
	for _, name := range []string{"Anna", "\u212aelvin", "\u1e9e", "\u0130", "ǅ", "\U00010400"} {
		if folded := FoldName(name); FoldName(folded) != folded {
			t.Errorf("%q folds to %q, and that to %q", name, folded, FoldName(folded))
		}
	}
}

func TestKindsArePinned(t *testing.T) {
	for kind, want := range map[Kind]string{
		0: "kind 0", 1: "message", 2: "joined", 3: "left", 4: "renamed", 5: "gap", 6: "members",
		7: "reconnected", 8: "restarted", 9: "kind 9",
	} {
		if got := kind.String(); got != want {
			t.Errorf("kind %d is %q, want %q", uint32(kind), got, want)
		}
	}
}

func TestMethodsArePinned(t *testing.T) {
	for want, got := range []Method{
		MethodConnect, MethodSend, MethodSendTo, MethodRename, MethodWho, MethodRooms, MethodMembers, MethodCloseWith,
	} {
		if got != Method(want) {
			t.Errorf("method %d is %d", want, got)
		}
	}
}

func TestHandle(t *testing.T) {
	for handle, notifiable := range map[Handle]bool{0: false, 1: true, 2: false, 3: true, MaxHandle: true, MaxHandle - 1: false} {
		if handle.Notifiable() != notifiable {
			t.Errorf("handle %d is notifiable: %v", handle, !notifiable)
		}
	}
	if MaxHandle != 1<<31-1 {
		t.Errorf("handles go up to %d, want 31 bits", MaxHandle)
	}
}

func TestIdentityString(t *testing.T) {
	for want, id := range map[string]Identity{
		"uid 1000 pid 4242": {UID: 1000, GID: 1000, PID: 4242},
		"uid 0 pid 0":       {},

		"uid 1000 pid 0 container 0123456789ab": {UID: 1000, Container: "0123456789abcdef"},
		"uid 1000 pid 7 container 0123":         {UID: 1000, PID: 7, Container: "0123"},
		"spiffe://x/y":                          {UID: 1000, Subject: "spiffe://x/y"},
		"anonymous":                             {Subject: "anonymous"},
	} {
		if got := id.String(); got != want {
			t.Errorf("%+v is %q, want %q", id, got, want)
		}
	}
}
