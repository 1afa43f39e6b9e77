package main

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// environmentKey is the annotation of a flag that another variable sets than the
// one of its name.
const environmentKey = "crier environment"

// variable returns the name of the environment variable that sets f, empty for
// none.
func variable(f *pflag.Flag) string {
	if names := f.Annotations[environmentKey]; len(names) > 0 {
		return names[0]
	}
	switch f.Name {
	case "name", "json", "number", "help":
		return ""
	}
	return "CRIER_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
}

// bindEnvironment sets the flags of cmd that were not given from the environment.
// An empty variable counts as none.
func bindEnvironment(cmd *cobra.Command) error {
	var first error
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if first == nil && !f.Changed {
			first = setFromEnvironment(f)
		}
	})
	return first
}

func setFromEnvironment(f *pflag.Flag) error {
	name := variable(f)
	if name == "" || os.Getenv(name) == "" {
		return nil
	}
	values := []string{os.Getenv(name)}
	if _, ok := f.Value.(pflag.SliceValue); ok {
		values = strings.Split(values[0], ",")
	}
	for _, value := range values {
		if err := f.Value.Set(value); err != nil {
			return misconfigured(fmt.Errorf("environment: %s=%q: %w", name, os.Getenv(name), err), "")
		}
	}
	f.Changed = true
	return nil
}

// describeEnvironment names in the help of each flag the variable that sets it.
func describeEnvironment(cmd *cobra.Command) {
	describe := func(f *pflag.Flag) {
		if name := variable(f); name != "" {
			f.Usage += " [" + name + "]"
		}
	}
	cmd.PersistentFlags().VisitAll(describe)
	for _, sub := range cmd.Commands() {
		sub.Flags().VisitAll(describe)
	}
}

// choice is a flag that takes one of some words, empty if it was not given.
type choice struct {
	value   string
	allowed []string
}

func (c *choice) String() string { return c.value }
func (c *choice) Type() string   { return "word" }

func (c *choice) Set(word string) error {
	if !slices.Contains(c.allowed, word) {
		return fmt.Errorf("want one of %s", strings.Join(c.allowed, ", "))
	}
	c.value = word
	return nil
}
