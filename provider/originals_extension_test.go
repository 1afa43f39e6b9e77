package provider_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"crier.local/api"
	"crier.local/client"
	"crier.local/provider"
)

// extended offers a service, and one that extends it, with a single handler.
type extended struct{}

const (
	baseFoo     api.Method = 0   // returns 42
	baseBar     api.Method = 1   // takes x, returns 2(x+1)
	extendedBaz api.Method = 100 // takes a greeting
)

func baseSelector() api.Selector {
	return api.Selector{UUID: "b3a0c7f4-2f5e-4a0e-8f0b-66d2c5a1f1b7", Major: 0, Minor: 1}
}

func extendedSelector() api.Selector {
	return api.Selector{UUID: "e8f2d3b1-7c4a-4c7b-9a3d-1e0f5b6a7c8d", Major: 1, Minor: 2}
}

func (extended) Handle(_ context.Context, c *provider.Call) (provider.Result, error) {
	switch c.Method {
	case baseFoo:
		return provider.Result{Body: []byte("42")}, nil
	case baseBar:
		x, err := strconv.Atoi(string(c.Args))
		return provider.Result{Body: strconv.AppendInt(nil, int64(2*(x+1)), 10)}, err
	case extendedBaz:
		if string(c.Args) != "Hello, World!" {
			return provider.Result{}, &api.CallError{Text: "what a greeting", AppCode: 7}
		}
		return provider.Result{}, nil
	default:
		return provider.Result{}, api.ErrNoMethod
	}
}

func extendedOptions() provider.Options {
	return provider.Options{Name: "myservice/extended", Version: api.Version{Major: 1, Minor: 2, Patch: 3}}
}

func TestExtension(t *testing.T) {
	overBoth(t, func(t *testing.T, h *host) {
		service := h.install(extendedOptions(), offer{selector: baseSelector(), handler: extended{}}, offer{selector: extendedSelector(), handler: extended{}})
		c := service.attach()
		useExtended(t, c, c)
		closed(t, c)
		service.uninstallUnused()
	})
	t.Run("separate-process", func(t *testing.T) {
		expectNoLeak(t)
		dir := runDir(t)
		server := play(t, "extension", api.EnvRunDir+"="+dir)
		base := find(t, dir, baseSelector())
		useExtended(t, base, find(t, dir, extendedSelector()))
		ended(t, server)
	})
}

// find waits for a provider of the service to appear and attaches to it.
func find(t *testing.T, dir string, selector api.Selector) *client.Client {
	t.Helper()
	o := client.Options{RunDirs: []string{dir}, Find: selector.Restrict(), Wait: patience}
	c, err := client.Dial(within(t), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closed(t, c) })
	return c
}

// useExtended uses the service over one client and the one that extends it over
// another, and closes both.
func useExtended(t *testing.T, baseClient, extendedClient *client.Client) {
	t.Helper()
	for _, c := range []*client.Client{baseClient, extendedClient} {
		if got := c.Provider().String(); got != "myservice/extended@1.2.3" {
			t.Errorf("the provider is %s", got)
		}
	}
	base, more := opened(t, baseClient, baseSelector()), opened(t, extendedClient, extendedSelector())
	for _, s := range []*client.Session{base, more} {
		if got := call(t, s, baseFoo, ""); got != "42" {
			t.Errorf("foo returned %s, want 42", got)
		}
		for args, want := range map[string]string{"7": "16", "19": "40"} {
			if got := call(t, s, baseBar, args); got != want {
				t.Errorf("bar(%s) returned %s, want %s", args, got, want)
			}
		}
	}
	call(t, more, extendedBaz, "Hello, World!")
	_, err := more.Invoke(within(t), extendedBaz, []byte("Hi"))
	if refused, ok := errors.AsType[*api.CallError](err); !ok || *refused != (api.CallError{Text: "what a greeting", AppCode: 7}) {
		t.Errorf("baz(Hi) returned %v", err)
	}
	closed(t, baseClient)
	closed(t, extendedClient)
}

// playExtension is a provider until its clients have gone.
func playExtension(ctx context.Context) error {
	p := provider.New(extendedOptions())
	for _, s := range []api.Selector{baseSelector(), extendedSelector()} {
		if err := p.Provide(s, extended{}, provider.ServiceOptions{}); err != nil {
			return err
		}
	}
	if _, err := p.Listen(api.UnixEndpoint(filepath.Join(os.Getenv(api.EnvRunDir), "extension.sock"))); err != nil {
		return err
	}
	if err := p.Wait(ctx); err != nil {
		return fmt.Errorf("wait: %w", err)
	}
	return p.Close()
}
