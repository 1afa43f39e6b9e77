package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"crier.local/api"
	"crier.local/cmd/internal/faults"
)

// benchHost is the provider that is measured.
type benchHost struct {
	b       *bench
	address api.Endpoint
	pid     int              // 0 if it is not known
	own     *faults.Provider // nil if it was there before
	dir     string           // its run directory, if it is bench's own

	closing sync.Once
	err     error // of closing
}

// openHost finds a provider, or starts one.
func (b *bench) openHost(ctx context.Context) (_ *benchHost, err error) {
	h := &benchHost{b: b}
	defer func() {
		if err != nil {
			h.close()
		}
	}()
	if b.own {
		if err := h.start(ctx); err != nil {
			return nil, err
		}
		b.reach.address.Endpoint = h.address
	}
	return h, h.look(ctx)
}

// benchProviderName is what bench calls its own provider.
const benchProviderName = "bench"

// start starts a provider with a run directory of its own.
func (h *benchHost) start(ctx context.Context) error {
	executable, err := os.Executable()
	if err != nil {
		return err
	}
	if h.dir, err = os.MkdirTemp("", "crier-bench-"); err != nil {
		return err
	}
	h.address = api.UnixEndpoint(filepath.Join(h.dir, benchProviderName+".sock"))
	if err := checkAddress(h.address); err != nil {
		return err
	}
	start, cancel := context.WithTimeout(ctx, benchStart)
	defer cancel()
	args := []string{"--name", benchProviderName, "--run-dir", h.dir, "--until-eof", "--log-level", "warn"}
	h.own, err = faults.Program{Crier: executable, Dir: h.dir}.Serve(start, args...)
	if err == nil {
		h.pid = h.own.Pid()
	}
	return err
}

// look attaches to the provider, to see whether it takes the load.
func (h *benchHost) look(ctx context.Context) error {
	c, err := h.b.p.dialBriefly(ctx, &h.b.reach)
	if err != nil {
		return err
	}
	defer c.Close()
	provider := c.Provider()
	if h.b.payload > provider.MaxMessage {
		return usage(fmt.Errorf("a payload of %d bytes is more than the provider takes", h.b.payload),
			fmt.Sprintf("give --payload %d or less", provider.MaxMessage))
	}
	h.address = provider.Address
	if h.pid == 0 {
		h.pid = listenerOf(h.address)
	}
	return nil
}

// ended waits until the provider has ended, and says how. It waits for ever if the
// provider is not bench's own, whose clients notice. It is called once.
func (h *benchHost) ended() <-chan string {
	if h.own == nil {
		return nil
	}
	how := make(chan string, 1)
	go func() { // until close ends the provider
		err := h.own.Reaped(context.Background())
		how <- fmt.Sprintf("the provider ended: %v: %s", err, h.words())
	}()
	return how
}

// words are the last of the provider's on standard error.
func (h *benchHost) words() string { return strings.TrimSpace(h.own.Words()) }

// close stops the provider, if it is bench's own, and removes what it had. It may be
// called again.
func (h *benchHost) close() error {
	h.closing.Do(func() {
		if h.own != nil {
			h.err = h.stop()
		}
		if h.dir != "" {
			os.RemoveAll(h.dir)
		}
	})
	return h.err
}

func (h *benchHost) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), benchEnd)
	defer cancel()
	err := errors.Join(h.own.Term(), h.own.Reaped(ctx))
	if !h.own.Over() {
		h.own.Kill()
	}
	if err != nil {
		return fmt.Errorf("the provider did not end in order: %w: %s", err, h.words())
	}
	return nil
}

// command returns the command that plays clients of the provider.
func (h *benchHost) command() (*exec.Cmd, error) {
	executable, err := os.Executable()
	if err != nil {
		return nil, err
	}
	b := h.b
	args := []string{"bench-client"}
	for flag, value := range map[string]string{
		"--tls-ca": b.reach.tls.CA, "--tls-cert": b.reach.tls.Cert, "--tls-key": b.reach.tls.Key,
		"--log-level": b.p.log.level.value, "--log-format": b.p.log.format.value,
	} {
		if value != "" {
			args = append(args, flag, value)
		}
	}
	cmd := exec.Command(executable, args...)
	cmd.Env = append(environment(), api.EnvAddress+"="+h.address.String())
	cmd.SysProcAttr = ownGroup()
	return cmd, nil
}

// What is waited for, at most.
const (
	benchStart = time.Minute      // until everybody is there
	benchQuiet = 10 * time.Second // while nothing happens that should
	benchEnd   = 15 * time.Second // until a process has ended that was told to
)
