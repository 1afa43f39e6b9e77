package client

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"crier.local/api"
)

const (
	// startTime is how long a provider may take to start.
	startTime = 30 * time.Second
	// endTime is how long it may take to end before it is killed: what it has
	// queued gets 5 seconds of that.
	endTime = 8 * time.Second
)

// Spawned is a provider that this process has started, and owns: it ends when
// Close is called, or when this process does.
type Spawned struct {
	plugin   *plugin.Client
	cmd      *exec.Cmd
	address  api.Endpoint
	over     <-chan struct{} // closed when it has ended
	closing  sync.Once
	closeErr error
}

// Spawn starts cmd, a program that calls [provider.Provider.ServePlugin], and
// returns when clients can attach to it. The lines that it logs go to logger with
// their level and their pairs; logger may be nil. ctx bounds the start alone.
//
// A cmd.Env of nil stands for this process's environment, as in os/exec. Close
// is to be called in the end.
func Spawn(ctx context.Context, cmd *exec.Cmd, logger hclog.Logger) (*Spawned, error) {
	if logger == nil {
		logger = hclog.NewNullLogger()
	}
	if cmd.Env == nil {
		cmd.Env = os.Environ()
	}
	limit := startTime
	if end, ok := ctx.Deadline(); ok {
		limit = max(1, min(limit, time.Until(end)))
	}
	s, words := &Spawned{cmd: cmd}, &lastWords{}
	s.plugin = plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig:  handshake(),
		VersionedPlugins: map[int]plugin.PluginSet{api.PluginProtocol: {api.PluginName: hosted{}}},
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		Cmd:              cmd,
		SkipHostEnv:      true, // cmd says what it is to have
		StartTimeout:     limit,
		Stderr:           words,
		Logger:           logger,
	})
	var err error
	started := make(chan struct{})
	go func() {
		defer close(started)
		err = s.start()
	}()
	select {
	case <-started:
	case <-ctx.Done():
		go func() { // what has begun has to be ended
			<-started
			_ = s.Close()
		}()
		return nil, context.Cause(ctx)
	}
	if err != nil {
		if s.Close() == nil && cmd.ProcessState != nil && cmd.ProcessState.Exited() {
			err = words.explain(err)
		}
		return nil, fmt.Errorf("start the provider: %w", err)
	}
	return s, nil
}

// lastWords keeps the last lines of a program's standard error that are no JSON
// of its log.
type lastWords struct {
	mu    sync.Mutex
	line  []byte // not ended yet
	lines []string
}

// Write hears text.
func (w *lastWords) Write(text []byte) (int, error) {
	const most, longest = 8, 1 << 10 // lines, and bytes of a line
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range text {
		switch {
		case c != '\n' && len(w.line) < longest:
			w.line = append(w.line, c)
		case c == '\n':
			if len(w.line) > 0 && w.line[0] != '{' {
				w.lines = append(w.lines[max(0, len(w.lines)+1-most):], string(w.line))
			}
			w.line = nil
		}
	}
	return len(text), nil
}

// explain returns what the program said, or err if it said nothing.
func (w *lastWords) explain(err error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.lines) == 0 {
		return err
	}
	return errors.New(strings.TrimPrefix(strings.Join(w.lines, "\n"), "crier: "))
}

func (s *Spawned) start() error {
	address, err := s.plugin.Start()
	if err != nil {
		return err
	}
	s.address = api.Endpoint{Network: address.Network(), Address: address.String()}
	client, err := s.plugin.Client()
	if err != nil {
		return err
	}
	over, err := client.Dispense(api.PluginName)
	if err != nil {
		return err
	}
	s.over = over.(<-chan struct{})
	return nil
}

// Address returns where clients attach; $CRIER_ADDRESS tells processes started
// beside the provider.
func (s *Spawned) Address() api.Endpoint { return s.address }

// Wait returns when the provider has ended, with an error unless it ended well,
// or when ctx ends.
func (s *Spawned) Wait(ctx context.Context) error {
	select {
	case <-s.over:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if state := s.cmd.ProcessState; !state.Success() {
		return fmt.Errorf("provider %s: %s", s.cmd.Path, state)
	}
	return nil
}

// Close has the provider tell its clients that it goes away, and end. It returns
// when the provider has ended, which it is made to do if it takes too long. It
// may be called again.
func (s *Spawned) Close() error {
	s.closing.Do(func() { s.closeErr = s.end() })
	return s.closeErr
}

func (s *Spawned) end() error {
	if os.Getpid() == 1 && s.over != nil {
		// A provider takes nobody for its owner whose pid tells nothing: it could
		// have been orphaned. A signal it heeds.
		s.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-s.over:
		case <-time.After(endTime):
		}
	}
	kill := time.AfterFunc(endTime, func() {
		if s.cmd.Process != nil {
			s.cmd.Process.Kill()
		}
	})
	defer kill.Stop()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.plugin.Kill()
	}()
	select {
	case <-ended:
		return nil
	case <-time.After(endTime + 2*time.Second):
		return errors.New("the provider has been killed, but a process that it started holds its output open")
	}
}

// hosted is what a host dispenses: the end of the provider's process.
type hosted struct{ plugin.NetRPCUnsupportedPlugin }

// GRPCServer is for providers.
func (hosted) GRPCServer(*plugin.GRPCBroker, *grpc.Server) error {
	return errors.New("a host serves nothing")
}

// GRPCClient returns a channel that is closed when the provider has ended.
func (hosted) GRPCClient(ctx context.Context, _ *plugin.GRPCBroker, _ *grpc.ClientConn) (any, error) {
	return ctx.Done(), nil
}
