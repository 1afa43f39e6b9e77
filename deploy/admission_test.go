package deploy

import (
	"strings"
	"testing"
)

// Who is in no group that matters.
const strangerIDs = "30001:30001"

// TestAdmission has all sorts of users try to attach. The directory decides first,
// and then the provider does. Root is nobody special to a directory without the
// capability for it, which these containers have not: it needs the group.
func TestAdmission(t *testing.T) {
	t.Parallel()
	const exact = "unix:///run/crier/crier.sock"
	withGroup := []string{"--group-add", "20000"}
	for _, volume := range []struct {
		name, options string
		cases         []admission
	}{
		{"everybody may enter", "mode=2777", []admission{
			{"a stranger", strangerIDs, nil, "", 77, "does not admit uid 30001 (gid 30001)"},
			{"a stranger who knows the address", strangerIDs, nil, exact, 77, "does not admit uid 30001 (gid 30001)"},
			{"another group besides", strangerIDs, []string{"--group-add", "30002"}, "", 77, "does not admit uid 30001 (gid 30001)"},
			{"the group, as the first", "30001:20000", nil, "", 0, ""},
			{"the group, besides", strangerIDs, withGroup, "", 0, ""},
			{"the provider's user", "10001:30001", nil, "", 0, ""},
			{"root, without capabilities", "0:0", nil, "", 0, ""},
			{"nobody's user", "65534:65534", nil, "", 77, "does not admit uid 65534 (gid 65534)"},
		}},
		{"the group may enter", "mode=2770", []admission{
			{"a stranger", strangerIDs, nil, "", 77, "permission denied"},
			{"a stranger who knows the address", strangerIDs, nil, exact, 77, "permission denied"},
			{"another group besides", strangerIDs, []string{"--group-add", "30002"}, "", 77, "permission denied"},
			{"the group, as the first", "30001:20000", nil, "", 0, ""},
			{"the group, besides", strangerIDs, withGroup, "", 0, ""},
			{"root, without capabilities", "0:0", nil, "", 77, "permission denied"},
			{"root, with the group", "0:0", withGroup, "", 0, ""},
			{"root, who may pass over permissions", "0:0", []string{"--cap-add", "DAC_OVERRIDE"}, "", 0, ""},
		}},
	} {
		t.Run(volume.name, func(t *testing.T) {
			s := newScene(t, volume.options)
			provider := s.serve()
			for _, c := range volume.cases {
				c.try(s)
			}
			if seats := s.who(); len(seats) > 0 {
				t.Errorf("somebody has taken a seat: %+v", seats)
			}
			t.Logf("the provider's words:\n%s", provider.said)
		})
	}
}

// admission is a user, and what is to become of that.
type admission struct {
	who     string
	user    string
	flags   []string
	address string // empty to look for the provider
	code    int
	words   string
}

func (a admission) try(s *scene) {
	s.t.Helper()
	args := []string{"ping", "--wait", "100ms"}
	if a.address != "" {
		args = append(args, "--address", a.address)
	}
	code, text := s.once(options{user: a.user, flags: a.flags}, args...)
	if code != a.code || !strings.Contains(text, a.words) {
		s.t.Errorf("%s: ended with %d, want %d and %q:\n%s", a.who, code, a.code, a.words, text)
	}
	if code != 0 {
		s.t.Logf("%s: %d\n%s", a.who, code, text)
	}
}
