package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// helpCommand is cobra's own, but that it refuses what is no command.
func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [command]",
		Short: "Help about any command",
		RunE: func(cmd *cobra.Command, args []string) error {
			about, rest, err := cmd.Root().Find(args)
			if err != nil {
				return err
			}
			if err := knownCommand(about, rest); err != nil {
				return err
			}
			about.InitDefaultHelpFlag()
			return about.Help()
		},
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
			about, _, err := cmd.Root().Find(args)
			if err != nil {
				return nil, noFiles
			}
			return commandsOf(about), noFiles
		},
	}
}

// commandsOf returns the commands of cmd as completions.
func commandsOf(cmd *cobra.Command) []cobra.Completion {
	var list []cobra.Completion
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			list = append(list, cobra.CompletionWithDesc(sub.Name(), sub.Short))
		}
	}
	return list
}

func showHelp(cmd *cobra.Command, _ []string) error { return cmd.Help() }

// help prints the help of cmd.
func (p *program) help(cmd *cobra.Command, _ []string) {
	text := cmd.Long
	if text == "" {
		text = cmd.Short
	}
	_, p.helpErr = fmt.Fprintf(p.stdout, "%s\n\n%s", strings.TrimSpace(text), cmd.UsageString())
}

// knownCommand refuses words that are no command of cmd, and names those that
// resemble them.
func knownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := "see '" + cmd.CommandPath() + " --help'"
	if similar := cmd.SuggestionsFor(args[0]); args[0] != "" && len(similar) > 0 {
		hint = "did you mean '" + strings.Join(similar, "' or '") + "'?"
	}
	return usage(fmt.Errorf("unknown command %q", args[0]), hint)
}

// noArguments refuses words behind a command that takes none.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return fmt.Errorf("%s takes no arguments, but got %q", cmd.Name(), args[0])
}
