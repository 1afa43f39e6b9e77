package provider

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"

	"crier.local/api"
	"crier.local/api/wire"
	"crier.local/api/wire/wirepb"
)

const (
	// window is how many bytes may be on their way over a stream or a connection.
	// It is fixed: gRPC's own estimate costs pings, and a local socket has no delay.
	window = 4 << 20
	// ioBuffer is how much is read at once.
	ioBuffer = 128 << 10
	// recordSize is how much TLS gives at once. An idle connection holds a buffer
	// for it.
	recordSize = 16 << 10
	// messageSlack is what a batch may have besides a message of the hard top.
	messageSlack = 64 << 10
)

// newServer builds a gRPC server for one kind of connections: [front.localOptions]
// or [front.remoteOptions]. All of them serve one provider.
func (f *front) newServer(kind []grpc.ServerOption, more ...grpc.ServerOption) *grpc.Server {
	common := []grpc.ServerOption{
		grpc.InTapHandle(f.admit),
		grpc.ForceServerCodecV2(wire.Codec()),
		grpc.MaxConcurrentStreams(16),
		grpc.MaxHeaderListSize(8 << 10),
		grpc.HeaderTableSize(0), // one call in a connection's life leaves nothing to look up
		grpc.ConnectionTimeout(greetingTime),
		grpc.MaxRecvMsgSize(f.p.options.Limits.HardTop + messageSlack),
		grpc.StaticStreamWindowSize(window),
		grpc.StaticConnWindowSize(window),
		grpc.WriteBufferSize(f.buffers.write),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
	}
	s := grpc.NewServer(slices.Concat(common, kind, more)...)
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: wirepb.Crier_ServiceDesc.ServiceName,
		HandlerType: (*any)(nil),
		Streams: []grpc.StreamDesc{{
			StreamName:    wirepb.Crier_ServiceDesc.Streams[0].StreamName,
			Handler:       func(_ any, stream grpc.ServerStream) error { return f.attach(stream) },
			ServerStreams: true,
			ClientStreams: true,
		}},
		Metadata: wirepb.Crier_ServiceDesc.Metadata,
	}, nil)
	return s
}

// localOptions are for unix sockets.
func (f *front) localOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.Creds(peerCredentials{f}),
		grpc.ReadBufferSize(ioBuffer),
		// The kernel says when a local process ends. One that is merely stopped
		// keeps what it has, which gRPC's default of two hours would put an end to.
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: math.MaxInt64}),
	}
}

// remoteOptions are for TCP.
func (f *front) remoteOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.Creds(remoteCredentials{f}),
		grpc.ReadBufferSize(recordSize),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: remoteSilence, Timeout: remoteAnswer}),
	}
}

// The calls that are answered, by everybody and by the spawning host alone.
// Whatever else there is, or will be with the next release of a library, is not.
func everybodys(method string) bool {
	return method == strings.TrimPrefix(wirepb.Crier_Attach_FullMethodName, "/") || isHealth(method)
}

func isHealth(method string) bool { return strings.HasPrefix(method, "grpc.health.v1.Health/") }

const shutdownMethod = "plugin.GRPCController/Shutdown"

func owners(method string) bool {
	switch service, _, _ := strings.Cut(method, "/"); service {
	case "plugin.GRPCBroker", "plugin.GRPCStdio", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection":
		return true
	}
	return method == shutdownMethod
}

// admit decides about a call before anything but its headers has been read. It
// runs on gRPC's reader of the connection and never waits.
func (f *front) admit(ctx context.Context, info *tap.Info) (context.Context, error) {
	l, err := linkOf(ctx)
	if err != nil {
		return ctx, refusal(err)
	}
	method := strings.TrimPrefix(info.FullMethodName, "/")
	switch {
	case l.refused != nil:
		return ctx, l.refused
	case everybodys(method) && !isHealth(method):
		return ctx, nil // the hello will greet
	case isHealth(method), owners(method) && f.isOwner(l.identity):
		if err := f.gate.settle(l); err != nil {
			return ctx, refusal(err)
		}
		f.gate.greet(l)
		return ctx, nil
	case method == shutdownMethod:
		return ctx, status.Error(codes.PermissionDenied, "only the program that started this provider may end it; close your own connection instead")
	default:
		return ctx, status.Errorf(codes.Unimplemented, "method %s is not served here", info.FullMethodName)
	}
}

// isOwner reports whether id is the host that started this provider, and still
// is its parent. A provider that nobody started as a plugin has no owner.
func (f *front) isOwner(id api.Identity) bool {
	return f.owner > 1 && id.PID == int32(f.owner) && os.Getppid() == f.owner
}

// attach serves one process.
func (f *front) attach(stream grpc.ServerStream) error {
	l, err := linkOf(stream.Context())
	if err == nil {
		err = f.gate.enter(l)
	}
	if err != nil {
		return refusal(err)
	}
	defer f.gate.leave(l)
	stop, err := l.watch()
	if err != nil {
		return refusal(err)
	}
	defer stop()
	if err := stream.SendHeader(nil); err != nil { // tells the client that it is in
		return err
	}
	s := &serverStream{grpc: stream, link: l}
	err = f.p.attach(s, peer{
		identity: l.introduce(),
		final:    f.spawned,
		greeted: func() {
			l.hello.Store(true)
			f.gate.greet(l)
		},
		reason: func(error) api.Reason { return l.fate() },
		end:    s.cut,
	})
	s.over.Store(true)
	if err == nil || errors.Is(err, io.EOF) {
		return nil
	}
	return refusal(err)
}

// serverStream is the provider's side of an attachment.
type serverStream struct {
	grpc   grpc.ServerStream
	link   *link
	ending atomic.Bool // the client has said that nothing follows, or gRPC has told it so
	over   atomic.Bool // the handler has returned
}

// Send hands over a batch.
func (s *serverStream) Send(b *wire.Batch) error { return s.grpc.SendMsg(b) }

// Recv fills in the next batch.
func (s *serverStream) Recv(b *wire.Batch) error {
	err := s.grpc.RecvMsg(b)
	switch {
	case errors.Is(err, io.EOF):
		s.ending.Store(true)
	case status.Code(err) == codes.ResourceExhausted:
		s.ending.Store(true) // gRPC has ended the stream, and said why
		return fmt.Errorf("%w: %s", api.ErrTooLarge, status.Convert(err).Message())
	}
	return err
}

// cut closes the connection, because that is the one thing that ends a Send for
// which the other side has no room. A client that ended the stream in order gets
// the time to read the rest, and gRPC's word that all is well.
func (s *serverStream) cut() {
	switch {
	case s.over.Load():
		return // the connection may carry another stream by now
	case !s.ending.Load():
		s.link.Close()
		return
	}
	time.AfterFunc(linger, func() {
		if !s.over.Load() {
			s.link.Close()
		}
	})
}

// refusal returns err as gRPC carries it.
func refusal(err error) error {
	if _, ok := status.FromError(err); ok {
		return err
	}
	code := codes.Unknown
	switch api.CodeOf(err) {
	case api.CodeOf(api.ErrDenied):
		code = codes.PermissionDenied
	case api.CodeOf(api.ErrTooMany):
		code = codes.ResourceExhausted
	case api.CodeOf(api.ErrClosed):
		code = codes.Unavailable
	}
	return status.Error(code, err.Error())
}
