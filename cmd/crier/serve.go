package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"

	"crier.local/api"
	"crier.local/provider"
	"crier.local/provider/notification"
)

// server is a provider of the notification service, and how it is set up.
type server struct {
	p         *program
	addresses endpointsFlag
	runDir    string
	name      label
	tags      labels
	priority  priorityFlag
	stall     time.Duration
	uids      usersFlag
	gids      groupsFlag
	tls       api.TLSFiles
	untilEOF  bool // end with standard input
	insecure  bool
}

func (p *program) serveCommand() *cobra.Command {
	s := &server{p: p, priority: priorityFlag(api.PriorityNormal)}
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run a provider",
		Long: `Serve holds rooms for the processes that come to it, until it is told to stop.
It tells where it listens on standard error, a line per address, when it is ready.

On TCP it admits whoever shows a certificate of --tls-client-ca; who they are is the
first URI in it, else its common name. Files that are replaced count for the next
connection. Without TLS, --insecure, it listens on loopback alone.

Under a service manager such as systemd it serves the sockets that are passed to it,
and the default address only if there are none; it tells when it is ready and when it
ends, and if a watchdog is set, gives a sign of life each time a client of its own
has been let in and answered. deploy/systemd has units.

On SIGUSR1 it logs its state: goroutines, descriptors, processes, connections, queued
and heap bytes.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return s.run(cmd.Context()) },
	}
	s.addTo(cmd)
	f := cmd.Flags()
	f.Var(&s.addresses, "address", "the `address` to listen on; may be repeated (default unix://<run dir>/<name>.sock)")
	f.Lookup("address").Annotations = map[string][]string{environmentKey: {"CRIER_LISTEN"}}
	f.StringVar(&s.runDir, "run-dir", "", "the `directory` of the default address")
	f.Var(&s.tags, "tag", "a `tag` that tells this provider from others; may be repeated")
	f.Var(&s.priority, "priority", "which provider clients prefer: a number up to 255 or a `word` such as preferred")
	f.Var(&s.uids, "allow-uid", "admit this `user` too, by number or name; may be repeated")
	f.Var(&s.gids, "allow-gid", "admit this `group` too, by number or name; may be repeated")
	f.StringVar(&s.tls.Cert, "tls-cert", "", "for TCP: the `file` of the provider's certificate")
	f.StringVar(&s.tls.Key, "tls-key", "", "for TCP: the `file` of the certificate's key")
	f.StringVar(&s.tls.CA, "tls-client-ca", "", "for TCP: the `file` of the authority that clients' certificates must come from")
	f.BoolVar(&s.untilEOF, "until-eof", false, "end when standard input does, for a program that starts its own provider")
	f.BoolVar(&s.insecure, "insecure", false, "TCP without TLS, on loopback alone; it admits every user of this host")
	completeDirectories(cmd)
	for _, flag := range []string{"address", "tls-cert", "tls-key", "tls-client-ca"} {
		completeFiles(cmd, flag)
	}
	complete(cmd, "priority", func(context.Context, *cobra.Command) []string { return priorityWords() })
	return cmd
}

// addTo adds the flags that a spawned provider has too.
func (s *server) addTo(cmd *cobra.Command) {
	s.name = "crier"
	cmd.Flags().Var(&s.name, "name", "the provider's `name`")
	cmd.Flags().Var(timeSpan(&s.stall, 5*time.Second, 1), "stall", "how long senders wait for a listener that does not read before it is sent away")
}

// pluginCommand is the provider that demo spawns, and any host of go-plugin can.
func (p *program) pluginCommand() *cobra.Command {
	s := &server{p: p, priority: priorityFlag(api.PriorityNormal)}
	cmd := &cobra.Command{
		Use:    "plugin",
		Short:  "Run a provider that a go-plugin host has spawned",
		Args:   noArguments,
		Hidden: true,
		RunE: func(*cobra.Command, []string) error {
			p.release() // from here on interrupts are the host's affair
			provider, err := s.provider()
			if err != nil {
				return err
			}
			return provider.ServePlugin()
		},
	}
	s.addTo(cmd)
	return cmd
}

func (s *server) run(ctx context.Context) error {
	boss, err := takeSupervisor()
	if err != nil {
		return misconfigured(err, "")
	}
	endpoints, err := s.endpoints(len(boss.listeners) > 0)
	if err != nil {
		return misconfigured(err, "")
	}
	p, err := s.provider()
	if err != nil {
		return err
	}
	s.warnFewPlaces(p)
	logger := s.p.logger(hclog.Info)
	defer tellState(p, logger)()
	defer p.Close()
	addresses, err := s.open(p, boss.listeners, endpoints)
	if err != nil {
		return err
	}
	stopHeartbeat, err := boss.beginHeartbeat(p.Epoch(), addresses, logger)
	if err != nil {
		return misconfigured(err, "")
	}
	defer stopHeartbeat()
	warnUnheard(logger, boss.ready(addresses))
	if s.untilEOF {
		ctx = s.withInput(ctx)
	}
	<-ctx.Done()
	stopHeartbeat()
	warnUnheard(logger, boss.stopping())
	return nil
}

// open lets clients come to p at listeners that are open already and at addresses of
// its own, and returns under which addresses they find it.
func (s *server) open(p *provider.Provider, listeners []net.Listener, own []api.Endpoint) ([]api.Endpoint, error) {
	var addresses []api.Endpoint
	for _, l := range listeners {
		actual, err := p.Adopt(l)
		if err != nil {
			return nil, misconfigured(err, s.listenHint(l.Addr().Network()))
		}
		s.tellOpen(actual)
		addresses = append(addresses, actual)
	}
	for _, e := range own {
		actual, err := p.Listen(e)
		if err != nil {
			return nil, misconfigured(err, s.listenHint(e.Network))
		}
		s.tellOpen(actual)
		addresses = append(addresses, actual)
	}
	return addresses, nil
}

// tellOpen tells that clients can come to e, and who of those admitted cannot.
func (s *server) tellOpen(e api.Endpoint) {
	s.p.note("listening on %s", e)
	if e.Network == "unix" {
		s.warnBarred(filepath.Dir(e.Address))
	}
}

// withInput returns a context that ends with standard input too. A program that
// starts a provider holds the other end, and lets go of it however it ends.
func (s *server) withInput(ctx context.Context) context.Context {
	ctx, end := context.WithCancel(ctx)
	go func() { // until then, or the process's end
		defer end()
		_, _ = io.Copy(io.Discard, s.p.stdin)
	}()
	return ctx
}

// listenHint says what lets a provider listen on TCP, if its flags do not.
func (s *server) listenHint(network string) string {
	switch {
	case network != "tcp":
		return ""
	case s.insecure && s.tls != (api.TLSFiles{}):
		return "--insecure excludes --tls-cert, --tls-key and --tls-client-ca, from the environment too (CRIER_TLS_CERT and so on)"
	case !s.insecure && len(s.tls.Missing()) > 0:
		return "give --tls-cert, --tls-key and --tls-client-ca or, on loopback, --insecure"
	}
	return ""
}

// fewPlaces is for how many processes a provider has to have room, or else serve
// says so.
const fewPlaces = 64

func (s *server) warnFewPlaces(p *provider.Provider) {
	if n := p.Limits().Processes; n < fewPlaces {
		s.p.note("note: places for client processes: %d", n)
		s.p.note("for more of them raise the limit of open files (ulimit -n), or of the cgroup's memory")
	}
}

// provider returns a provider of the notification service that nobody can attach
// to yet.
func (s *server) provider() (*provider.Provider, error) {
	heedMemoryLimit()
	logger := s.p.logger(hclog.Info)
	p := provider.New(provider.Options{
		Name: string(s.name), Version: release(), Tags: s.tags, AllowUIDs: s.uids, AllowGIDs: s.gids,
		TLS: s.tls, Insecure: s.insecure, Logger: logger,
	})
	_, err := notification.Register(p,
		notification.Options{Stall: s.stall, Logger: logger},
		provider.ServiceOptions{Priority: api.Priority(s.priority)})
	return p, err
}

// endpoints returns where to listen besides what is open already, if anything is.
func (s *server) endpoints(open bool) ([]api.Endpoint, error) {
	if len(s.addresses) == 0 && !open {
		return s.defaultEndpoint()
	}
	for _, e := range s.addresses {
		if err := checkAddress(e); err != nil {
			return nil, err
		}
	}
	return s.addresses, nil
}

func (s *server) defaultEndpoint() ([]api.Endpoint, error) {
	dir, err := absolute(s.runDir)
	if err != nil {
		return nil, err
	}
	e, err := provider.DefaultEndpoint(string(s.name), dir)
	return []api.Endpoint{e}, err
}

// priorityFlag is a priority as a word or a number.
type priorityFlag api.Priority

func (p *priorityFlag) Type() string { return "priority" }

func (p *priorityFlag) String() string {
	for _, named := range namedPriorities() {
		if named.priority == api.Priority(*p) {
			return named.word
		}
	}
	return strconv.Itoa(int(*p))
}

func (p *priorityFlag) Set(text string) error {
	for _, named := range namedPriorities() {
		if named.word == text {
			*p = priorityFlag(named.priority)
			return nil
		}
	}
	n, err := strconv.ParseUint(text, 0, 8)
	if err != nil || n == 0 {
		return fmt.Errorf("want a number from 1 to 255, or one of %s", strings.Join(priorityWords(), ", "))
	}
	*p = priorityFlag(n)
	return nil
}

type namedPriority struct {
	word     string
	priority api.Priority
}

func namedPriorities() []namedPriority {
	return []namedPriority{
		{"unpreferred-strongly", api.PriorityUnpreferredStrongly},
		{"unpreferred", api.PriorityUnpreferred},
		{"unpreferred-weakly", api.PriorityUnpreferredWeakly},
		{"normal", api.PriorityNormal},
		{"preferred-weakly", api.PriorityPreferredWeakly},
		{"preferred", api.PriorityPreferred},
		{"preferred-strongly", api.PriorityPreferredStrongly},
	}
}

func priorityWords() []string {
	return slices.Collect(func(yield func(string) bool) {
		for _, named := range namedPriorities() {
			if !yield(named.word) {
				return
			}
		}
	})
}
