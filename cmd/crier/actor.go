package main

import (
	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"

	"crier.local/cmd/internal/faults"
)

// actorCommand is a client process of a stage on which faults are tried: it does
// what its standard input tells it to.
func (p *program) actorCommand() *cobra.Command {
	var r reach
	cmd := &cobra.Command{
		Use:    "actor",
		Short:  "Play a client that is told what to do",
		Args:   noArguments,
		Hidden: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o, err := r.options(p.logger(hclog.Warn))
			if err != nil {
				return err
			}
			return faults.Actor{Options: o, In: p.stdin, Out: p.stdout.file}.Run(cmd.Context())
		},
	}
	r.addTo(cmd)
	r.addGiveUp(cmd.Flags())
	return cmd
}
