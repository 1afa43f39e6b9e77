package main

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"crier.local/api"
	"crier.local/client"
)

// examineTime is how long may be spent on connecting to sockets, and on asking a
// provider that has answered.
const examineTime = 2 * time.Second

const doctorHelp = `Doctor looks at everything that a client of this user, in this place, needs in
order to reach its provider, and at what a provider started here would have. It says
what it found, what is wrong and how to mend it. It takes the same flags and variables
as the commands that it speaks for, works where there is nothing but the program
(FROM scratch, any uid), and ends soon after --wait, also with a provider that is
stopped.

It changes nothing. It looks for a provider and attaches as any client does, by which
systemd may start one, and leaves again; it asks for the time in a room of its own,
unseen by others. It looks for locks in /proc/locks and never takes one.

A line says ok, warn, FAIL, or -- for what there was nothing to be said of, and then
the name of the check:

  environment  the variables: do they parse, does anybody read them, do they agree
  identity     uid, gid, groups, pid; the namespaces, the container
  directory    each run directory: may this user use it, is it trusted
  volume       the file systems they are on: kind, room left
  socket       each socket: is it one, who listens, is it a mount of its own
  lock         the lock beside it, and who holds it
  start        where a provider started here would listen, and what is in its way
  choice       which provider clients take, and why
  tls          the certificates, and those of the provider
  admission    whether the provider lets this process in
  version      of this program and of the provider, and whether they fit
  answer       how soon the provider answers
  clock        whether this clock and the provider's are right
  kernel       what the kernel tells of processes
  descriptors  for how many processes there are descriptors
  memory       for how many there is memory, and how long queues may be
  tasks        how many threads the cgroup allows

With --json each is an object on a line of its own: check, status (ok, warn, fail or
skip), found, fix if there is something to be done, exit_code if it failed, and in
detail what programs may want to know. Every check is there, several times if there
are several things to tell.

The exit code is 0 if nothing failed, whatever warnings there are. Else it is that of
the first check that failed, which is the likeliest cause: 69 there is no provider,
75 it is full or does not answer, 76 it is ambiguous or of another version, 77 this
user is denied, 78 something is configured wrongly.`

// doctor examines one place, for one user.
type doctor struct {
	p     *program
	r     reach
	json  bool
	sheet sheet

	asked     origin           // of the address, if one is given
	where     origin           // of the run directory, if one is given
	faults    map[string]error // of the variables that do not parse
	overruled map[string]bool  // the variables whose flags were given

	places   []client.Place
	sockets  []*socketState
	target   api.Endpoint // of the provider; zero if there is none
	findErr  error
	client   *client.Client // nil if there is none to attach to
	dialErr  error
	mute     bool // the provider did not answer in time
	tlsNoted bool // what failed was TLS, which has been told
}

// origin is the flag or variable that something comes from; empty if nobody gave it.
type origin string

func (p *program) doctorCommand() *cobra.Command {
	d := &doctor{p: p}
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Find out why a provider cannot be reached or does not start",
		Long:  doctorHelp,
		Args:  noArguments,
		// What the environment says wrongly is a finding here.
		PersistentPreRun: func(cmd *cobra.Command, _ []string) {
			p.started = true
			d.bind(cmd.Flags())
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return d.run(cmd.Context()) },
	}
	d.r.addTo(cmd)
	cmd.Flags().BoolVar(&d.json, "json", false, "print JSON, one object per line")
	return cmd
}

// bind sets the flags that were not given from the environment, as far as it can.
func (d *doctor) bind(flags *pflag.FlagSet) {
	d.asked, d.where = originOf(flags.Lookup("address")), originOf(flags.Lookup("run-dir"))
	d.faults, d.overruled = map[string]error{}, map[string]bool{}
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Changed {
			d.overruled[variable(f)] = true
			return
		}
		if err := setFromEnvironment(f); err != nil {
			d.faults[variable(f)] = err
		}
	})
	if d.faults[api.EnvAddress] != nil {
		d.r.address = endpointFlag{} // what could be read of it
	}
}

func originOf(f *pflag.Flag) origin {
	name, given := isSet(variable(f))
	switch {
	case f.Changed:
		return origin("--" + f.Name)
	case given:
		return origin(name)
	}
	return ""
}

func (d *doctor) run(ctx context.Context) error {
	d.sheet = newSheet(d.p.stdout, d.json)
	d.environment()
	d.identity()
	d.look(ctx)
	defer d.leave()
	if ctx.Err() != nil {
		return context.Cause(ctx) // somebody interrupted it
	}
	d.directories()
	d.volumes()
	d.examineSockets(ctx)
	d.start()
	d.choice()
	d.examineProvider(ctx)
	d.kernel()
	d.limits()
	if ctx.Err() != nil {
		return context.Cause(ctx) // somebody interrupted it
	}
	return d.sheet.verdict()
}

// examineProvider tells of what is found out by asking the provider.
func (d *doctor) examineProvider(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, examineTime)
	defer cancel()
	d.tls(ctx)
	d.admission()
	d.version(ctx)
	d.answer(ctx)
	d.clock(ctx)
}

// look finds the provider and attaches to it, then looks at the run directories:
// what --wait waits for has come by then.
func (d *doctor) look(ctx context.Context) {
	bounded, cancel := d.r.bound(ctx)
	defer cancel()
	o, err := d.options()
	if err != nil {
		d.findErr = misconfigured(err, "")
	} else if d.target, d.findErr = client.Find(bounded, o); bounded.Err() != nil {
		d.findErr = bounded.Err()
	} else if d.findErr == nil {
		o.Address, o.Wait = d.target, -1
		d.client, d.dialErr = client.Dial(bounded, o)
		d.mute = d.dialErr != nil && bounded.Err() != nil
	}
	d.places = client.Places(o.RunDirs)
	d.sockets = d.gather()
}

// options returns where to look for the provider. What is wrong with an address
// is for the checks to tell.
func (d *doctor) options() (client.Options, error) {
	o := client.Options{
		Address: d.r.address.Endpoint, TLS: d.r.tls, Wait: d.r.wait, GiveUpAfter: time.Millisecond,
		Logger: d.p.logger(hclog.Off),
	}
	if d.r.wait <= 0 {
		o.Wait = -1
	}
	dirs, err := d.r.runDirs()
	if err != nil {
		return o, err
	}
	o.RunDirs = dirs
	if err := d.faults[api.EnvAddress]; err != nil {
		return o, err
	}
	if o.Address != (api.Endpoint{}) {
		return o, o.Address.Validate()
	}
	return o, nil
}

// leave ends the attachment.
func (d *doctor) leave() {
	if d.client != nil {
		d.client.Close()
	}
}

// reached reports whether the provider has let this process in.
func (d *doctor) reached() bool { return d.client != nil }

// by says where the provider's address comes from.
func (d *doctor) by() string {
	if d.asked == "" {
		return "discovery"
	}
	return string(d.asked)
}

// tell puts a finding on the sheet.
func (d *doctor) tell(f finding) { d.sheet.add(f) }

// ok, skip, warn and fail tell what a check found, in words.
func (d *doctor) ok(check string, more details, format string, args ...any) {
	d.tell(finding{Check: check, Status: statusOK, Found: fmt.Sprintf(format, args...), Detail: more})
}

func (d *doctor) skip(check string, format string, args ...any) {
	d.tell(finding{Check: check, Status: statusSkip, Found: fmt.Sprintf(format, args...)})
}

func (d *doctor) warn(check, fix string, more details, format string, args ...any) {
	d.tell(finding{Check: check, Status: statusWarn, Found: fmt.Sprintf(format, args...), Fix: fix, Detail: more})
}

func (d *doctor) fail(check string, code int, fix string, more details, format string, args ...any) {
	d.tell(finding{Check: check, Status: statusFail, Found: fmt.Sprintf(format, args...), Fix: fix, Code: code, Detail: more})
}

// grave is a warning, or a failure with code if no provider was reached: then it
// may be the cause.
func (d *doctor) grave(check string, code int, fix string, more details, format string, args ...any) {
	if d.reached() {
		d.warn(check, fix, more, format, args...)
		return
	}
	d.fail(check, code, fix, more, format, args...)
}
