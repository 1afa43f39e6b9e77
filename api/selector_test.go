package api

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestSelectorAccepts(t *testing.T) {
	provided := Selector{UUID: "ping", Major: 7, Minor: 9}
	for _, tc := range []struct {
		asked   Selector
		matches bool
		accepts bool
	}{
		{Selector{"ping", 7, 9}, true, true},
		{Selector{"ping", 7, 8}, false, true},
		{Selector{"ping", 7, 0}, false, true},
		{Selector{"ping", 7, 10}, false, false},
		{Selector{"ping", 6, 9}, false, false},
		{Selector{"ping", 8, 9}, false, false},
		{Selector{"ping", 8, 0}, false, false},
		{Selector{"Ping", 7, 9}, false, false},
		{Selector{"", 7, 9}, false, false},
	} {
		if got := provided.Matches(tc.asked); got != tc.matches {
			t.Errorf("%s matches %s: %v, want %v", provided, tc.asked, got, tc.matches)
		}
		if got := provided.Accepts(tc.asked); got != tc.accepts {
			t.Errorf("%s accepts %s: %v, want %v", provided, tc.asked, got, tc.accepts)
		}
	}
}

func TestSelectorValidate(t *testing.T) {
	for _, uuid := range []string{"x", "f55c4b5e-0f3a-4f8e-9a52-6c1f0f0d7c11", "any text will do", "\x00"} {
		if err := (Selector{UUID: uuid}).Validate(); err != nil {
			t.Errorf("uuid %q: %v", uuid, err)
		}
	}
	if err := (Selector{Major: 1}).Validate(); err == nil {
		t.Error("an empty uuid is valid")
	}
}

func TestSelectorString(t *testing.T) {
	if got := (Selector{"ping", 7, 9}).String(); got != "ping@7.9" {
		t.Errorf("got %s", got)
	}
	if got := (Version{1, 2, 5}).String(); got != "1.2.5" {
		t.Errorf("got %s", got)
	}
}

// offered is a provider as a restriction sees it.
type offered struct {
	name    string
	version Version
	tags    []string
}

// The two providers that the original's test of restrictions has.
func pingProviders() []offered {
	return []offered{
		{"ping/A", Version{1, 2, 5}, []string{"yada", "A", "!B"}},
		{"ping/B", Version{3, 4, 17}, []string{"yada", "!A", "B"}},
	}
}

func TestRestrict(t *testing.T) {
	none, a, b, both := "", "ping/A", "ping/B", "ping/A ping/B"
	for name, tc := range map[string]struct {
		rules func(r *Restricted)
		want  string // the names of the providers that pass
	}{
		"no rule": {func(r *Restricted) {}, both},

		"allow a name":               {func(r *Restricted) { r.AllowName("ping/B", Any, Any) }, b},
		"allow a name's major":       {func(r *Restricted) { r.AllowName("ping/B", 3, Any) }, b},
		"allow a name's version":     {func(r *Restricted) { r.AllowName("ping/B", 3, 4) }, b},
		"allow another major":        {func(r *Restricted) { r.AllowName("ping/B", 33, Any) }, none},
		"allow another major, minor": {func(r *Restricted) { r.AllowName("ping/B", 33, 4) }, none},
		"allow another minor":        {func(r *Restricted) { r.AllowName("ping/B", 3, 44) }, none},
		"allow major 0":              {func(r *Restricted) { r.AllowName("ping/B", 0, Any) }, none},
		"allow both names": {func(r *Restricted) {
			r.AllowName("ping/A", Any, Any).AllowName("ping/B", Any, Any)
		}, both},
		"allow several versions of a name": {func(r *Restricted) {
			r.AllowName("ping/B", 33, 44).AllowName("ping/B", 3, 4).AllowName("ping/B", 333, 444)
		}, b},
		"allow several versions, for one of the two in vain": {func(r *Restricted) {
			r.AllowName("ping/B", 33, 44).AllowName("ping/B", 3, 4).AllowName("ping/B", 333, 444)
			r.AllowName("ping/A", 11, 22).AllowName("ping/A", 1, 22).AllowName("ping/A", 11, 2)
		}, b},

		"deny a name":           {func(r *Restricted) { r.DenyName("ping/A", Any, Any) }, b},
		"deny a name's major":   {func(r *Restricted) { r.DenyName("ping/B", 3, Any) }, a},
		"deny a name's version": {func(r *Restricted) { r.DenyName("ping/B", 3, 4) }, a},
		"deny another major":    {func(r *Restricted) { r.DenyName("ping/B", 33, Any) }, both},
		"deny another minor":    {func(r *Restricted) { r.DenyName("ping/B", 3, 44) }, both},
		"deny another version":  {func(r *Restricted) { r.DenyName("ping/B", 33, 44) }, both},
		"allow one version, deny another": {func(r *Restricted) {
			r.AllowName("ping/B", 3, 4).DenyName("ping/B", 33, 44)
		}, b},
		"allow one name, deny the other": {func(r *Restricted) {
			r.AllowName("ping/B", Any, Any).DenyName("ping/A", Any, Any)
		}, b},

		"allow a tag":              {func(r *Restricted) { r.AllowTags("A") }, a},
		"allow the other's tag":    {func(r *Restricted) { r.AllowTags("!A") }, b},
		"allow a tag of both":      {func(r *Restricted) { r.AllowTags("yada") }, both},
		"allow a tag of none":      {func(r *Restricted) { r.AllowTags("nope") }, none},
		"tags are alternatives":    {func(r *Restricted) { r.AllowTags("nope", "B") }, b},
		"tags one by one":          {func(r *Restricted) { r.AllowTags("nope").AllowTags("B") }, b},
		"the same tag twice":       {func(r *Restricted) { r.AllowTags("B", "B") }, b},
		"allow a tag of one, both": {func(r *Restricted) { r.AllowTags("B", "yada") }, both},
		"no tags allowed":          {func(r *Restricted) { r.AllowTags() }, both},
		"deny a tag":               {func(r *Restricted) { r.DenyTags("A") }, b},
		"deny a tag of both":       {func(r *Restricted) { r.DenyTags("yada") }, none},
		"deny a tag of none":       {func(r *Restricted) { r.DenyTags("nope") }, both},
		"deny wins over allow":     {func(r *Restricted) { r.AllowTags("B").DenyTags("yada") }, none},

		"names and tags must both pass": {func(r *Restricted) { r.AllowName("ping/A", Any, Any).AllowTags("B") }, none},
		"names and tags both pass":      {func(r *Restricted) { r.AllowName("ping/B", 3, Any).AllowTags("B") }, b},
	} {
		t.Run(name, func(t *testing.T) {
			r := Selector{UUID: "ping", Major: 7, Minor: 9}.Restrict()
			tc.rules(r)
			if err := r.Err(); err != nil {
				t.Fatal(err)
			}
			var passed []string
			for _, p := range pingProviders() {
				if r.Allows(p.name, p.version, p.tags) {
					passed = append(passed, p.name)
				}
			}
			if got := strings.Join(passed, " "); got != tc.want {
				t.Errorf("passed: %q, want %q", got, tc.want)
			}
		})
	}
}

func TestRestrictErrors(t *testing.T) {
	const (
		noMajor = "restrict fusk@1.2: must have a major version to match on a minor one"
		twice   = "restrict fusk@1.2: cannot have multiple entries for the same named version"
		both    = "restrict fusk@1.2: cannot allow and deny the same tag"
		again   = "restrict fusk@1.2: already restricted"
	)
	for name, tc := range map[string]struct {
		rules func(r *Restricted) *Restricted
		want  string
	}{
		"allow a minor alone": {func(r *Restricted) *Restricted { return r.AllowName("fusk", Any, 2) }, noMajor},
		"deny a minor alone":  {func(r *Restricted) *Restricted { return r.DenyName("fusk", Any, 2) }, noMajor},
		"a major after all": {func(r *Restricted) *Restricted {
			return r.AllowName("fusk", Any, Any).AllowName("fusk", 1, Any)
		}, twice},
		"all after a major": {func(r *Restricted) *Restricted {
			return r.AllowName("fusk", 1, Any).AllowName("fusk", Any, Any)
		}, twice},
		"a version after all": {func(r *Restricted) *Restricted {
			return r.AllowName("fusk", Any, Any).AllowName("fusk", 1, 2)
		}, twice},
		"a version after its major": {func(r *Restricted) *Restricted {
			return r.AllowName("fusk", 1, Any).DenyName("fusk", 1, 2)
		}, twice},
		"a version again": {func(r *Restricted) *Restricted {
			return r.DenyName("fusk", 1, 2).DenyName("fusk", 1, 2)
		}, twice},
		"deny what is allowed": {func(r *Restricted) *Restricted {
			return r.AllowName("fusk", Any, Any).DenyName("fusk", Any, Any)
		}, twice},
		"deny an allowed tag": {func(r *Restricted) *Restricted { return r.AllowTags("kuks").DenyTags("kuks") }, both},
		"allow a denied tag":  {func(r *Restricted) *Restricted { return r.DenyTags("kuks").AllowTags("x", "kuks") }, both},
		"restrict twice":      {func(r *Restricted) *Restricted { return r.Restrict() }, again},
		"the first error stays": {func(r *Restricted) *Restricted {
			return r.AllowName("fusk", Any, 2).Restrict().AllowTags("x").DenyTags("x")
		}, noMajor},
		"different names": {func(r *Restricted) *Restricted {
			return r.AllowName("fusk", Any, Any).DenyName("Fusk", Any, Any)
		}, ""},
		"different versions": {func(r *Restricted) *Restricted {
			return r.AllowName("fusk", 1, Any).DenyName("fusk", 2, Any).AllowName("fusk", 3, 1).DenyName("fusk", 3, 2)
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := Selector{UUID: "fusk", Major: 1, Minor: 2}.Restrict()
			if chained := tc.rules(r); chained != r {
				t.Error("a rule does not return its receiver")
			}
			if err := r.Err(); textOf(err) != tc.want {
				t.Errorf("error %q, want %q", textOf(err), tc.want)
			}
			if r.Selector() != (Selector{UUID: "fusk", Major: 1, Minor: 2}) {
				t.Errorf("selector %s", r.Selector())
			}
		})
	}
}

// Two restrictions of one selector know nothing of each other.
func TestRestrictionsAreIndependent(t *testing.T) {
	s := Selector{UUID: "fusk", Major: 1, Minor: 2}
	first, second := s.Restrict().AllowTags("x"), s.Restrict().DenyTags("x")
	if err := errors.Join(first.Err(), second.Err()); err != nil {
		t.Error(err)
	}
	if !first.Allows("p", Version{}, []string{"x"}) || second.Allows("p", Version{}, []string{"x"}) {
		t.Error("the rules of one restriction show in the other")
	}
}

func textOf(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestPriorities(t *testing.T) {
	ascending := []Priority{
		PriorityUnpreferredStrongly, PriorityUnpreferred, PriorityUnpreferredWeakly, PriorityNormal,
		PriorityPreferredWeakly, PriorityPreferred, PriorityPreferredStrongly,
	}
	if !slices.IsSorted(ascending) || len(slices.Compact(slices.Clone(ascending))) != 7 {
		t.Errorf("the seven priorities do not rise: %v", ascending)
	}
}
