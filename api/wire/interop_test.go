package wire_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"crier.local/api"
	"crier.local/api/wire/wirepb"
	"crier.local/provider"
)

// plainClient is a client as protobuf and gRPC generate it, without a line of
// this module's: it sends one entry per batch, and reads whatever comes.
type plainClient struct {
	t      *testing.T
	stream grpc.BidiStreamingClient[wirepb.ClientBatch, wirepb.ProviderBatch]
	unread []*wirepb.ProviderEntry
}

func attachPlain(t *testing.T, e api.Endpoint) *plainClient {
	t.Helper()
	conn, err := grpc.NewClient("unix:"+e.Address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	stream, err := wirepb.NewCrierClient(conn).Attach(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return &plainClient{t: t, stream: stream}
}

func (c *plainClient) send(m *wirepb.ClientEntry) {
	c.t.Helper()
	if err := c.stream.Send(&wirepb.ClientBatch{Entries: []*wirepb.ClientEntry{m}}); err != nil {
		c.t.Fatal(err)
	}
}

// next returns the next entry that the provider has sent.
func (c *plainClient) next() *wirepb.ProviderEntry {
	c.t.Helper()
	for len(c.unread) == 0 {
		batch, err := c.stream.Recv()
		if err != nil {
			c.t.Fatal(err)
		}
		c.unread = batch.Entries
	}
	e := c.unread[0]
	c.unread = c.unread[1:]
	return e
}

// reply sends an invoke and returns what answers it, which must be next.
func (c *plainClient) reply(m *wirepb.Invoke) *wirepb.Reply {
	c.t.Helper()
	c.send(invokeMessage(m))
	reply := c.next().GetReply()
	if reply.GetCall() != m.Call {
		c.t.Fatalf("got %v, want the reply to call %d", reply, m.Call)
	}
	return reply
}

// hail is a service that echoes, and that greets the resources it makes.
type hail struct{}

const (
	hailEcho api.Method = 1
	hailMake api.Method = 2
)

func (hail) Handle(_ context.Context, c *provider.Call) (provider.Result, error) {
	switch c.Method {
	case hailEcho:
		return provider.Result{Body: c.Args}, nil
	case hailMake:
		r, err := c.Session.NewResource(nil, provider.ResourceOptions{Notifiable: true})
		if err == nil {
			err = r.Notify(&provider.Notification{Body: []byte("hail")})
		}
		return provider.Result{Resource: r}, err
	default:
		return provider.Result{}, api.ErrNoMethod
	}
}

func listenPlain(t *testing.T) (*provider.Provider, api.Endpoint) {
	t.Helper()
	dir, err := os.MkdirTemp("", "crier") // t.TempDir may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	p := provider.New(provider.Options{Name: "hail", Version: api.Version{Major: 1, Minor: 2, Patch: 3}, Tags: []string{"plain"}})
	if err := p.Provide(api.Selector{UUID: "hail", Major: 1, Minor: 4}, hail{}, provider.ServiceOptions{}); err != nil {
		t.Fatal(err)
	}
	e, err := p.Listen(api.UnixEndpoint(filepath.Join(dir, "hail.sock")))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p, e
}

// greet says hello and checks the welcome.
func (c *plainClient) greet(p *provider.Provider) {
	c.t.Helper()
	c.send(&wirepb.ClientEntry{Entry: &wirepb.ClientEntry_Hello{Hello: &wirepb.Hello{WireVersion: 1, Instance: make([]byte, 16)}}})
	epoch := p.Epoch()
	sameMessage(c.t, "welcome", c.next(), &wirepb.ProviderEntry{Entry: &wirepb.ProviderEntry_Welcome{Welcome: &wirepb.Welcome{
		WireVersion: 1, Epoch: epoch[:], Name: "hail", Version: &wirepb.Version{Major: 1, Minor: 2, Patch: 3}, Tags: []string{"plain"},
		MaxMessage: 1 << 20, HardTop: 16 << 20, MaxResources: 65536,
	}}})
}

// open opens a session of the service and returns its number.
func (c *plainClient) open() uint32 {
	c.t.Helper()
	c.send(&wirepb.ClientEntry{Entry: &wirepb.ClientEntry_Open{Open: &wirepb.Open{Call: 1, Selector: &wirepb.Selector{Uuid: "hail", Major: 1, Minor: 2}}}})
	opened := c.next().GetOpened()
	if opened.GetCall() != 1 || opened.GetSession() == 0 {
		c.t.Fatalf("opened %v", opened)
	}
	sameMessage(c.t, "provided", opened.Provided, &wirepb.Selector{Uuid: "hail", Major: 1, Minor: 4})
	return opened.Session
}

func TestPlainClient(t *testing.T) {
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
	p, e := listenPlain(t)
	c := attachPlain(t, e)
	c.greet(p)
	session := c.open()

	for call, args := range []string{"", "hello", string(make([]byte, 1<<20))} {
		reply := c.reply(&wirepb.Invoke{Call: uint32(call + 2), Session: session, Method: uint32(hailEcho), Args: []byte(args)})
		if string(reply.Result) != args || reply.Failure != nil {
			t.Errorf("%d bytes came back as %d, %v", len(args), len(reply.Result), reply.Failure)
		}
	}
	if reply := c.reply(&wirepb.Invoke{Call: 9, Session: session, Method: 99}); reply.Failure.GetCode() != 9 {
		t.Errorf("a method that there is not: %v", reply.Failure)
	}

	made := c.reply(&wirepb.Invoke{Call: 10, Session: session, Method: uint32(hailMake)})
	if made.Handle&1 != 1 || made.ReceiveWindow == 0 || made.SendWindow == 0 {
		t.Errorf("a resource: %v", made)
	}
	sameMessage(t, "notification", c.next(), notificationMessage([]uint32{made.Handle}, []byte("hail")))
	c.send(&wirepb.ClientEntry{Entry: &wirepb.ClientEntry_Credit{Credit: &wirepb.Credit{Handle: made.Handle, Bytes: 64 + 4}}})
	c.send(&wirepb.ClientEntry{Entry: &wirepb.ClientEntry_CloseResource{CloseResource: &wirepb.CloseResource{Call: 11, Session: session, Handle: made.Handle}}})
	sameMessage(t, "closed resource", c.next(), replyMessage(&wirepb.Reply{Call: 11}))
	c.send(&wirepb.ClientEntry{Entry: &wirepb.ClientEntry_CloseSession{CloseSession: &wirepb.CloseSession{Call: 12, Session: session}}})
	sameMessage(t, "closed session", c.next(), replyMessage(&wirepb.Reply{Call: 12}))

	if err := c.stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if batch, err := c.stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("after the end: %v, %v", batch, err)
	}
}

// A plain client is told in words what it does wrong.
func TestPlainClientHearsFarewell(t *testing.T) {
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
	p, e := listenPlain(t)
	c := attachPlain(t, e)
	c.greet(p)
	c.send(&wirepb.ClientEntry{})
	farewell := c.next().GetFarewell()
	if farewell.GetFailure().GetText() == "" || farewell.Final {
		t.Errorf("farewell %v", farewell)
	}
	if err := c.stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if batch, err := c.stream.Recv(); err == nil {
		t.Errorf("after the end: %v", batch)
	}
}
