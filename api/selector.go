package api

import (
	"errors"
	"fmt"
)

// Selector names a service and one version of it.
type Selector struct {
	// UUID identifies the service for ever. Any non-empty string serves.
	UUID string
	// Major changes when the service breaks its clients, Minor when it grows.
	Major, Minor uint32
}

// Matches reports whether s and other name the same version of the same service.
func (s Selector) Matches(other Selector) bool { return s == other }

// Accepts reports whether a provider of s can serve a client that asks for
// asked: the same uuid and major, and no newer minor than s has.
func (s Selector) Accepts(asked Selector) bool {
	return s.UUID == asked.UUID && s.Major == asked.Major && asked.Minor <= s.Minor
}

// Validate returns an error if s has no uuid.
func (s Selector) Validate() error {
	if s.UUID == "" {
		return errors.New("selector: empty uuid")
	}
	return nil
}

// String returns s as uuid@major.minor.
func (s Selector) String() string { return fmt.Sprintf("%s@%d.%d", s.UUID, s.Major, s.Minor) }

// Restrict returns a restriction of s that allows every provider, to be
// narrowed by its methods.
func (s Selector) Restrict() *Restricted {
	return &Restricted{selector: s, names: map[string][]nameRule{}, tags: map[string]bool{}}
}

// Any stands for every major or every minor version in the rules of a [Restricted].
const Any = -1

// Restricted is a selector that accepts only some of the providers of its
// service. An allow makes its list exhaustive: with one allowed name only
// allowed names pass, with one allowed tag only providers with an allowed tag
// do. A deny always wins. Tags are alternatives; names and tags must both pass.
//
// Its methods return the receiver, so that rules can be chained; the first rule
// that contradicts an earlier one is kept as [Restricted.Err], and opening a
// service by the restriction fails with it. Not safe for concurrent use while
// rules are added.
type Restricted struct {
	selector Selector
	names    map[string][]nameRule
	tags     map[string]bool // tag → allowed

	namesExhaustive, tagsExhaustive bool
	err                             error
}

type nameRule struct {
	allow        bool
	major, minor int
}

// Selector returns the selector that r restricts.
func (r *Restricted) Selector() Selector { return r.selector }

// Err returns the first contradiction among the rules, or nil.
func (r *Restricted) Err() error { return r.err }

// Restrict is an error: a selector can be restricted once.
func (r *Restricted) Restrict() *Restricted { return r.fail("already restricted") }

// AllowName lets providers called name pass, in the given version of the
// provider; [Any] leaves the major, or the minor, open.
func (r *Restricted) AllowName(name string, major, minor int) *Restricted {
	return r.addName(name, nameRule{allow: true, major: major, minor: minor})
}

// DenyName keeps providers called name out, in the given version of the
// provider; [Any] leaves the major, or the minor, open.
func (r *Restricted) DenyName(name string, major, minor int) *Restricted {
	return r.addName(name, nameRule{major: major, minor: minor})
}

// AllowTags lets providers pass that have one of the tags.
func (r *Restricted) AllowTags(tags ...string) *Restricted { return r.addTags(tags, true) }

// DenyTags keeps providers out that have one of the tags.
func (r *Restricted) DenyTags(tags ...string) *Restricted { return r.addTags(tags, false) }

func (r *Restricted) addName(name string, rule nameRule) *Restricted {
	if rule.major == Any && rule.minor != Any {
		return r.fail("must have a major version to match on a minor one")
	}
	for _, old := range r.names[name] {
		if overlap(old.major, rule.major) && overlap(old.minor, rule.minor) {
			return r.fail("cannot have multiple entries for the same named version")
		}
	}
	r.namesExhaustive = r.namesExhaustive || rule.allow
	r.names[name] = append(r.names[name], rule)
	return r
}

func (r *Restricted) addTags(tags []string, allow bool) *Restricted {
	for _, tag := range tags {
		if old, ok := r.tags[tag]; ok && old != allow {
			return r.fail("cannot allow and deny the same tag")
		}
		r.tagsExhaustive = r.tagsExhaustive || allow
		r.tags[tag] = allow
	}
	return r
}

func (r *Restricted) fail(text string) *Restricted {
	if r.err == nil {
		r.err = fmt.Errorf("restrict %s: %s", r.selector, text)
	}
	return r
}

// Allows reports whether a provider with this name, version and tags passes.
func (r *Restricted) Allows(name string, version Version, tags []string) bool {
	return r.allowsName(name, version) && r.allowsTags(tags)
}

func (r *Restricted) allowsName(name string, version Version) bool {
	allowed := !r.namesExhaustive
	for _, rule := range r.names[name] {
		if !overlap(rule.major, int(version.Major)) || !overlap(rule.minor, int(version.Minor)) {
			continue
		}
		if !rule.allow {
			return false
		}
		allowed = true
	}
	return allowed
}

func (r *Restricted) allowsTags(tags []string) bool {
	allowed := !r.tagsExhaustive
	for _, tag := range tags {
		if allow, ok := r.tags[tag]; ok {
			if !allow {
				return false
			}
			allowed = true
		}
	}
	return allowed
}

func overlap(a, b int) bool { return a == Any || b == Any || a == b }
