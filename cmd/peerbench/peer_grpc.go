package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// bareGRPC is a unary call over a unix socket that is answered with a number: what a
// message with a receipt costs at least, to who writes that with gRPC.
type bareGRPC struct{}

func (bareGRPC) name() string { return "grpc" }

func (bareGRPC) find(*house) error { return nil }

func (bareGRPC) start(h *house) (*server, error) {
	path := filepath.Join(h.scratch(), "grpc.sock")
	cmd, err := ownCommand("grpc", path, h.profile("grpc server"))
	if err != nil {
		return nil, err
	}
	p, err := h.serve("grpc", cmd)
	if err != nil {
		return nil, err
	}
	return &server{p, path}, dialable(p, "unix", path)
}

const grpcMethod = "/peerbench.Peer/Send"

// serveGRPC is the main function of the server; it returns the status.
func serveGRPC(path, profile string) int {
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer cancel()
	err := profiled(profile, func() error {
		l, err := net.Listen("unix", path)
		if err != nil {
			return err
		}
		s := grpc.NewServer()
		s.RegisterService(&grpc.ServiceDesc{
			ServiceName: "peerbench.Peer",
			Methods:     []grpc.MethodDesc{{MethodName: "Send", Handler: answerGRPC}},
		}, nil)
		go s.Serve(l)
		<-ctx.Done()
		s.Stop()
		return nil
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func answerGRPC(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
	var in wrapperspb.BytesValue
	if err := decode(&in); err != nil {
		return nil, err
	}
	return wrapperspb.UInt64(uint64(len(in.Value))), nil
}

func (bareGRPC) join(_ context.Context, s seat) (member, error) {
	c, err := grpc.NewClient("unix://"+s.address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	m := &grpcMember{c}
	if err := m.request(make([]byte, s.size)); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return m, nil
}

type grpcMember struct{ c *grpc.ClientConn }

func (m *grpcMember) request(payload []byte) error {
	var out wrapperspb.UInt64Value
	return m.c.Invoke(context.Background(), grpcMethod, wrapperspb.Bytes(payload), &out)
}

func (m *grpcMember) publish(payload []byte) error { return m.request(payload) }

func (*grpcMember) push() error { return nil }

func (*grpcMember) flush() error { return nil }

func (m *grpcMember) close() error { return m.c.Close() }
