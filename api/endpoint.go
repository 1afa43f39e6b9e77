package api

import (
	"fmt"
	"net"
	"path/filepath"
	"strings"
)

// MaxSocketPath is the length in bytes of the longest path a unix socket can have.
const MaxSocketPath = 107

// Endpoint is an address that a provider listens on. Its text form is
// unix:///path or tcp://host:port.
type Endpoint struct {
	// Network is "unix" or "tcp".
	Network string
	// Address is an absolute path, or host:port.
	Address string
}

// UnixEndpoint returns the endpoint of a socket file.
func UnixEndpoint(path string) Endpoint { return Endpoint{Network: "unix", Address: path} }

// ParseEndpoint reads the text form of an endpoint.
func ParseEndpoint(text string) (Endpoint, error) {
	scheme, address, ok := strings.Cut(text, "://")
	if !ok {
		return Endpoint{}, fmt.Errorf("address %q: want unix:///path or tcp://host:port", text)
	}
	e := Endpoint{Network: scheme, Address: address}
	return e, e.Validate()
}

// Validate returns an error that says what is wrong with e, if anything is.
func (e Endpoint) Validate() error {
	switch e.Network {
	case "unix":
		return e.validatePath()
	case "tcp":
		host, port, err := net.SplitHostPort(e.Address)
		if err != nil || port == "" {
			return fmt.Errorf("address %q: want tcp://host:port", e)
		}
		_ = host // an empty host listens on all
		return nil
	default:
		return fmt.Errorf("address %q: want unix:///path or tcp://host:port", e)
	}
}

func (e Endpoint) validatePath() error {
	if !filepath.IsAbs(e.Address) {
		return fmt.Errorf("address %q: the path must be absolute, as in unix:///run/crier/crier.sock", e)
	}
	if n := len(e.Address); n > MaxSocketPath {
		return fmt.Errorf("address %q: the path has %d bytes, the kernel takes %d at most; use a shorter directory", e, n, MaxSocketPath)
	}
	if strings.ContainsRune(e.Address, 0) {
		return fmt.Errorf("address %q: the path holds a zero byte", e)
	}
	return nil
}

// String returns the text form of e.
func (e Endpoint) String() string { return e.Network + "://" + e.Address }
