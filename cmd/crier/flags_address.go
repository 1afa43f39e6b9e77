package main

import (
	"path/filepath"
	"strings"

	"crier.local/api"
)

// parseAddress reads an address. A path that is too long is not badly written: it
// is checkAddress that refuses it.
func parseAddress(text string) (api.Endpoint, error) {
	if path, ok := strings.CutPrefix(text, "unix://"); ok && filepath.IsAbs(path) && len(path) > api.MaxSocketPath {
		return api.UnixEndpoint(path), nil
	}
	return api.ParseEndpoint(text)
}

// checkAddress returns an error if e is an address that cannot be used.
func checkAddress(e api.Endpoint) error {
	if err := e.Validate(); err != nil {
		return misconfigured(err, "")
	}
	return nil
}

// endpointFlag is an address, the zero Endpoint if it was not given.
type endpointFlag struct{ api.Endpoint }

func (e *endpointFlag) Type() string { return "address" }

func (e *endpointFlag) String() string {
	if e.Endpoint == (api.Endpoint{}) {
		return ""
	}
	return e.Endpoint.String()
}

func (e *endpointFlag) Set(text string) (err error) {
	e.Endpoint, err = parseAddress(text)
	return err
}

// endpointsFlag is a list of addresses.
type endpointsFlag []api.Endpoint

func (l *endpointsFlag) Type() string             { return "address" }
func (l *endpointsFlag) String() string           { return strings.Join(l.GetSlice(), ",") }
func (l *endpointsFlag) Append(text string) error { return l.Set(text) }

func (l *endpointsFlag) Replace(texts []string) error {
	*l = nil
	for _, text := range texts {
		if err := l.Set(text); err != nil {
			return err
		}
	}
	return nil
}

func (l *endpointsFlag) GetSlice() []string {
	texts := make([]string, len(*l))
	for i, e := range *l {
		texts[i] = e.String()
	}
	return texts
}

func (l *endpointsFlag) Set(text string) error {
	e, err := parseAddress(text)
	if err == nil {
		*l = append(*l, e)
	}
	return err
}
