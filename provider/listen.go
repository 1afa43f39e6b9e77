package provider

import (
	"fmt"
	"net"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"crier.local/api"
)

// front is where other processes come in: the gate that they pass, the sockets
// and ports, and the gRPC servers behind them. It is shut by the provider's Close, which
// then waits for what goes on in here.
type front struct {
	p       *Provider
	gate    gate
	owner   int  // the pid of the host that started this provider as a plugin; 0 for none
	spawned bool // the provider was started as a plugin
	opening sync.Once
	opened  error
	serving sync.WaitGroup // one per listener

	buffers    buffers
	complaints complaints

	mu      sync.Mutex
	shut    bool
	server  *grpc.Server // of the sockets; nil before there is one
	remote  *grpc.Server // of the ports; nil before there is one
	health  *health.Server
	sockets []*socket
	ports   []*port
	papers  map[string]*paper // announcements by directory
	keeper  *keeper           // nil before there is a socket
}

func newFront(p *Provider) *front {
	f := &front{p: p, buffers: buffersFor(MemoryLimit()), papers: map[string]*paper{}}
	f.gate.init(p.options.Limits.Processes)
	return f
}

// Listen lets clients attach at e, from now until Close. It returns the address
// under which they find it: e, with the real port for tcp://host:0. It waits for
// nothing but the look-up of a host's name.
//
// A unix socket is announced beside itself. Listen creates its directory if
// there is none: for the provider's own user, or for the first of the groups
// that it admits. A socket file that nobody listens on any more is replaced.
// Listen fails if somebody does listen there, and leaves them alone.
//
// TCP needs Options.TLS or, on loopback, Options.Insecure.
//
// A listener that another program has opened is for Adopt.
func (p *Provider) Listen(e api.Endpoint) (api.Endpoint, error) {
	if err := e.Validate(); err != nil {
		return api.Endpoint{}, err
	}
	if err := p.front.open(); err != nil {
		return api.Endpoint{}, err
	}
	actual, err := p.front.listen(e)
	if err != nil {
		return api.Endpoint{}, fmt.Errorf("listen on %s: %w", e, err)
	}
	p.front.announce()
	return actual, nil
}

// open makes the provider's Close shut the front, and wait for it.
func (f *front) open() error {
	f.opening.Do(func() {
		f.opened = f.p.onClose(f.close) // clear is what it waits for
	})
	return f.opened
}

// listen opens an address and serves it.
func (f *front) listen(e api.Endpoint) (api.Endpoint, error) {
	if e.Network == "tcp" {
		return f.listenTCP(e)
	}
	s, err := openSocket(e.Address, f.p.options.AllowGIDs)
	if err != nil {
		return e, err
	}
	if err := f.serveSocket(s); err != nil {
		s.Close()
		s.unlock()
		return e, err
	}
	return e, nil
}

// serveSocket serves a socket, which with an error stays open.
func (f *front) serveSocket(s *socket) error {
	s.belong(f)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.shut {
		return errGoingAway
	}
	f.sockets = append(f.sockets, s)
	f.serveLocked(s, &f.server, f.localOptions)
	return nil
}

func (f *front) listenTCP(e api.Endpoint) (api.Endpoint, error) {
	config, err := f.tlsConfig()
	if err != nil {
		return e, err
	}
	p, err := openPort(f, e, config)
	if err != nil {
		return e, err
	}
	if err := f.servePort(p); err != nil {
		p.Close()
		return e, err
	}
	return p.endpoint, nil
}

// servePort serves a port, which with an error stays open.
func (f *front) servePort(p *port) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.shut {
		return errGoingAway
	}
	f.gate.share()
	f.ports = append(f.ports, p)
	f.serveLocked(p, &f.remote, f.remoteOptions)
	return nil
}

// serveLocked serves a listener by the server of its kind, which is made if
// there is none.
func (f *front) serveLocked(l net.Listener, server **grpc.Server, kind func() []grpc.ServerOption) {
	if f.health == nil {
		f.health = newHealth()
	}
	if *server == nil {
		*server = f.newServer(kind())
		grpc_health_v1.RegisterHealthServer(*server, f.health)
	}
	serving := *server
	f.serving.Go(func() { serving.Serve(l) })
}

// close lets nobody in any more: files and sockets go, and clients that look for
// a provider find none. Those that are attached stay.
func (f *front) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.shut = true
	f.gate.close()
	f.retract()
	for _, s := range f.sockets {
		s.Close()
	}
	for _, p := range f.ports {
		p.Close()
	}
	if f.health != nil {
		f.health.Shutdown()
	}
	go f.clear()
}

// clear waits until nobody is attached any more, stops the servers, and lets go
// of the locks, so that another provider can take the addresses.
func (f *front) clear() {
	defer f.p.attached.Done()
	f.gate.inside.Wait()
	f.gate.clear()
	for _, server := range []*grpc.Server{f.server, f.remote} {
		if server != nil {
			server.Stop()
		}
	}
	f.serving.Wait()
	for _, s := range f.sockets {
		s.unlock()
	}
}
