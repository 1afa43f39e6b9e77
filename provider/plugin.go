package provider

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"crier.local/api"
)

// Handshake returns what this provider and a host that starts it with go-plugin
// have to agree on.
func Handshake() plugin.HandshakeConfig {
	return plugin.HandshakeConfig{
		ProtocolVersion:  api.PluginProtocol,
		MagicCookieKey:   api.PluginCookieKey,
		MagicCookieValue: api.PluginCookieValue,
	}
}

// newHealth returns what a go-plugin client asks before it takes a provider for
// alive. For a spawned provider go-plugin answers itself.
func newHealth() *health.Server {
	h := health.NewServer()
	h.SetServingStatus(plugin.GRPCServiceName, grpc_health_v1.HealthCheckResponse_SERVING)
	return h
}

// ServePlugin serves the host that has started this process through go-plugin,
// and the processes to which the host hands the address. It returns nil when the
// provider has been closed, because the host asked for it or has ended, or after
// SIGTERM; SIGINT is the host's affair, as it goes to all processes of a terminal.
//
// From its call on os.Stdout is os.Stderr, whose lines appear in the host's log:
// standard output is for the handshake, and a host need not read what follows.
func (p *Provider) ServePlugin() error {
	if err := checkHost(); err != nil {
		return err
	}
	p.front.spawned = true
	p.front.owner = os.Getppid()
	hostGone := make(chan struct{})
	if p.front.owner > 1 {
		gone := sync.OnceFunc(func() { close(hostGone) })
		stop := watchProcess(p.front.owner, gone)
		defer stop()
		if os.Getppid() != p.front.owner { // it has ended before the watch began
			gone()
		}
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(signals)
	// For good: SIGPIPE would end the process at its next log line, also at one
	// after this, once the host is gone.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)

	stdout := os.Stdout
	os.Stdout = os.Stderr
	if err := p.front.open(); err != nil {
		return err
	}
	defer p.Close()
	ctx, stop := context.WithCancel(context.Background())
	s, err := p.front.servePlugin(ctx)
	if err == nil {
		err = s.introduce(stdout)
	}
	if err == nil {
		s.await(signals, hostGone)
	}
	err = errors.Join(err, p.Close())
	stop()
	if s != nil {
		<-s.over
	}
	return err
}

// checkHost returns an error if this process was not started as a plugin, or in
// a way in which several clients cannot share it.
func checkHost() error {
	switch {
	case os.Getenv(api.PluginCookieKey) != api.PluginCookieValue:
		return fmt.Errorf("this provider is started by another program, through go-plugin (%s is not set)", api.PluginCookieKey)
	case os.Getenv("PLUGIN_CLIENT_CERT") != "":
		return errors.New("the host uses AutoMTLS, which leaves nobody else in: turn it off")
	case os.Getenv("PLUGIN_MULTIPLEX_GRPC") != "":
		return errors.New("the host multiplexes its connection (GRPCBrokerMultiplex), which hides who is at the other end: turn it off")
	}
	return nil
}

// pluginServer is go-plugin's server while it runs.
type pluginServer struct {
	address *plugin.ReattachConfig
	over    chan struct{} // closed when it has ended
}

// servePlugin starts go-plugin's server, which runs until ctx ends or the owner
// shuts it down.
//
// It runs in what go-plugin calls test mode. That leaves to the program what
// go-plugin otherwise does in a way that one of several clients could use to
// harm the others: it replaces standard output by a pipe that blocks once nobody
// reads it, and exits with 0 when it could not start.
func (f *front) servePlugin(ctx context.Context) (*pluginServer, error) {
	if err := f.preparePluginDir(); err != nil {
		return nil, err
	}
	started := make(chan *plugin.ReattachConfig, 1)
	var server *grpc.Server // set before started is
	s := &pluginServer{over: make(chan struct{})}
	go func() {
		defer close(s.over)
		plugin.Serve(&plugin.ServeConfig{
			HandshakeConfig:  Handshake(),
			VersionedPlugins: map[int]plugin.PluginSet{api.PluginProtocol: {api.PluginName: served{}}},
			GRPCServer: func(o []grpc.ServerOption) *grpc.Server {
				server = f.newServer(f.localOptions(), append(o, grpc.UnaryInterceptor(f.drainFirst))...)
				return server
			},
			Logger: f.pluginLog(),
			Test:   &plugin.ServeTestConfig{Context: ctx, ReattachConfigCh: started},
		})
	}()
	select {
	case s.address = <-started:
		return s, f.openPluginSocket(s.address.Addr.String(), server)
	case <-s.over:
		return nil, errors.New("the plugin's server did not start; its log says why")
	}
}

// preparePluginDir makes go-plugin put its socket into the run directory, unless
// the host has chosen one, and checks that a socket can be there.
func (f *front) preparePluginDir() error {
	dir := os.Getenv(plugin.EnvUnixSocketDir)
	if dir == "" {
		var err error
		if dir, err = pluginDir(); err != nil {
			return err
		}
		os.Setenv(plugin.EnvUnixSocketDir, dir)
	}
	if err := makeRunDir(dir, f.p.options.AllowGIDs); err != nil {
		return err
	}
	sweepPluginSockets(dir)
	const name = "plugin4294967295" // the longest that go-plugin chooses
	return api.UnixEndpoint(filepath.Join(dir, name)).Validate()
}

// openPluginSocket lets whoever reaches the directory connect, as to any socket
// of a provider, unless the host has chosen a group; and keeps an eye on it.
func (f *front) openPluginSocket(path string, server *grpc.Server) error {
	if os.Getenv(plugin.EnvUnixSocketGroup) == "" {
		if err := os.Chmod(path, 0o666); err != nil {
			return err
		}
	}
	return f.adopt(path, server)
}

func pluginDir() (string, error) {
	if dir := os.Getenv(api.EnvRunDir); dir != "" {
		return dir, nil
	}
	return chooseRunDir(api.RunDirs())
}

// sweepPluginSockets removes the sockets of this user's that spawned providers
// left in dir which were killed. A new one can look abandoned for an instant.
func sweepPluginSockets(dir string) {
	paths, err := filepath.Glob(filepath.Join(dir, "plugin[0-9]*"))
	if err != nil {
		return
	}
	for _, path := range paths {
		if info, own := ownFile(path, fs.ModeSocket); own && time.Since(info.ModTime()) > time.Minute && abandoned(path) {
			os.Remove(path)
		}
	}
}

// pluginLog is for go-plugin: it has to say somewhere why it does not start.
func (f *front) pluginLog() hclog.Logger {
	if f.p.log.GetLevel() != hclog.Off {
		return f.p.log.Named("plugin")
	}
	return hclog.New(&hclog.LoggerOptions{Name: "plugin", Level: hclog.Warn, Output: os.Stderr, JSONFormat: true})
}

// drainFirst closes the provider before the owner's Shutdown ends its server.
// Nobody else's Shutdown comes here.
func (f *front) drainFirst(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if info.FullMethod == "/"+shutdownMethod {
		f.p.Close()
	}
	return next(ctx, req)
}

// introduce prints the line by which a host learns the address.
func (s *pluginServer) introduce(stdout *os.File) error {
	a := s.address
	_, err := fmt.Fprintf(stdout, "%d|%d|%s|%s|%s|\n",
		plugin.CoreProtocolVersion, a.ProtocolVersion, a.Addr.Network(), a.Addr, a.Protocol)
	return err
}

// await returns when it is time to end.
func (s *pluginServer) await(signals <-chan os.Signal, hostGone <-chan struct{}) {
	for {
		select {
		case sig := <-signals:
			if sig == syscall.SIGTERM {
				return
			}
		case <-hostGone:
			return
		case <-s.over:
			return
		}
	}
}

// served is what a host can dispense. The service is on the server already, for
// it is the same one, whichever way a client comes.
type served struct{ plugin.NetRPCUnsupportedPlugin }

// GRPCServer registers nothing.
func (served) GRPCServer(*plugin.GRPCBroker, *grpc.Server) error { return nil }

// GRPCClient is for hosts.
func (served) GRPCClient(context.Context, *plugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, errors.New("a provider does not dispense itself")
}
