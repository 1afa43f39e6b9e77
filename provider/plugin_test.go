package provider

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	grpcpeer "google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"
	"google.golang.org/protobuf/types/known/emptypb"

	"crier.local/api"
)

// playStranger calls methods of $CRIER_ADDRESS that are for its owner, and says
// what each call came to.
func playStranger() error {
	e, err := api.ParseEndpoint(os.Getenv(api.EnvAddress))
	if err != nil {
		return err
	}
	conn, err := grpc.NewClient("unix:"+e.Address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	for _, method := range strings.Split(os.Getenv("METHODS"), " ") {
		fmt.Println(method, status.Code(call(conn, method)))
	}
	return nil
}

// call makes a call whose first answer it waits for.
func call(conn *grpc.ClientConn, method string) error {
	desc := &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	stream, err := conn.NewStream(ctx, desc, method)
	if err != nil {
		return err
	}
	stream.SendMsg(&emptypb.Empty{})
	stream.CloseSend()
	return stream.RecvMsg(&emptypb.Empty{})
}

func TestStrangersAreKeptOut(t *testing.T) {
	s := spawn(t, nil, api.EnvRunDir+"="+t.TempDir())
	want := map[string]codes.Code{
		"/plugin.GRPCController/Shutdown":                                codes.PermissionDenied,
		"/plugin.GRPCBroker/StartStream":                                 codes.Unimplemented,
		"/plugin.GRPCStdio/StreamStdio":                                  codes.Unimplemented,
		"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo":      codes.Unimplemented,
		"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": codes.Unimplemented,
		"/grpc.channelz.v1.Channelz/GetServers":                          codes.Unimplemented,
	}
	var methods []string
	for method := range want {
		methods = append(methods, method)
	}
	a := play(t, "stranger", api.EnvAddress+"="+s.Address().String(), "METHODS="+strings.Join(methods, " "))
	for _, method := range methods {
		a.expect(fmt.Sprint(method, " ", want[method]))
	}
	visit(t, s.Address()).ask(methodPid, 0)
}

// TestAdmit is the table of who may call what, whichever way the path is written.
func TestAdmit(t *testing.T) {
	p := New(Options{})
	f := p.front
	f.owner = os.Getppid()
	link := func(pid int) *link {
		return &link{identity: api.Identity{PID: int32(pid)}, gate: &f.gate, hall: &f.gate.local, deadline: time.NewTimer(time.Hour)}
	}
	const stranger = 99999
	tests := []struct {
		pid    int
		method string
		want   codes.Code
	}{
		{stranger, "crier.v1.Crier/Attach", codes.OK},
		{stranger, "grpc.health.v1.Health/Check", codes.OK},
		{stranger, "plugin.GRPCController/Shutdown", codes.PermissionDenied},
		{stranger, "plugin.GRPCBroker/StartStream", codes.Unimplemented},
		{stranger, "plugin.GRPCStdio/StreamStdio", codes.Unimplemented},
		{stranger, "grpc.reflection.v1.ServerReflection/ServerReflectionInfo", codes.Unimplemented},
		{stranger, "crier.v1.Crier/Other", codes.Unimplemented},
		{stranger, "plugin.GRPCController/Other", codes.Unimplemented},
		{stranger, "/plugin.GRPCController/Shutdown", codes.Unimplemented}, // two slashes
		{stranger, "", codes.Unimplemented},
		{f.owner, "crier.v1.Crier/Attach", codes.OK},
		{f.owner, "plugin.GRPCController/Shutdown", codes.OK},
		{f.owner, "plugin.GRPCBroker/StartStream", codes.OK},
		{f.owner, "plugin.GRPCStdio/StreamStdio", codes.OK},
		{f.owner, "grpc.reflection.v1.ServerReflection/ServerReflectionInfo", codes.OK},
		{f.owner, "grpc.channelz.v1.Channelz/GetServers", codes.Unimplemented},
	}
	for _, test := range tests {
		for _, method := range []string{"/" + test.method, test.method} {
			ctx := grpcpeer.NewContext(context.Background(), &grpcpeer.Peer{AuthInfo: link(test.pid)})
			_, err := f.admit(ctx, &tap.Info{FullMethodName: method})
			if method == "/plugin.GRPCController/Shutdown" && test.method != method[1:] {
				continue // the second spelling of the one with two slashes
			}
			if got := status.Code(err); got != test.want {
				t.Errorf("pid %d, %q: %v, want %v", test.pid, method, got, test.want)
			}
		}
	}
	for _, nobody := range []int{0, 1} {
		if f.owner = nobody; f.isOwner(api.Identity{PID: int32(nobody)}) {
			t.Errorf("pid %d is taken for the owner", nobody)
		}
	}
	if f.owner = stranger; f.isOwner(api.Identity{PID: stranger}) {
		t.Error("who is not the parent any more is taken for the owner")
	}
}

func TestPrintingDoesNotBlock(t *testing.T) {
	s := spawn(t, nil, api.EnvRunDir+"="+t.TempDir())
	visit(t, s.Address()).ask(methodPrint, 300<<10)
}

// TestPlainHost is of a host that uses go-plugin as it comes.
func TestPlainHost(t *testing.T) {
	cmd := roleCommand(os.Args[0], "plugin", api.EnvRunDir+"="+t.TempDir())
	var out bytes.Buffer
	host := plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig:  Handshake(),
		Plugins:          plugin.PluginSet{api.PluginName: served{}},
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		Cmd:              cmd,
		Logger:           hclog.NewNullLogger(),
		SyncStdout:       &out,
	})
	protocol, err := host.Client()
	if err != nil {
		t.Fatal(err)
	}
	if err := protocol.Ping(); err != nil {
		t.Errorf("ping: %v", err)
	}
	g := visit(t, api.UnixEndpoint(host.ReattachConfig().Addr.String()))
	host.Kill()
	g.expectGone()
	if !host.Exited() || cmd.ProcessState.ExitCode() != 0 {
		t.Errorf("the provider ended with %v", cmd.ProcessState)
	}
}

// bystander is a runner for a provider that somebody else started.
type bystander struct{ over chan struct{} }

func (bystander) ID() string                 { return "" }
func (bystander) Kill(context.Context) error { return nil }
func (b bystander) Wait(context.Context) error {
	<-b.over
	return nil
}
func (bystander) PluginToHost(n, a string) (string, string, error) { return n, a, nil }
func (bystander) HostToPlugin(n, a string) (string, string, error) { return n, a, nil }

// TestPlainClients are go-plugin clients as they come that attach to a standalone
// provider. Both ask it to end when they close.
func TestPlainClients(t *testing.T) {
	_, _, e := listening(t, Options{})
	attach := func() plugin.ClientProtocol {
		over := make(chan struct{})
		t.Cleanup(func() { close(over) })
		c := plugin.NewClient(&plugin.ClientConfig{
			HandshakeConfig:  Handshake(),
			Plugins:          plugin.PluginSet{api.PluginName: served{}},
			AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
			Logger:           hclog.NewNullLogger(),
			Reattach: &plugin.ReattachConfig{
				Protocol: plugin.ProtocolGRPC, ProtocolVersion: api.PluginProtocol,
				Addr:         &net.UnixAddr{Name: e.Address, Net: "unix"},
				ReattachFunc: func() (runner.AttachedRunner, error) { return bystander{over}, nil },
			},
		})
		protocol, err := c.Client()
		if err != nil {
			t.Fatal(err)
		}
		if err := protocol.Ping(); err != nil {
			t.Errorf("ping: %v", err)
		}
		return protocol
	}
	first, second := attach(), attach()
	first.Close()
	if err := second.Ping(); err != nil {
		t.Errorf("ping after another client has closed: %v", err)
	}
	second.Close()
	dial(t, e)
}
