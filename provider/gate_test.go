package provider

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"crier.local/api"
	"crier.local/api/wire/wirepb"
	"crier.local/client"
)

// silent connects without a word, and returns once the provider has accepted,
// if it does within a moment.
func silent(t *testing.T, e api.Endpoint, moment time.Duration) (conn net.Conn, accepted bool) {
	t.Helper()
	conn, err := net.Dial("unix", e.Address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetReadDeadline(time.Now().Add(moment))
	_, err = io.ReadFull(conn, make([]byte, 9)) // of HTTP/2's settings, which come first
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	return conn, err == nil
}

func TestSilentConnectionsPauseAccept(t *testing.T) {
	p, w, e := listening(t, Options{})
	most := p.front.gate.local.most
	var last net.Conn
	for range most {
		conn, accepted := silent(t, e, deadline)
		if !accepted {
			t.Fatal("not accepted")
		}
		last = conn
	}
	waiting, accepted := silent(t, e, 50*time.Millisecond)
	if accepted {
		t.Fatalf("connection %d has been accepted", most+1)
	}
	waiting.Close()
	dialed := make(chan error, 1)
	go func() {
		c, err := client.Dial(within(t), client.Options{Address: e})
		if err == nil {
			defer c.Close()
			_, err = c.Open(within(t), witnessSelector)
		}
		dialed <- err
	}()
	last.Close()
	if err := receive(t, "the client to be let in", dialed); err != nil {
		t.Error(err)
	}
	receive(t, "the session", w.opened)
}

func TestSilentConnectionsAreClosed(t *testing.T) {
	p := New(Options{})
	defer p.Close()
	p.front.gate.patience = 20 * time.Millisecond
	e, err := p.Listen(api.UnixEndpoint(filepath.Join(t.TempDir(), "crier.sock")))
	if err != nil {
		t.Fatal(err)
	}
	conn, _ := silent(t, e, deadline)
	conn.SetReadDeadline(time.Now().Add(deadline))
	if _, err := io.Copy(io.Discard, conn); err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the connection was not closed: %v", err)
	}
	stream, err := wirepb.NewCrierClient(plainConn(t, e)).Attach(within(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("a stream without a hello ends with %v", err)
	}
}

// plainConn is a connection as gRPC makes it.
func plainConn(t *testing.T, e api.Endpoint) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("unix:"+e.Address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// playStorm connects to $CRIER_ADDRESS as fast as it can, asks for the health of
// the provider each time, and says how often it was answered and refused.
func playStorm() error {
	e, err := api.ParseEndpoint(os.Getenv(api.EnvAddress))
	if err != nil {
		return err
	}
	counts := map[codes.Code]int{}
	for range maxConnects + maxConnects/2 {
		conn, err := grpc.NewClient("unix:"+e.Address, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			return err
		}
		_, err = grpc_health_v1.NewHealthClient(conn).Check(context.Background(), &grpc_health_v1.HealthCheckRequest{Service: "plugin"})
		counts[status.Code(err)]++
		if code := status.Code(err); code == codes.ResourceExhausted && counts[code] == 1 {
			fmt.Println(status.Convert(err).Message())
		}
		conn.Close()
	}
	fmt.Println(counts[codes.OK], counts[codes.ResourceExhausted])
	return nil
}

func TestConnectRate(t *testing.T) {
	_, _, e := listeningIn(t, publicDir(t), Options{AllowUIDs: []uint32{1000}})
	a := playAs(t, 1000, []uint32{1000}, "storm", api.EnvAddress+"="+e.String())
	line := a.line()
	if _, _, found := strings.Cut(line, " "); !found || !strings.Contains(line, "more than 200 times in a second") {
		t.Logf("connecting took more than a second: %s", line)
		return
	}
	var answered, refused int
	if _, err := fmt.Sscan(a.line(), &answered, &refused); err != nil {
		t.Fatal(err)
	}
	if answered < maxConnects || refused == 0 || answered+refused != maxConnects+maxConnects/2 {
		t.Errorf("%d connections were answered and %d refused", answered, refused)
	}
	dial(t, e) // others do not notice
}

func TestGate(t *testing.T) {
	const foreign, other = 4242, 4243
	var g gate
	g.init(4)
	visit := func(uid uint32) *link {
		return &link{visitor: userID(uid), gate: &g, hall: &g.local, deadline: time.NewTimer(time.Hour)}
	}
	var inside []*link
	enter := func(uid uint32) error {
		l := visit(uid)
		if err := g.arrive(l); err != nil {
			t.Fatal(err)
		}
		inside = append(inside, l)
		return g.enter(l)
	}
	leave := func(i int) {
		g.leave(inside[i])
		g.depart(inside[i])
	}
	for i, step := range []struct {
		uid  uint32
		want error
	}{
		{foreign, nil}, {foreign, nil},
		{foreign, api.ErrTooMany}, // half of the places
		{other, nil}, {0, nil},
		{0, api.ErrTooMany}, // all of them
	} {
		if err := enter(step.uid); !errors.Is(err, step.want) || (step.want == nil) != (err == nil) {
			t.Fatalf("step %d: error %v, want %v", i, err, step.want)
		}
	}
	if err := g.enter(inside[0]); !errors.Is(err, api.ErrTooMany) {
		t.Errorf("second attachment on a connection: %v", err)
	}
	leave(0)
	if err := enter(foreign); err != nil {
		t.Errorf("a place that was given back is refused: %v", err)
	}
	for range 2 * maxConnects {
		l := visit(foreign + 7)
		g.arrive(l)
		g.depart(l)
	}
	if err := g.arrive(visit(foreign + 7)); !errors.Is(err, errFlood) {
		t.Errorf("connection %d in a second: %v", 2*maxConnects+1, err)
	}
	for range 3 * maxConnects {
		if err := g.arrive(visit(0)); err != nil {
			t.Fatalf("root is refused: %v", err)
		}
	}
}

func TestPlacesAreGivenBack(t *testing.T) {
	_, _, e := listening(t, Options{Limits: Limits{Processes: 1}})
	first := dial(t, e)
	_, err := client.Dial(within(t), client.Options{Address: e})
	if !errors.Is(err, api.ErrTooMany) || !strings.Contains(err.Error(), "1 of 1 places") {
		t.Fatalf("error %v, want %v with words", err, api.ErrTooMany)
	}
	first.Close()
	for ctx := within(t); ; { // the provider hears of it in its own time
		c, err := client.Dial(ctx, client.Options{Address: e})
		if err == nil {
			c.Close()
			return
		}
		if !errors.Is(err, api.ErrTooMany) {
			t.Fatal(err)
		}
	}
}

func TestHealthGreets(t *testing.T) {
	p, _, e := listening(t, Options{})
	answer, err := grpc_health_v1.NewHealthClient(plainConn(t, e)).Check(within(t), &grpc_health_v1.HealthCheckRequest{Service: "plugin"})
	if err != nil || answer.Status != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Errorf("health %v, %v", answer, err)
	}
	p.front.gate.mu.Lock()
	defer p.front.gate.mu.Unlock()
	if p.front.gate.local.silent != 0 {
		t.Error("a connection that asked for the health counts as silent")
	}
}
