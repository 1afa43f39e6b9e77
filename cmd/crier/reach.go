package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"crier.local/api"
	"crier.local/client"
	"crier.local/client/notification"
)

// answerTime is how long a provider that was found may take to answer.
const answerTime = 3 * time.Second

// reach says how a client command finds its provider.
type reach struct {
	address endpointFlag
	tls     api.TLSFiles
	runDir  string
	wait    time.Duration
	// giveUp bounds redialling; 0 is never.
	giveUp time.Duration
}

func (r *reach) addTo(cmd *cobra.Command) {
	f := cmd.Flags()
	f.Var(&r.address, "address", "the provider's `address`: unix:///path or tcp://host:port (default: look for one)")
	f.StringVar(&r.tls.CA, "tls-ca", "", "for TCP: the `file` of the authority that the provider's certificate must come from")
	f.StringVar(&r.tls.Cert, "tls-cert", "", "for TCP: the `file` of the certificate that says who this is")
	f.StringVar(&r.tls.Key, "tls-key", "", "for TCP: the `file` of the certificate's key")
	f.StringVar(&r.runDir, "run-dir", "", "the `directory` in which to look for a provider")
	f.DurationVar(&r.wait, "wait", 2*time.Second, "how long to wait for a provider to appear")
	completeProviders(cmd, r)
	completeDirectories(cmd)
	for _, flag := range []string{"tls-ca", "tls-cert", "tls-key"} {
		completeFiles(cmd, flag)
	}
}

// addGiveUp adds the flag of commands that stay; the others give up when --wait
// is over.
func (r *reach) addGiveUp(f *pflag.FlagSet) {
	f.Var(timeSpan(&r.giveUp, 0, 0), "give-up-after", "end when the provider stays away for this long (default never)")
}

// options returns r for package client.
func (r *reach) options(logger hclog.Logger) (client.Options, error) {
	o := client.Options{Address: r.address.Endpoint, TLS: r.tls, Wait: r.wait, GiveUpAfter: r.giveUp, Logger: logger}
	if r.wait <= 0 {
		o.Wait = -1
	}
	if r.address.Endpoint != (api.Endpoint{}) {
		if err := checkAddress(r.address.Endpoint); err != nil {
			return o, r.origin(err)
		}
		if err := client.CheckTLS(r.address.Endpoint, r.tls); err != nil {
			return o, r.origin(err)
		}
	}
	dirs, err := r.runDirs()
	o.RunDirs = dirs
	return o, err
}

// origin adds to err, which is about the address, that the environment gave it.
func (r *reach) origin(err error) error {
	if text := os.Getenv(api.EnvAddress); err == nil || text == "" || text != r.address.String() {
		return err
	}
	return fmt.Errorf("%s: %w", api.EnvAddress, err)
}

// runDirs returns the directory given, nil for none.
func (r *reach) runDirs() ([]string, error) {
	if r.runDir == "" {
		return nil, nil
	}
	dir, err := absolute(r.runDir)
	return []string{dir}, err
}

// absolute returns the absolute path of dir, or nothing for nothing.
func absolute(dir string) (string, error) {
	if dir == "" {
		return "", nil
	}
	return filepath.Abs(dir)
}

// dial attaches to the provider, for commands that stay attached.
func (p *program) dial(ctx context.Context, r *reach) (*notification.Client, error) {
	o, err := r.options(p.logger(hclog.Warn))
	if err != nil {
		return nil, err
	}
	ctx, cancel := r.bound(ctx)
	defer cancel()
	c, err := notification.Dial(ctx, o)
	return c, r.origin(causeOf(ctx, err))
}

// dialBriefly attaches to the provider, for commands that ask something and end:
// if the provider goes away they give up soon.
func (p *program) dialBriefly(ctx context.Context, r *reach) (*notification.Client, error) {
	brief := *r
	brief.giveUp = max(r.wait, time.Millisecond)
	return p.dial(ctx, &brief)
}

// bound returns a context in which a provider should have been found and have
// answered.
func (r *reach) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	err := errors.New("there is a provider, but it does not answer")
	return context.WithTimeoutCause(ctx, max(r.wait, 0)+answerTime, &codedError{err, exitUnavailable, "it is stopped or overloaded"})
}
