package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"crier.local/provider"
)

// number is a flag that takes a whole number from least on.
type number struct {
	value *int
	least int
}

// wholeNumber returns a flag that sets *value, which it makes initial.
func wholeNumber(value *int, initial, least int) *number {
	*value = initial
	return &number{value, least}
}

func (n *number) Type() string   { return "int" }
func (n *number) String() string { return strconv.Itoa(*n.value) }

func (n *number) Set(text string) error {
	v, err := strconv.Atoi(text)
	if err != nil || v < n.least {
		return fmt.Errorf("want a whole number of at least %d", n.least)
	}
	*n.value = v
	return nil
}

// span is a flag that takes a time from least on.
type span struct {
	value *time.Duration
	least time.Duration
}

// timeSpan returns a flag that sets *value, which it makes initial.
func timeSpan(value *time.Duration, initial, least time.Duration) *span {
	*value = initial
	return &span{value, least}
}

func (s *span) Type() string { return "duration" }

func (s *span) String() string {
	if *s.value == 0 {
		return "" // not worth telling as a default
	}
	return s.value.String()
}

func (s *span) Set(text string) error {
	v, err := time.ParseDuration(text)
	switch {
	case err != nil:
		return errors.New("want a duration as in 500ms or 2s")
	case v < 0:
		return errors.New("cannot be negative")
	case v < s.least:
		return errors.New("must be more than 0")
	}
	*s.value = v
	return nil
}

// label is a flag that takes what can be a provider's name.
type label string

func (l *label) Type() string   { return "name" }
func (l *label) String() string { return string(*l) }

func (l *label) Set(text string) error {
	if err := provider.CheckLabel(text); err != nil {
		return err
	}
	*l = label(text)
	return nil
}

// labels is a flag that takes a list of tags.
type labels []string

func (l *labels) Type() string             { return "tag" }
func (l *labels) String() string           { return strings.Join(*l, ",") }
func (l *labels) Append(text string) error { return l.Set(text) }
func (l *labels) GetSlice() []string       { return *l }

func (l *labels) Replace(texts []string) error {
	*l = nil
	for _, text := range texts {
		if err := l.Set(text); err != nil {
			return err
		}
	}
	return nil
}

func (l *labels) Set(text string) error {
	if err := provider.CheckLabel(text); err != nil {
		return err
	}
	*l = append(*l, text)
	return nil
}
