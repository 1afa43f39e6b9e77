package api_test

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"crier.local/api"
)

// FuzzEndpoint: what is read as an endpoint is one that can be used, and written
// it is what was read.
func FuzzEndpoint(f *testing.F) {
	for _, text := range []string{
		"", "unix:///run/crier/crier.sock", "unix://relative", "unix://", "unix:///a\x00b", "unix:///" + strings.Repeat("x", 200),
		"tcp://127.0.0.1:4000", "tcp://[::1]:4000", "tcp://:4000", "tcp://host:", "tcp://host", "tcp://a:b:c", "tcp://host:http",
		"tcp://[fe80::1%eth0]:1", "udp://127.0.0.1:1", "://", "unix:///a://b", "/run/crier.sock",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		e, err := api.ParseEndpoint(text)
		if err != nil {
			if e.Validate() == nil {
				t.Errorf("%q is refused (%v), and %+v is valid", text, err, e)
			}
			return
		}
		if e.String() != text {
			t.Errorf("%q is read as %q", text, e)
		}
		switch e.Network {
		case "unix":
			if !strings.HasPrefix(e.Address, "/") || len(e.Address) > api.MaxSocketPath || strings.Contains(e.Address, "\x00") {
				t.Errorf("%q is read as a path that the kernel does not take: %+v", text, e)
			}
		case "tcp":
			if i := strings.LastIndex(e.Address, ":"); i < 0 || i == len(e.Address)-1 {
				t.Errorf("%q is read as an address without a port: %+v", text, e)
			}
		default:
			t.Errorf("%q is read as %+v", text, e)
		}
	})
}

// FuzzNames: a name that is allowed keeps every rule, and folding joins just the
// names that differ by case alone.
func FuzzNames(f *testing.F) {
	for _, pair := range [][2]string{
		{"", "a"}, {"Anna", "aNNA"}, {"client-1", "CLIENT-1"}, {"ſtraße", "STRASSE"}, {"K", "\u212a"}, {"client-", "clıent-"},
		{" a", "a "}, {"a\u00a0", "\u3000a"}, {"a\x00", "a\u200b"}, {"\xff", "a\xffb"}, {strings.Repeat("x", 65), strings.Repeat("é", 64)},
		{"\u202eevil", "a\u2066b"}, {"Ǆ", "ǆ"}, {"ς", "Σ"}, {"İ", "i"}, {"\x1b[31m", "a\u0085"},
	} {
		f.Add(pair[0], pair[1])
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		for _, name := range []string{a, b} {
			checkName(t, name, api.CheckName(name), api.MaxName)
			checkName(t, name, api.CheckRoom(name), api.MaxRoomName)
			fold := api.FoldName(name)
			if api.FoldName(fold) != fold {
				t.Errorf("%q folds to %q, and that to %q", name, fold, api.FoldName(fold))
			}
			if utf8.ValidString(name) && !strings.EqualFold(name, fold) {
				t.Errorf("%q folds to %q, which is another name", name, fold)
			}
			if api.CheckName(name) == nil && len(name) >= 7 && strings.EqualFold(name[:7], api.ReservedPrefix) {
				t.Errorf("%q is allowed", name)
			}
		}
		same := api.FoldName(a) == api.FoldName(b)
		if utf8.ValidString(a) && utf8.ValidString(b) && same != strings.EqualFold(a, b) {
			t.Errorf("%q and %q fold to the same: %t, and differ by case alone: %t", a, b, same, strings.EqualFold(a, b))
		}
	})
}

// checkName holds a verdict against the rules, told in other words.
func checkName(t *testing.T, name string, verdict error, limit int) {
	t.Helper()
	fits := name != "" && len(name) <= limit && utf8.ValidString(name) &&
		strings.TrimFunc(name, unicode.IsSpace) == name &&
		!strings.ContainsFunc(name, func(r rune) bool { return unicode.Is(unicode.Cc, r) || unicode.Is(unicode.Cf, r) })
	reserved := strings.HasPrefix(api.FoldName(name), api.FoldName(api.ReservedPrefix))
	if fits != (verdict == nil) && (!reserved || limit != api.MaxName) {
		t.Errorf("%q: %v, and it keeps the rules: %t", name, verdict, fits)
	}
	if verdict != nil && !strings.HasPrefix(verdict.Error(), api.ErrBadName.Error()) {
		t.Errorf("%q: %v", name, verdict)
	}
}

// FuzzRestriction makes rules of bytes and asks whom they let pass, and a model
// that knows no shortcuts says whether that is so.
func FuzzRestriction(f *testing.F) {
	f.Add([]byte{}, "a", uint32(1), uint32(2), byte(0))
	f.Add([]byte{0, 1, 1, 2, 4, 0, 0, 0}, "a", uint32(1), uint32(2), byte(1))
	f.Add([]byte{1, 0, 0, 0, 0, 1, 2, 0}, "b", uint32(1), uint32(2), byte(3))
	f.Add([]byte{2, 0, 0, 0, 3, 1, 0, 0}, "c", uint32(0), uint32(0), byte(2))
	f.Add([]byte{2, 0, 0, 0, 3, 0, 0, 0}, "c", uint32(0), uint32(0), byte(2))
	f.Add([]byte{0, 0, 0, 1, 1, 0, 1, 1, 4, 0, 0, 0}, "a", uint32(1<<31), uint32(1<<32-1), byte(2))
	f.Fuzz(func(t *testing.T, program []byte, name string, major, minor uint32, tagged byte) {
		var m restriction
		r := api.Selector{UUID: "fuzz/service", Major: 1}.Restrict()
		for ; len(program) >= 4; program = program[4:] {
			m.add(r, program)
		}
		if (r.Err() != nil) != m.contradicts {
			t.Fatalf("error %v of %+v, want one: %t", r.Err(), m, m.contradicts)
		}
		if m.contradicts {
			return
		}
		var tags []string
		for i, tag := range fuzzTags {
			if tagged&(1<<i) != 0 {
				tags = append(tags, tag)
			}
		}
		version := api.Version{Major: major, Minor: minor}
		if got, want := r.Allows(name, version, tags), m.allows(name, version, tags); got != want {
			t.Errorf("%q %v %q passes %+v: %t, want %t", name, version, tags, m, got, want)
		}
	})
}

var (
	fuzzNames = []string{"a", "b", ""}
	fuzzTags  = []string{"x", "y", "z"}
)

// restriction is a model of a restriction: all its rules.
type restriction struct {
	names       []fuzzRule
	tags        map[string][]bool
	contradicts bool
}

type fuzzRule struct {
	name         string
	allow        bool
	major, minor int
}

// add adds the rule that four bytes tell to the real one and to the model.
func (m *restriction) add(r *api.Restricted, b []byte) {
	number := func(b byte) int { return int(b%4) - 1 } // api.Any, or small
	switch b[0] % 5 {
	case 0, 1:
		rule := fuzzRule{fuzzNames[int(b[1])%len(fuzzNames)], b[0]%5 == 0, number(b[2]), number(b[3])}
		if rule.allow {
			r.AllowName(rule.name, rule.major, rule.minor)
		} else {
			r.DenyName(rule.name, rule.major, rule.minor)
		}
		m.addName(rule)
	case 2, 3:
		tags := []string{fuzzTags[int(b[1])%len(fuzzTags)], fuzzTags[int(b[2])%len(fuzzTags)]}
		allow := b[0]%5 == 2
		if allow {
			r.AllowTags(tags...)
		} else {
			r.DenyTags(tags...)
		}
		m.addTags(tags, allow)
	case 4:
		if b[1] == 77 {
			r.Restrict()
			m.contradicts = true
		}
	}
}

func (m *restriction) addName(rule fuzzRule) {
	m.contradicts = m.contradicts || rule.major == api.Any && rule.minor != api.Any
	for major := range 3 { // two rules contradict each other if there is a version for both
		for minor := range 3 {
			for _, old := range m.names {
				if old.name == rule.name && old.applies(major, minor) && rule.applies(major, minor) {
					m.contradicts = true
				}
			}
		}
	}
	m.names = append(m.names, rule)
}

func (m *restriction) addTags(tags []string, allow bool) {
	if m.tags == nil {
		m.tags = map[string][]bool{}
	}
	for _, tag := range tags {
		for _, old := range m.tags[tag] {
			m.contradicts = m.contradicts || old != allow
		}
		m.tags[tag] = append(m.tags[tag], allow)
	}
}

func (r fuzzRule) applies(major, minor int) bool {
	return (r.major == api.Any || r.major == major) && (r.minor == api.Any || r.minor == minor)
}

// allows: a deny wins; where there is an allow, one has to apply.
func (m *restriction) allows(name string, version api.Version, tags []string) bool {
	needed, found := false, false
	for _, rule := range m.names {
		applies := rule.name == name && rule.applies(int(version.Major), int(version.Minor))
		if applies && !rule.allow {
			return false
		}
		needed, found = needed || rule.allow, found || applies
	}
	tagNeeded, tagFound := false, false
	for tag, rules := range m.tags {
		has := false
		for _, own := range tags {
			has = has || own == tag
		}
		if has && !rules[0] {
			return false
		}
		tagNeeded, tagFound = tagNeeded || rules[0], tagFound || has && rules[0]
	}
	return (!needed || found) && (!tagNeeded || tagFound)
}

// FuzzSelector: who accepts whom, in the words of the rule.
func FuzzSelector(f *testing.F) {
	f.Add("a", uint32(1), uint32(2), "a", uint32(1), uint32(1))
	f.Add("a", uint32(1), uint32(2), "a", uint32(1), uint32(3))
	f.Add("a", uint32(1), uint32(2), "b", uint32(1), uint32(2))
	f.Add("", uint32(0), uint32(0), "", uint32(0), uint32(0))
	f.Fuzz(func(t *testing.T, uuid string, major, minor uint32, asked string, askedMajor, askedMinor uint32) {
		s, o := api.Selector{UUID: uuid, Major: major, Minor: minor}, api.Selector{UUID: asked, Major: askedMajor, Minor: askedMinor}
		if both := s.Accepts(o) && o.Accepts(s); both != s.Matches(o) || s.Matches(o) != o.Matches(s) {
			t.Errorf("%s and %s match: %t, accept each other: %t", s, o, s.Matches(o), both)
		}
		if s.Accepts(o) && (uuid != asked || major != askedMajor || minor < askedMinor) {
			t.Errorf("%s accepts %s", s, o)
		}
		if (s.Validate() == nil) != (uuid != "") || !s.Accepts(s) {
			t.Errorf("%s: %v", s, s.Validate())
		}
		if s.Restrict().Selector() != s || !s.Restrict().Allows(asked, api.Version{Major: major}, nil) {
			t.Errorf("%s without rules restricts", s)
		}
	})
}
