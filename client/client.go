package client

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"crier.local/api"
	"crier.local/api/wire"
)

// Options say where the provider is and how much patience the client has. The
// zero value finds a provider of the notification service on this machine.
type Options struct {
	// Address is where the provider listens. The zero value stands for
	// $CRIER_ADDRESS, or else for discovery.
	Address api.Endpoint
	// TLS are the files for a provider on TCP, which has to show a certificate of
	// the authority for the host in its address. Without them TCP is possible on
	// loopback alone, to a provider that is insecure.
	TLS api.TLSFiles
	// RunDirs are the directories searched; nil stands for $CRIER_RUN_DIR, or
	// else for [api.RunDirs].
	RunDirs []string
	// Find is what the provider must offer when it is searched for; nil stands
	// for the notification service.
	Find *api.Restricted
	// Transport attaches inside this process; it excludes Address and discovery.
	Transport wire.Transport
	// Wait is how long Dial waits for a provider to appear: 0 stands for 100 ms,
	// negative for not at all. A service that is started by whoever comes first, as
	// systemd does it, may take longer than that; the command line waits for 2 s.
	Wait time.Duration
	// GiveUpAfter is how long a lost provider is redialled; 0 stands for ever.
	GiveUpAfter time.Duration
	// Logger hears of attachments lost and made; nil stands for nobody.
	Logger hclog.Logger
}

// Provider describes the provider of the last attachment.
type Provider struct {
	Name    string
	Version api.Version
	Epoch   api.Epoch
	Tags    []string
	// Address is where it was reached; zero inside this process.
	Address api.Endpoint
	// MaxMessage is the largest message it takes, in bytes; arguments may have
	// [api.ArgsSlack] more.
	MaxMessage int
}

// Attachment is one of the streams that a client has had.
type Attachment struct {
	// Number counts the client's attachments; the first is 1.
	Number uint64
	// Epoch is the provider's run.
	Epoch api.Epoch
}

// Client is this process, attached to a provider: one stream that carries all
// its sessions. When the stream breaks they are gone, and the client attaches
// again by itself. Its methods may be called concurrently.
type Client struct {
	options  Options
	logger   hclog.Logger
	instance api.InstanceID

	life    context.Context // ends with Close; every attachment's context comes from it
	end     context.CancelCauseFunc
	workers sync.WaitGroup // the redial loop
	close   sync.Once

	mu       sync.Mutex
	link     *link // the last one, alive or not
	final    error // why there will be no other; nil while there may be
	attached gate  // opens with every attachment, and with final
}

// Dial finds the provider, attaches to it and returns when it has said welcome.
// The first attempt is the only one: its error is Dial's. ctx bounds Dial
// alone, not the client.
//
// Errors: [api.ErrNoProvider], [api.ErrAmbiguous], [*api.VersionError],
// [api.ErrDenied], [ErrCertificate], [ErrConfiguration], or ctx's.
func Dial(ctx context.Context, o Options) (*Client, error) {
	c := &Client{options: o, logger: o.Logger}
	if c.logger == nil {
		c.logger = hclog.NewNullLogger()
	}
	rand.Read(c.instance[:])
	c.life, c.end = context.WithCancelCause(context.Background())
	l, err := c.attach(ctx, o)
	if err != nil {
		c.end(err)
		return nil, err
	}
	c.publish(l, 1)
	c.workers.Go(func() { c.keep(l) })
	return c, nil
}

// Open opens a session of the service that s names. It waits for the answer,
// but not for an attachment.
//
// Errors: [*api.VersionError], [api.ErrTooMany], [api.ErrDisconnected] between
// two attachments, [api.ErrGone], [api.ErrClosed], or ctx's.
func (c *Client) Open(ctx context.Context, s api.Selector) (*Session, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	l, err := c.current()
	if err != nil {
		return nil, err
	}
	a, err := l.call(ctx, request{entry: wire.ClientEntry{Kind: wire.Open, Selector: s}})
	return a.session, err
}

// Ping returns when the provider has answered, with the errors of [Client.Open].
func (c *Client) Ping(ctx context.Context) error {
	l, err := c.current()
	if err != nil {
		return err
	}
	_, err = l.call(ctx, request{entry: wire.ClientEntry{Kind: wire.Ping}})
	return err
}

// Provider returns who is, or was last, attached to.
func (c *Client) Provider() Provider {
	c.mu.Lock()
	l := c.link
	c.mu.Unlock()
	t := &l.terms
	return Provider{
		Name: t.Name, Version: t.Version, Epoch: t.Epoch, Tags: slices.Clone(t.Tags),
		Address: l.address, MaxMessage: t.MaxMessage,
	}
}

// Attached waits for an attachment with a number above after, which may be over
// again by now. With 0 it returns the last one at once.
//
// Errors: [api.ErrGone], [api.ErrClosed], or ctx's.
func (c *Client) Attached(ctx context.Context, after uint64) (Attachment, error) {
	for {
		c.mu.Lock()
		a, err, changed := c.link.attachment, c.final, c.attached.wait()
		c.mu.Unlock()
		if err != nil {
			return Attachment{}, err
		}
		if a.Number > after {
			return a, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return Attachment{}, ctx.Err()
		}
	}
}

// Close closes all sessions in order, after everything that was sent before,
// and ends the stream. It waits for the provider to confirm, up to 5 seconds,
// and for the client's goroutines. Calls that wait end with [api.ErrClosed].
// Closing twice is no error; the second waits for the first.
func (c *Client) Close() error {
	c.close.Do(func() {
		l := c.finish(api.ErrClosed)
		l.leave()
		c.end(api.ErrClosed)
		c.workers.Wait()
	})
	return nil
}

// current returns the last link, or why there will be none.
func (c *Client) current() (*link, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.link, c.final
}

// publish makes l the current link and starts it, unless the client has ended;
// it reports whether it has not.
func (c *Client) publish(l *link, number uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.final != nil {
		return false
	}
	l.attachment = Attachment{Number: number, Epoch: l.terms.Epoch}
	c.link = l
	c.attached.open()
	l.start()
	return true
}

// finish ends the client for the given reason, if nothing else has, and returns
// the last link.
func (c *Client) finish(err error) *link {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.final == nil {
		c.final = err
		c.attached.open()
	}
	return c.link
}

// String names the provider as errors do: crier@1.2.3.
func (p Provider) String() string { return fmt.Sprintf("%s@%s", p.Name, p.Version) }
