package main

import (
	"path/filepath"

	"crier.local/api"
	"crier.local/api/tlstest"
	"crier.local/cmd/internal/faults"
)

// ways is how actors come to the provider of a soak.
type ways struct {
	provider, client api.TLSFiles
	port             string // tcp://host:port, once the provider has one
}

// certify makes the certificates of a soak, for certifiedTime, which is longer.
func (s *soak) certify() error {
	authority, err := tlstest.New(filepath.Join(s.dir, "tls"))
	if err != nil {
		return err
	}
	if s.ways.provider, err = authority.Issue("provider", tlstest.Pair{}); err != nil {
		return err
	}
	if s.ways.client, err = authority.Issue("actor", tlstest.Pair{}); err != nil {
		return err
	}
	address, err := faults.FreePort()
	s.ways.port = "tcp://" + address
	return err
}

// serveArgs are the arguments of the provider.
func (s *soak) serveArgs() []string {
	args := []string{"--until-eof", "--address", "unix://" + s.socket()}
	if s.tls {
		f := s.ways.provider
		args = append(args, "--address", s.ways.port, "--tls-cert", f.Cert, "--tls-key", f.Key, "--tls-client-ca", f.CA)
	}
	return args
}

// actorArgs are the arguments of an actor, which may come over TCP.
func (s *soak) actorArgs(overTCP bool) []string {
	args := []string{"--wait", "30s", "--log-level", "error"}
	if !s.tls || !overTCP {
		return append(args, "--address", "unix://"+s.socket())
	}
	f := s.ways.client
	return append(args, "--address", s.ways.port, "--tls-cert", f.Cert, "--tls-key", f.Key, "--tls-ca", f.CA)
}
