package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"crier.local/api"
)

// commit is the commit that crier was built from, for builds outside a
// repository: go build -ldflags '-X main.commit=…'. Empty: what the toolchain
// recorded.
var commit string

// release is the version of this program, which its provider states too.
func release() api.Version { return api.Version{Major: 0, Minor: 1, Patch: 0} }

// versionLine is the output of crier version --json.
type versionLine struct {
	Version string `json:"version"`
	Commit  string `json:"commit"`
	Go      string `json:"go"`
	Wire    int    `json:"wire"`
	Service string `json:"service"`
}

func (p *program) versionCommand() *cobra.Command {
	var json bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the versions of crier, its protocol and its service",
		Args:  noArguments,
		RunE: func(*cobra.Command, []string) error {
			service := fmt.Sprintf("%d.%d", api.NotificationSelector.Major, api.NotificationSelector.Minor)
			v := versionLine{release().String(), builtFrom(), runtime.Version(), api.WireVersion, service}
			if json {
				return p.stdout.json(v)
			}
			return p.stdout.printf("crier %s\ncommit %s\n%s %s/%s\nwire %d\nservice %s",
				v.Version, v.Commit, v.Go, runtime.GOOS, runtime.GOARCH, v.Wire, v.Service)
		},
	}
	cmd.Flags().BoolVar(&json, "json", false, "print JSON")
	return cmd
}

// builtFrom returns the commit, marked if the tree had changes.
func builtFrom() string {
	info, ok := debug.ReadBuildInfo()
	if commit != "" || !ok {
		return orUnknown(commit)
	}
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	revision := orUnknown(settings["vcs.revision"])
	if settings["vcs.modified"] == "true" {
		revision += " (modified)"
	}
	return revision
}

func orUnknown(text string) string {
	if text == "" {
		return "unknown"
	}
	return text
}
