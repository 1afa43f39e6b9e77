package client

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"crier.local/api"
	"crier.local/api/wire"
	"crier.local/api/wire/wirepb"
)

const (
	// streamWindow is how many bytes may be on their way over the stream, and
	// ioBuffer how many are read or written at once; as in the provider.
	streamWindow = 4 << 20
	ioBuffer     = 128 << 10
	// maxBatch is the largest batch there is: a message of the hard top, and more.
	maxBatch = 16<<20 + 64<<10
)

// handshake is what a host and a provider agree on before they talk.
func handshake() plugin.HandshakeConfig {
	return plugin.HandshakeConfig{
		ProtocolVersion:  api.PluginProtocol,
		MagicCookieKey:   api.PluginCookieKey,
		MagicCookieValue: api.PluginCookieValue,
	}
}

// newTransport returns a transport to the provider that listens at e.
func newTransport(e api.Endpoint, files api.TLSFiles, logger hclog.Logger) wire.Transport {
	return socketTransport{e, files, logger}
}

type socketTransport struct {
	endpoint api.Endpoint
	files    api.TLSFiles // for TCP
	logger   hclog.Logger
}

// Attach makes a connection, and a go-plugin client for it, that are this
// stream's alone. It returns when the provider has let the stream in.
//
// Errors: [api.ErrNoProvider] if nobody answers, [api.ErrDenied] and
// [api.ErrTooMany] with the provider's words, [ErrCertificate],
// [ErrConfiguration], or ctx's.
func (t socketTransport) Attach(ctx context.Context) (wire.Stream, error) {
	c := &connection{ctx: ctx, endpoint: t.endpoint, over: make(chan struct{})}
	c.plain = t.endpoint.Network == "tcp" && t.files == (api.TLSFiles{})
	if t.endpoint.Network == "tcp" {
		var err error
		if c.remote, err = remoteOptions(t.endpoint, t.files, &c.trouble); err != nil {
			return nil, err
		}
	}
	if err := c.attach(); err != nil {
		err = c.explain(err)
		c.close()
		return nil, err
	}
	t.logger.Debug("attached", "address", t.endpoint.String())
	context.AfterFunc(ctx, c.close)
	return c, nil
}

// connection is an attachment to a provider and all that is below it.
type connection struct {
	ctx      context.Context
	endpoint api.Endpoint
	remote   []grpc.DialOption // for TCP
	plain    bool              // TCP without TLS
	trouble  tlsTrouble
	stream   grpc.ClientStream
	over     chan struct{} // closed by close
	ending   sync.Once

	mu      sync.Mutex
	conn    *grpc.ClientConn
	dialed  bool
	dialErr error // of the socket
}

// Send hands over a batch.
func (c *connection) Send(b *wire.Batch) error { return c.stream.SendMsg(b) }

// Recv fills in the next batch.
func (c *connection) Recv(b *wire.Batch) error {
	err := c.stream.RecvMsg(b)
	if err != nil {
		c.close()
	}
	return err
}

func (c *connection) attach() error {
	conn, err := c.connect()
	if err != nil {
		return err
	}
	c.stream, err = conn.NewStream(c.ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true},
		wirepb.Crier_Attach_FullMethodName,
		grpc.ForceCodecV2(wire.Codec()), grpc.MaxCallRecvMsgSize(maxBatch))
	if err != nil {
		return err
	}
	header, err := c.stream.Header()
	if err == nil && header == nil { // refused
		err = c.stream.RecvMsg(&wire.Batch{})
	}
	return err
}

// connect has go-plugin make the connection. Neither go-plugin's Client.Kill nor
// its GRPCClient.Close may ever be called on it: both ask the provider to end.
func (c *connection) connect() (*grpc.ClientConn, error) {
	client, err := plugin.NewClient(c.config()).Client()
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conn = client.(*plugin.GRPCClient).Conn
	return c.conn, nil
}

func (c *connection) config() *plugin.ClientConfig {
	options := []grpc.DialOption{
		grpc.WithContextDialer(c.dial),
		grpc.WithStreamInterceptor(attachOnly),
		grpc.WithStaticStreamWindowSize(streamWindow),
		grpc.WithStaticConnWindowSize(streamWindow),
		grpc.WithReadBufferSize(ioBuffer),
		grpc.WithWriteBufferSize(ioBuffer),
		grpc.WithDisableRetry(),
		grpc.WithIdleTimeout(0),
	}
	return &plugin.ClientConfig{
		HandshakeConfig:  handshake(),
		Plugins:          plugin.PluginSet{},
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		Logger:           hclog.NewNullLogger(),
		Reattach: &plugin.ReattachConfig{
			Protocol:        plugin.ProtocolGRPC,
			ProtocolVersion: api.PluginProtocol,
			Addr:            address{c.endpoint},
			ReattachFunc:    func() (runner.AttachedRunner, error) { return foreign{c.over}, nil },
		},
		GRPCDialOptions: append(options, c.remote...),
	}
}

// address is an endpoint as go-plugin wants it; the dialing is not go-plugin's.
type address struct{ api.Endpoint }

func (a address) Network() string { return a.Endpoint.Network }
func (a address) String() string  { return a.Endpoint.Address }

// attachOnly keeps go-plugin's broker and its forwarding of standard output off
// the wire: they are for the one program that starts a provider.
func attachOnly(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, next grpc.Streamer, o ...grpc.CallOption) (grpc.ClientStream, error) {
	if method != wirepb.Crier_Attach_FullMethodName {
		return nil, status.Error(codes.Unimplemented, "not for clients that attach")
	}
	return next(ctx, desc, conn, method, o...)
}

// dial connects to the provider, once: gRPC would connect again by itself, maybe
// to another run of the provider, to which nothing of this stream means anything.
func (c *connection) dial(ctx context.Context, _ string) (net.Conn, error) {
	c.mu.Lock()
	again := c.dialed
	c.dialed = true
	c.mu.Unlock()
	if again {
		return nil, errors.New("a connection is made only once")
	}
	connect := connectUnix
	if c.endpoint.Network == "tcp" {
		connect = connectTCP
	}
	conn, err := connect(ctx, c.endpoint.Address)
	if err == nil && c.plain && !loopback(conn.RemoteAddr()) {
		conn.Close()
		err = fmt.Errorf("%s is not on this host: it needs TLS", conn.RemoteAddr())
	}
	if err != nil {
		c.mu.Lock()
		c.dialErr = err
		c.mu.Unlock()
	}
	return conn, err
}

// connectUnix connects to a unix socket. While the listener does not keep up
// with accepting, it waits, which connect(2) leaves to its caller.
func connectUnix(ctx context.Context, path string) (net.Conn, error) {
	var d net.Dialer
	for {
		conn, err := d.DialContext(ctx, "unix", path)
		if !errors.Is(err, syscall.EAGAIN) || !sleep(ctx, pollInterval) {
			return conn, err
		}
	}
}

// close ends the connection and whatever go-plugin and gRPC keep for it.
func (c *connection) close() {
	c.ending.Do(func() {
		close(c.over)
		c.mu.Lock()
		conn := c.conn
		c.mu.Unlock()
		if conn != nil {
			conn.Close()
		}
	})
}

// explain returns what it means that attach failed with err.
func (c *connection) explain(err error) error {
	c.mu.Lock()
	dialErr := c.dialErr
	c.mu.Unlock()
	certErr := c.trouble.explain(c.endpoint)
	text := status.Convert(err).Message()
	refused := func(sentinel error) error {
		return api.Failure{Code: api.CodeOf(sentinel), Text: text}.Err()
	}
	if c.endpoint.Network == "tcp" && status.Code(err) == codes.PermissionDenied {
		certErr = &certificateError{text}
	}
	switch code := status.Code(err); {
	case c.ctx.Err() != nil:
		return context.Cause(c.ctx)
	case dialErr != nil:
		return nobody(c.endpoint, dialErr)
	case certErr != nil:
		return certErr
	case code == codes.PermissionDenied:
		return refused(api.ErrDenied)
	case code == codes.ResourceExhausted:
		return refused(api.ErrTooMany)
	case code == codes.Unimplemented:
		return fmt.Errorf("%w: what listens on %s is no Crier provider", api.ErrNoProvider, c.endpoint)
	case c.plain:
		return fmt.Errorf("%w: what listens on %s does not answer without TLS; for a provider there give --tls-ca, --tls-cert and --tls-key", api.ErrNoProvider, c.endpoint)
	default:
		return fmt.Errorf("%w: %s: %s", api.ErrNoProvider, c.endpoint, text)
	}
}

// nobody explains why e could not be connected to.
func nobody(e api.Endpoint, err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: this user may not reach %s: %w", api.ErrDenied, e, fs.ErrPermission)
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: nobody listens on %s; is the provider running? `crier serve --address %s` would be one", api.ErrNoProvider, e, e)
	default:
		return fmt.Errorf("%w: %w", api.ErrNoProvider, err)
	}
}

// foreign stands for a provider that this process did not start. go-plugin can
// neither end it nor judge by a process number whether it lives.
type foreign struct{ over <-chan struct{} }

// ID is empty, for which go-plugin takes it that there is nothing to kill.
func (foreign) ID() string { return "" }

// Kill does nothing.
func (foreign) Kill(context.Context) error { return nil }

// Wait returns when the connection is over.
func (f foreign) Wait(context.Context) error {
	<-f.over
	return nil
}

// PluginToHost returns an address as it is.
func (foreign) PluginToHost(network, address string) (string, string, error) {
	return network, address, nil
}

// HostToPlugin returns an address as it is.
func (foreign) HostToPlugin(network, address string) (string, string, error) {
	return network, address, nil
}

// pollInterval is how often something is looked at that cannot be waited for.
const pollInterval = 10 * time.Millisecond
