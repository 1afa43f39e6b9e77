package main

import (
	"context"
	"fmt"
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
	uids      idsFlag
	gids      idsFlag
}

func (p *program) serveCommand() *cobra.Command {
	s := &server{p: p, priority: priorityFlag(api.PriorityNormal)}
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run a provider",
		Long: `Serve holds rooms for the processes that come to it, until it is told to stop.
It tells where it listens on standard error, a line per address, when it is ready.`,
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
	f.Var(&s.uids, "allow-uid", "admit this `uid` too; may be repeated")
	f.Var(&s.gids, "allow-gid", "admit this `gid` too; may be repeated")
	completeDirectories(cmd)
	completeFiles(cmd, "address")
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
	endpoints, err := s.endpoints()
	if err != nil {
		return misconfigured(err, "")
	}
	p, err := s.provider()
	if err != nil {
		return err
	}
	defer p.Close()
	for _, e := range endpoints {
		actual, err := p.Listen(e)
		if err != nil {
			return misconfigured(err, "")
		}
		s.p.note("listening on %s", actual)
		s.warnBarred(filepath.Dir(actual.Address))
	}
	<-ctx.Done()
	return nil
}

// provider returns a provider of the notification service that nobody can attach
// to yet.
func (s *server) provider() (*provider.Provider, error) {
	logger := s.p.logger(hclog.Info)
	p := provider.New(provider.Options{
		Name: string(s.name), Version: release(), Tags: s.tags, AllowUIDs: s.uids, AllowGIDs: s.gids, Logger: logger,
	})
	_, err := notification.Register(p,
		notification.Options{Stall: s.stall, Logger: logger},
		provider.ServiceOptions{Priority: api.Priority(s.priority)})
	return p, err
}

func (s *server) endpoints() ([]api.Endpoint, error) {
	if len(s.addresses) == 0 {
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
