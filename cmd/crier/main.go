// Command crier is Crier's command line: a provider of rooms, the clients that
// speak and listen in them, and the tutorial's demonstration of both.
package main

import (
	"context"
	"io"
	"os"

	"github.com/spf13/cobra"
)

func main() {
	stderr := newJournal(os.Stderr)
	stderr.terminal = isTerminal(os.Stderr)
	ctx, release := withSignals(context.Background(), stderr)
	p := &program{stdin: os.Stdin, stdout: newOutput(ctx, os.Stdout), stderr: stderr, release: release}
	code := p.run(ctx, os.Args[1:])
	release()
	stderr.flush(lingerTime)
	os.Exit(code)
}

// program is one run of crier: its streams, and the settings that every command has.
type program struct {
	stdin  io.Reader
	stdout *output
	stderr *journal
	log    logFlags
	// release leaves interrupts to whoever wants them; may be called repeatedly.
	release func()

	started bool  // the arguments were right; what fails from here on is no usage error
	helpErr error // of the help that was asked for, which cobra does not pass on
}

// run carries out args and returns the exit code.
func (p *program) run(ctx context.Context, args []string) int {
	root := p.rootCommand()
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err != nil && !p.started {
		err = usage(err, "see '"+cmd.CommandPath()+" --help'")
	}
	if err == nil {
		err = p.helpErr
	}
	err = causeOf(ctx, err)
	p.report(err)
	return exitCode(err)
}

func (p *program) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "crier",
		Short:         "Rooms for the processes of a machine: send, and everyone in the room hears it",
		Long:          rootHelp,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          knownCommand,
		RunE:          showHelp,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			p.started = true
			return bindEnvironment(cmd)
		},
	}
	root.SetIn(p.stdin)
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	root.SuggestionsMinimumDistance = 2
	root.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveNoFileComp)
	p.log.addTo(root)
	root.AddCommand(
		p.demoCommand(), p.serveCommand(), p.joinCommand(), p.sendCommand(), p.listenCommand(),
		p.whoCommand(), p.providersCommand(), p.pingCommand(), p.doctorCommand(), p.versionCommand(), p.pluginCommand(), p.actorCommand(), p.soakCommand(),
		p.benchCommand(), p.benchClientCommand(),
	)
	describeEnvironment(root)
	root.SetHelpFunc(p.help)
	root.SetHelpCommand(helpCommand())
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		if cmd.Name() == "completion" { // without RunE, cobra takes any word for a shell
			cmd.Args, cmd.RunE, cmd.DisableFlagsInUseLine = knownCommand, showHelp, true
		}
	}
	return root
}

const rootHelp = `Crier lets the processes of a machine hear each other. A provider holds rooms;
clients connect to a room, send messages to it and receive what the others send.

  crier demo                 see it work: a provider and three clients
  crier serve                run a provider
  crier listen               print what is said in the lobby
  crier send hello           say something there
  crier doctor               find out why that does not work

A client finds the provider by --address, else by CRIER_ADDRESS, else by looking
into the run directories. Every other flag can be set in the environment as
CRIER_<FLAG>, but for --name, --json and -n; a flag beats the environment.

Exit codes: 0 done, 1 failed, 2 usage, 69 no provider, 75 try again,
76 version mismatch or ambiguous, 77 denied, 78 bad configuration,
124 --timeout ran out, 129, 130 and 143 interrupted.`
