package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"crier.local/api"
	"crier.local/client"
)

func (p *program) providersCommand() *cobra.Command {
	var (
		r    reach
		json bool
	)
	cmd := &cobra.Command{
		Use:   "providers",
		Short: "List the providers that clients would find",
		Long: `Providers lists what is announced in the run directories, and whether it lives.
Clients take the one with the highest priority that offers what they need.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dirs, err := r.runDirs()
			if err != nil {
				return err
			}
			found, err := client.Providers(cmd.Context(), dirs)
			if err != nil && len(found) > 0 {
				p.note("%v", err)
				err = nil
			}
			switch {
			case err != nil:
				return err
			case json:
				return p.printFound(found)
			case len(found) == 0:
				p.note("no provider is announced in %s", strings.Join(searched(dirs), ", "))
				return nil
			default:
				return p.printTable(func(w io.Writer) { writeFound(w, found) })
			}
		},
	}
	cmd.Flags().StringVar(&r.runDir, "run-dir", "", "the `directory` in which to look")
	cmd.Flags().BoolVar(&json, "json", false, "print JSON, one object per line")
	completeDirectories(cmd)
	return cmd
}

// searched returns the directories searched when dirs were given.
func searched(dirs []string) []string {
	if len(dirs) > 0 {
		return dirs
	}
	return api.RunDirs()
}

// foundLine is a provider as a line of JSON.
type foundLine struct {
	Name      string   `json:"name"`
	Version   string   `json:"version"`
	Epoch     string   `json:"epoch"`
	Address   string   `json:"address"`
	Selectors []string `json:"selectors"`
	Priority  int      `json:"priority"`
	Tags      []string `json:"tags"`
	Live      bool     `json:"live"`
}

func newFoundLine(f client.Found) foundLine {
	line := foundLine{
		Name: f.Name, Version: f.Version.String(), Epoch: f.Epoch, Address: f.Address.String(),
		Selectors: []string{}, Tags: append([]string{}, f.Tags...), Live: f.Live,
	}
	for _, s := range f.Services {
		line.Selectors = append(line.Selectors, s.Selector().String())
		line.Priority = max(line.Priority, int(s.Priority))
		line.Tags = append(line.Tags, s.Tags...)
	}
	return line
}

func (p *program) printFound(found []client.Found) error {
	for _, f := range found {
		if err := p.stdout.json(newFoundLine(f)); err != nil {
			return err
		}
	}
	return nil
}

func writeFound(w io.Writer, found []client.Found) {
	fmt.Fprintln(w, "NAME\tVERSION\tPRIORITY\tLIVE\tADDRESS\tTAGS")
	for _, f := range found {
		line := newFoundLine(f)
		priority := priorityFlag(line.Priority)
		fmt.Fprintf(w, "%s\t%s\t%s\t%t\t%s\t%s\n", sanitize([]byte(line.Name)), line.Version, priority.String(), line.Live,
			sanitize([]byte(line.Address)), orDash(sanitize([]byte(strings.Join(line.Tags, ",")))))
	}
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
