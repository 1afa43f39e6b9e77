package faults

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"crier.local/api"
	"crier.local/api/tlstest"
)

// locate decides where the provider will listen.
func (s *Stage) locate() error {
	switch s.setup.Transport {
	case "", TransportUnix:
		s.address = api.UnixEndpoint(filepath.Join(s.setup.Dir, "s"))
		s.server = []string{"--address", s.address.String()}
		s.visitor = s.server
		return nil
	case TransportTLS:
		return s.locateTLS()
	default:
		return fmt.Errorf("transport %q: want %s or %s", s.setup.Transport, TransportUnix, TransportTLS)
	}
}

func (s *Stage) locateTLS() error {
	address, err := FreePort()
	if err != nil {
		return err
	}
	authority, err := tlstest.New(s.setup.Dir)
	if err != nil {
		return err
	}
	server, err := authority.Issue("provider", tlstest.Pair{})
	if err != nil {
		return err
	}
	s.address = api.Endpoint{Network: "tcp", Address: address}
	s.guild = authority
	s.visitor, err = s.argsAs("visitor")
	if err != nil {
		return err
	}
	s.server = []string{
		"--address", s.address.String(),
		"--tls-cert", server.Cert, "--tls-key", server.Key, "--tls-client-ca", server.CA,
	}
	return nil
}

// FreePort returns an address of this machine whose port nobody has. It is not
// one of those that the kernel gives to clients: a client that redials such a
// port, while nobody listens there, may be given the same and meet itself.
func FreePort() (string, error) {
	const first, last = 18000, 32000
	offset := os.Getpid() + int(time.Now().UnixNano()%(last-first))
	for i := range last - first {
		address := fmt.Sprintf("127.0.0.1:%d", first+(offset+i)%(last-first))
		if l, err := net.Listen("tcp", address); err == nil {
			return address, l.Close()
		}
	}
	return "", errors.New("no port is free")
}

// Address returns where the provider is to be found.
func (s *Stage) Address() api.Endpoint { return s.address }

// ServeArgs are the arguments of `crier serve` with which the stage starts its provider.
func (s *Stage) ServeArgs() []string {
	return append(append([]string{}, s.server...), s.setup.Serve...)
}

// ActorArgs are the arguments by which a client command reaches the provider.
func (s *Stage) ActorArgs() []string { return s.visitor }

// argsAs are the arguments by which the client that goes by that name reaches the
// provider.
func (s *Stage) argsAs(name string) ([]string, error) {
	args := []string{"--address", s.address.String()}
	if s.guild == nil {
		return args, nil
	}
	files, err := s.guild.Issue(name, tlstest.Pair{})
	return append(args, "--tls-ca", files.CA, "--tls-cert", files.Cert, "--tls-key", files.Key), err
}
