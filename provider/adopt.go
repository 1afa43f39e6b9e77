package provider

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"

	"crier.local/api"
)

// Adopt is Listen at a listener that somebody else has opened, such as the service
// manager of a system: clients attach at l from now until Close, which closes l. It
// returns the address under which they find it, and waits for nothing. With an error
// l stays the caller's.
//
// The file of a unix socket stays whose it is. The provider takes no lock for it, and
// neither changes nor removes nor replaces it; nor does it make the directory. But it
// announces itself beside it, if it may write there, and mends the announcement. When
// the file is gone nobody finds the provider any more, and all that it can do is to
// log that the socket has to be opened again by whoever did so. The socket needs a
// path that this process sees.
//
// For TCP the rules of Listen hold: it needs Options.TLS or, on loopback,
// Options.Insecure.
func (p *Provider) Adopt(l net.Listener) (api.Endpoint, error) {
	adopt, err := p.front.adopter(l)
	if err != nil {
		return api.Endpoint{}, err
	}
	if err := p.front.open(); err != nil {
		return api.Endpoint{}, err
	}
	actual, err := adopt()
	if err != nil {
		return api.Endpoint{}, fmt.Errorf("serve on %s, which another program opened: %w", actual, err)
	}
	p.front.announce()
	return actual, nil
}

// adopter returns what adopts l, or an error if nothing does.
func (f *front) adopter(l net.Listener) (func() (api.Endpoint, error), error) {
	switch l := l.(type) {
	case *net.UnixListener:
		if l.Addr().Network() == "unix" {
			return func() (api.Endpoint, error) { return f.adoptSocket(l) }, nil
		}
	case *net.TCPListener:
		return func() (api.Endpoint, error) { return f.adoptPort(l) }, nil
	case nil:
		return nil, errors.New("no listener was given")
	}
	return nil, fmt.Errorf("cannot serve on a listener of type %T for %s: want a unix stream socket or a TCP port",
		l, l.Addr().Network())
}

func (f *front) adoptSocket(l *net.UnixListener) (api.Endpoint, error) {
	e := api.UnixEndpoint(l.Addr().String())
	dir, file, err := adoptable(e)
	if err != nil {
		return e, err
	}
	l.SetUnlinkOnClose(false)
	return e, f.serveSocket(&socket{path: e.Address, over: make(chan struct{}), adopted: true, dir: dir, listener: l, file: file})
}

// adoptable returns what is known of a socket's file and directory, or an error if
// clients cannot find it there.
func adoptable(e api.Endpoint) (dir, file fs.FileInfo, err error) {
	if e.Address == "" || strings.HasPrefix(e.Address, "@") {
		return nil, nil, errors.New("the socket has no file: any user could connect to it, and clients could not find it; give it a path")
	}
	if err := e.Validate(); err != nil {
		return nil, nil, err
	}
	dir, err = os.Stat(filepath.Dir(e.Address))
	if err == nil {
		file, err = os.Lstat(e.Address)
	}
	switch {
	case err != nil:
		return nil, nil, fmt.Errorf("clients do not find it (%w); %s", err, reopen)
	case file.Mode().Type() != fs.ModeSocket:
		return nil, nil, errors.New("the file there is not a socket any more; " + reopen)
	}
	return dir, file, nil
}

// reopen is what helps when the file of an adopted socket is gone.
const reopen = "have whoever opened the socket do so again (systemctl restart its .socket unit)"

// errNotOurs is why the socket of somebody else is not mended.
var errNotOurs = errors.New("another program opened the socket")

func (f *front) adoptPort(l *net.TCPListener) (api.Endpoint, error) {
	e := api.Endpoint{Network: "tcp", Address: l.Addr().String()}
	config, err := f.tlsConfig()
	if err != nil {
		return e, err
	}
	address, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return e, errors.New("its address is unknown")
	}
	if err := checkOpenness(address, config); err != nil {
		return e, err
	}
	return e, f.servePort(newPort(f, l, e, config))
}
