package main

import (
	"fmt"
	"os/user"
	"strconv"
	"strings"
)

// usersFlag is a list of users, given by uid or by name.
type usersFlag []uint32

func (l *usersFlag) Type() string                 { return "user" }
func (l *usersFlag) String() string               { return strings.Join(l.GetSlice(), ",") }
func (l *usersFlag) GetSlice() []string           { return idTexts(*l) }
func (l *usersFlag) Append(text string) error     { return l.Set(text) }
func (l *usersFlag) Replace(texts []string) error { *l = nil; return l.setAll(texts) }
func (l *usersFlag) Set(text string) error        { return l.setAll(strings.Split(text, ",")) }

func (l *usersFlag) setAll(texts []string) (err error) {
	*l, err = appendIDs(*l, texts, func(name string) (string, error) {
		u, err := user.Lookup(name)
		if err != nil {
			return "", err
		}
		return u.Uid, nil
	})
	return err
}

// groupsFlag is a list of groups, given by gid or by name.
type groupsFlag []uint32

func (l *groupsFlag) Type() string                 { return "group" }
func (l *groupsFlag) String() string               { return strings.Join(l.GetSlice(), ",") }
func (l *groupsFlag) GetSlice() []string           { return idTexts(*l) }
func (l *groupsFlag) Append(text string) error     { return l.Set(text) }
func (l *groupsFlag) Replace(texts []string) error { *l = nil; return l.setAll(texts) }
func (l *groupsFlag) Set(text string) error        { return l.setAll(strings.Split(text, ",")) }

func (l *groupsFlag) setAll(texts []string) (err error) {
	*l, err = appendIDs(*l, texts, func(name string) (string, error) {
		g, err := user.LookupGroup(name)
		if err != nil {
			return "", err
		}
		return g.Gid, nil
	})
	return err
}

// appendIDs appends what texts say. What is not a number is a name, whose number
// lookup knows.
func appendIDs(ids []uint32, texts []string, lookup func(name string) (string, error)) ([]uint32, error) {
	for _, text := range texts {
		number := text
		if _, err := strconv.ParseUint(text, 10, 32); err != nil {
			if number, err = lookup(text); err != nil {
				return ids, fmt.Errorf("%q is no numeric id, and no name that is known here: %w", text, err)
			}
		}
		id, err := strconv.ParseUint(number, 10, 32)
		if err != nil {
			return ids, fmt.Errorf("%q stands for %q, which is no numeric id", text, number)
		}
		ids = append(ids, uint32(id))
	}
	return ids, nil
}

func idTexts(ids []uint32) []string {
	texts := make([]string, len(ids))
	for i, id := range ids {
		texts[i] = strconv.FormatUint(uint64(id), 10)
	}
	return texts
}
