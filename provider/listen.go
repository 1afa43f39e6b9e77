package provider

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/gofrs/flock"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"crier.local/api"
)

// front is where other processes come in: the gate that they pass, the sockets,
// and the gRPC server behind them. It is shut by the provider's Close, which
// then waits for what goes on in here.
type front struct {
	p       *Provider
	gate    gate
	owner   int  // the pid of the host that started this provider as a plugin; 0 for none
	spawned bool // the provider was started as a plugin
	opening sync.Once
	opened  error
	serving sync.WaitGroup // one per socket

	mu      sync.Mutex
	shut    bool
	server  *grpc.Server // of the sockets; nil before there is one
	health  *health.Server
	sockets []*socket
	papers  map[string]string // announcement files by directory
}

func newFront(p *Provider) *front {
	f := &front{p: p, papers: map[string]string{}}
	f.gate.init(p.options.Limits.Processes)
	return f
}

// Listen lets clients attach at e, from now until Close, and announces the
// provider beside the socket. It creates the socket's directory if there is
// none: for the provider's own user, or for the first of the groups that it
// admits. It returns the address under which clients find it, which is e.
//
// A socket file that nobody listens on any more is replaced. Listen fails if
// somebody does listen there, and leaves them alone. It does not block.
func (p *Provider) Listen(e api.Endpoint) (api.Endpoint, error) {
	if err := e.Validate(); err != nil {
		return api.Endpoint{}, err
	}
	if e.Network != "unix" {
		return api.Endpoint{}, fmt.Errorf("listen on %s: tcp comes with mTLS, which this version does not have", e)
	}
	if err := p.front.open(); err != nil {
		return api.Endpoint{}, err
	}
	if err := p.front.listen(e); err != nil {
		return api.Endpoint{}, fmt.Errorf("listen on %s: %w", e, err)
	}
	p.front.announce()
	return e, nil
}

// open makes the provider's Close shut the front, and wait for it.
func (f *front) open() error {
	f.opening.Do(func() {
		f.opened = f.p.onClose(f.close) // clear is what it waits for
	})
	return f.opened
}

// listen opens a socket and serves it.
func (f *front) listen(e api.Endpoint) error {
	s, err := openSocket(e.Address, f.p.options.AllowGIDs)
	if err != nil {
		return err
	}
	s.front = f
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.shut {
		s.Close()
		s.lock.Unlock()
		return errGoingAway
	}
	if f.server == nil {
		f.server, f.health = f.newServer(), newHealth()
		grpc_health_v1.RegisterHealthServer(f.server, f.health)
	}
	f.sockets = append(f.sockets, s)
	f.serving.Go(func() { f.server.Serve(s) })
	return nil
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
	if f.health != nil {
		f.health.Shutdown()
	}
	go f.clear()
}

// clear waits until nobody is attached any more, stops the server, and lets go
// of the locks, so that another provider can take the addresses.
func (f *front) clear() {
	defer f.p.attached.Done()
	f.gate.inside.Wait()
	if f.server != nil {
		f.server.Stop()
	}
	f.serving.Wait()
	for _, s := range f.sockets {
		s.lock.Unlock()
	}
}

// socket is a unix socket that a provider listens on, from which nobody else can
// take it.
type socket struct {
	*net.UnixListener
	front    *front
	path     string
	lock     *flock.Flock // on path + ".lock"; the file stays, since it cannot be removed without a race
	file     fs.FileInfo  // of path, to know our own
	over     chan struct{}
	closing  sync.Once
	closeErr error
}

// openSocket takes path, in a directory that it makes if need be.
func openSocket(path string, gids []uint32) (*socket, error) {
	if err := makeRunDir(filepath.Dir(path), gids); err != nil {
		return nil, err
	}
	lock := flock.New(path+".lock", flock.SetFlag(os.O_CREATE|os.O_RDONLY|syscall.O_NOFOLLOW))
	locked, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	if !locked {
		return nil, fmt.Errorf("another provider listens there; it holds %s.lock", path)
	}
	s, err := bindSocket(path)
	if err != nil {
		lock.Unlock()
		return nil, err
	}
	s.lock = lock
	return s, nil
}

// bindSocket binds path, whose lock the caller holds.
func bindSocket(path string) (*socket, error) {
	if err := removeStale(path); err != nil {
		return nil, err
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	listener.SetUnlinkOnClose(false)
	// Whoever reaches the directory may connect: the credentials decide then.
	if err := os.Chmod(path, 0o666); err != nil {
		listener.Close()
		return nil, err
	}
	file, err := os.Lstat(path)
	if err != nil {
		listener.Close()
		return nil, err
	}
	return &socket{UnixListener: listener, path: path, file: file, over: make(chan struct{})}, nil
}

// removeStale removes the socket file at path, if nobody listens on it.
func removeStale(path string) error {
	file, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case file.Mode().Type() != fs.ModeSocket:
		return errors.New("the file there is not a socket; remove it or choose another address")
	}
	conn, err := net.Dial("unix", path)
	switch {
	case err == nil:
		conn.Close()
		return errors.New("another program listens there, and it does not hold the lock that providers take")
	case errors.Is(err, syscall.ECONNREFUSED):
		return os.Remove(path)
	default: // somebody else's, or busy: whatever it is, it is not ours to remove
		return fmt.Errorf("the socket there does not look abandoned: %w", err)
	}
}

// Accept returns the next connection as a *link. It waits while too many have
// not greeted yet, and until the kernel can give one again after it could not.
func (s *socket) Accept() (net.Conn, error) {
	for delay := time.Duration(0); ; {
		if !s.front.gate.await() {
			return nil, net.ErrClosed
		}
		l, err := s.accept()
		switch {
		case err == nil:
			return l, nil
		case errors.Is(err, errFlood):
			continue
		case errors.Is(err, net.ErrClosed):
			return nil, err
		}
		delay = min(max(2*delay, 5*time.Millisecond), time.Second)
		s.front.p.log.Warn("cannot accept a connection", "address", s.path, "error", err, "wait", delay)
		select {
		case <-time.After(delay):
		case <-s.over:
		}
	}
}

func (s *socket) accept() (*link, error) {
	conn, err := s.AcceptUnix()
	if err != nil {
		return nil, err
	}
	l, err := newLink(conn, &s.front.gate, s.front.p.authorize)
	if err != nil {
		conn.Close()
	}
	return l, err
}

// Close ends the listening, and removes the file at the path if it is ours still.
func (s *socket) Close() error {
	s.closing.Do(func() {
		close(s.over)
		s.closeErr = s.UnixListener.Close()
		if file, err := os.Lstat(s.path); err == nil && os.SameFile(file, s.file) {
			os.Remove(s.path)
		}
	})
	return s.closeErr
}
