package provider_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"crier.local/api"
	"crier.local/client"
	"crier.local/provider"
)

// ping is a service that two providers offer.
type ping struct{}

const pingPing api.Method = 0

func pingSelector() api.Selector {
	return api.Selector{UUID: "0f0d6c52-6a2e-45b4-8d44-5d1ce7a3b1aa", Major: 7, Minor: 9}
}

func (ping) Handle(_ context.Context, c *provider.Call) (provider.Result, error) {
	if c.Method != pingPing {
		return provider.Result{}, api.ErrNoMethod
	}
	return provider.Result{}, nil
}

// installPings starts the two providers, with those priorities.
func installPings(h *host, a, b api.Priority) {
	h.t.Helper()
	h.install(provider.Options{Name: "ping/A", Version: api.Version{Major: 1, Minor: 2, Patch: 5}, Tags: []string{"yada"}},
		offer{pingSelector(), ping{}, provider.ServiceOptions{Priority: a, Tags: []string{"A", "!B"}}})
	h.install(provider.Options{Name: "ping/B", Version: api.Version{Major: 3, Minor: 4, Patch: 17}, Tags: []string{"yada"}},
		offer{pingSelector(), ping{}, provider.ServiceOptions{Priority: b, Tags: []string{"!A", "B"}}})
}

// found returns the name of the provider that is found, after a call.
func found(t *testing.T, h *host, find *api.Restricted) (string, error) {
	t.Helper()
	c, err := client.Dial(within(t), client.Options{RunDirs: []string{h.dir}, Find: find, Wait: -1})
	if err != nil {
		return "", err
	}
	defer closed(t, c)
	call(t, opened(t, c, pingSelector()), pingPing, "")
	return c.Provider().Name, nil
}

func TestMultiPriorities(t *testing.T) {
	for _, tc := range []struct {
		name string
		a, b api.Priority
		want string
	}{
		{"A is preferred", api.PriorityPreferred, api.PriorityNormal, "ping/A"},
		{"B is preferred", api.PriorityNormal, api.PriorityPreferred, "ping/B"},
		{"A is preferred by default", 0, api.PriorityUnpreferredWeakly, "ping/A"},
		{"B is preferred by a little", api.PriorityNormal, api.PriorityNormal + 1, "ping/B"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			overSocket(t, func(t *testing.T, h *host) {
				installPings(h, tc.a, tc.b)
				if got, err := found(t, h, pingSelector().Restrict()); got != tc.want || err != nil {
					t.Errorf("found %q, %v; want %s", got, err, tc.want)
				}
			})
		})
	}
}

// restriction is a case of finding one of the two by restricting the choice.
type restriction struct {
	name  string
	rules func(r *api.Restricted)
	want  string // the provider's name
	err   error
}

func (tc restriction) run(t *testing.T) {
	t.Run(tc.name, func(t *testing.T) {
		overSocket(t, func(t *testing.T, h *host) {
			installPings(h, 0, 0)
			r := pingSelector().Restrict()
			tc.rules(r)
			if err := r.Err(); err != nil {
				t.Fatal(err)
			}
			if got, err := found(t, h, r); got != tc.want || !errors.Is(err, tc.err) {
				t.Errorf("found %q, %v; want %q, %v", got, err, tc.want, tc.err)
			}
		})
	})
}

func TestMultiPositive(t *testing.T) {
	const a, b = "ping/A", "ping/B"
	for _, tc := range []restriction{
		{"B by name", func(r *api.Restricted) { r.AllowName(b, api.Any, api.Any) }, b, nil},
		{"B by name and major", func(r *api.Restricted) { r.AllowName(b, 3, api.Any) }, b, nil},
		{"B by name and version", func(r *api.Restricted) { r.AllowName(b, 3, 4) }, b, nil},
		{"A by tag", func(r *api.Restricted) { r.AllowTags("A") }, a, nil},
		{"B by tag", func(r *api.Restricted) { r.AllowTags("B") }, b, nil},
		{"B by the tag of not being A", func(r *api.Restricted) { r.AllowTags("!A") }, b, nil},
		{"B by one of two tags", func(r *api.Restricted) { r.AllowTags("nope", "B") }, b, nil},
		{"not A by name", func(r *api.Restricted) { r.DenyName(a, api.Any, api.Any) }, b, nil},
		{"not A by tag", func(r *api.Restricted) { r.DenyTags("A") }, b, nil},
		{"not B by name and major", func(r *api.Restricted) { r.DenyName(b, 3, api.Any) }, a, nil},
		{"not B by name and version", func(r *api.Restricted) { r.DenyName(b, 3, 4) }, a, nil},
		{"B in this version, but not in another", func(r *api.Restricted) {
			r.AllowName(b, 3, 4).DenyName(b, 33, 44)
		}, b, nil},
		{"B in one of three versions", func(r *api.Restricted) {
			r.AllowName(b, 33, 44).AllowName(b, 3, 4).AllowName(b, 333, 444)
		}, b, nil},
		{"B, or A in versions that it has not", func(r *api.Restricted) {
			r.AllowName(b, 33, 44).AllowName(b, 3, 4).AllowName(b, 333, 444)
			r.AllowName(a, 11, 22).AllowName(a, 1, 22).AllowName(a, 11, 2)
		}, b, nil},
	} {
		tc.run(t)
	}
}

func TestMultiNegative(t *testing.T) {
	const a, b = "ping/A", "ping/B"
	for _, tc := range []restriction{
		{"no rule", func(r *api.Restricted) {}, "", api.ErrAmbiguous},
		{"a tag of both", func(r *api.Restricted) { r.AllowTags("yada") }, "", api.ErrAmbiguous},
		{"not B in another major", func(r *api.Restricted) { r.DenyName(b, 33, api.Any) }, "", api.ErrAmbiguous},
		{"not B in another minor", func(r *api.Restricted) { r.DenyName(b, 3, 44) }, "", api.ErrAmbiguous},
		{"not B in another version", func(r *api.Restricted) { r.DenyName(b, 33, 44) }, "", api.ErrAmbiguous},
		{"a tag of B, or of both", func(r *api.Restricted) { r.AllowTags("B", "yada") }, "", api.ErrAmbiguous},
		{"not a tag of none", func(r *api.Restricted) { r.DenyTags("nope") }, "", api.ErrAmbiguous},
		{"both in one of three versions", func(r *api.Restricted) {
			r.AllowName(a, 11, 22).AllowName(a, 1, 2).AllowName(a, 111, 222)
			r.AllowName(b, 33, 44).AllowName(b, 3, 4).AllowName(b, 333, 444)
		}, "", api.ErrAmbiguous},
		{"not a tag of both", func(r *api.Restricted) { r.DenyTags("yada") }, "", api.ErrNoProvider},
		{"a tag of none", func(r *api.Restricted) { r.AllowTags("nope") }, "", api.ErrNoProvider},
		{"a tag of B, but not one of both", func(r *api.Restricted) { r.AllowTags("B").DenyTags("yada") }, "", api.ErrNoProvider},
		{"B in another major", func(r *api.Restricted) { r.AllowName(b, 33, api.Any) }, "", api.ErrNoProvider},
		{"B in another major, its own minor", func(r *api.Restricted) { r.AllowName(b, 33, 4) }, "", api.ErrNoProvider},
		{"B in another minor", func(r *api.Restricted) { r.AllowName(b, 3, 44) }, "", api.ErrNoProvider},
	} {
		tc.run(t)
	}
}

func TestMultiErrors(t *testing.T) {
	const (
		noMajor = "must have a major version to match on a minor one"
		twice   = "cannot have multiple entries for the same named version"
		both    = "cannot allow and deny the same tag"
	)
	for _, tc := range []struct {
		name  string
		rules func(r *api.Restricted)
		want  string
	}{
		{"allow a minor without a major", func(r *api.Restricted) { r.AllowName("x", api.Any, 2) }, noMajor},
		{"deny a minor without a major", func(r *api.Restricted) { r.DenyName("x", api.Any, 2) }, noMajor},
		{"a major besides all", func(r *api.Restricted) { r.AllowName("x", api.Any, api.Any).AllowName("x", 1, api.Any) }, twice},
		{"a version besides all", func(r *api.Restricted) { r.AllowName("x", api.Any, api.Any).AllowName("x", 1, 2) }, twice},
		{"allow and deny a name", func(r *api.Restricted) { r.AllowName("x", api.Any, api.Any).DenyName("x", api.Any, api.Any) }, twice},
		{"allow and deny a tag", func(r *api.Restricted) { r.AllowTags("y").DenyTags("y") }, both},
	} {
		t.Run(tc.name, func(t *testing.T) {
			overSocket(t, func(t *testing.T, h *host) {
				installPings(h, api.PriorityPreferred, 0)
				r := pingSelector().Restrict()
				tc.rules(r)
				_, err := found(t, h, r)
				if err == nil || !strings.Contains(err.Error(), tc.want) {
					t.Errorf("%v, want %q", err, tc.want)
				}
			})
		})
	}
}
