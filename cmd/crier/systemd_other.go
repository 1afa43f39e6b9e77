//go:build !linux

package main

import (
	"net"

	"github.com/hashicorp/go-hclog"

	"crier.local/api"
)

// supervisor is the service manager that started this process. Here none passes
// anything on, or wants to hear anything.
type supervisor struct{ listeners []net.Listener }

func takeSupervisor() (*supervisor, error) { return &supervisor{}, nil }

func (*supervisor) ready([]api.Endpoint) error { return nil }

func (*supervisor) stopping() error { return nil }

func (*supervisor) beginHeartbeat(api.Epoch, []api.Endpoint, hclog.Logger) (stop func(), err error) {
	return func() {}, nil
}

func warnUnheard(hclog.Logger, error) {}
