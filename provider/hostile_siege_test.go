package provider_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"crier.local/api"
	"crier.local/api/tlstest"
	"crier.local/api/wire"
	"crier.local/api/wire/wirepb"
	"crier.local/client"
	"crier.local/provider"
	"crier.local/provider/notification"
)

// The tests of hostile peers attack a provider in a process of its own, so that
// its memory can be told from the attacker's, while two clients chat that may
// not notice anything.

const (
	fortressEnv = "CRIER_TEST_FORTRESS"
	// endurance bounds what these tests wait for; nothing takes that long.
	endurance = time.Minute
	// memoryBound is by how much an attack may make the provider's memory grow,
	// with limits as they are by default.
	memoryBound = 128 << 20
)

// TestFortress is the attacked process. It listens on the addresses in its
// environment, and tells its state whenever a line comes in.
func TestFortress(t *testing.T) {
	if os.Getenv(fortressEnv) == "" {
		t.Skip("the tests of hostile peers play this in a process of its own")
	}
	if err := playFortress(); err != nil {
		fmt.Fprintln(os.Stderr, "crier:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func playFortress() error {
	o := provider.Options{Logger: hclog.New(&hclog.LoggerOptions{Level: hclog.Error, Output: os.Stderr})}
	if os.Getenv("CRIER_TEST_LOG") != "" {
		o.Logger.SetLevel(hclog.Debug)
	}
	if dir := os.Getenv("CERTIFICATES"); dir != "" {
		o.TLS = api.TLSFiles{CA: dir + "/ca.pem", Cert: dir + "/fortress.pem", Key: dir + "/fortress.key"}
	}
	p := provider.New(o)
	defer p.Close()
	if _, err := notification.Register(p, notification.Options{}, provider.ServiceOptions{}); err != nil {
		return err
	}
	e, err := api.ParseEndpoint(os.Getenv(fortressEnv))
	if err != nil {
		return err
	}
	if e, err = p.Listen(e); err != nil {
		return err
	}
	fmt.Println(e)
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		debug.FreeOSMemory()
		open, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			return err
		}
		fmt.Println(runtime.NumGoroutine(), len(open), len(slices.Collect(p.Resources())))
	}
	return nil
}

// siege is an attack on a provider, and what it looks like from inside.
type siege struct {
	t       *testing.T
	e       api.Endpoint
	tls     *tls.Config // nil for a unix socket
	options client.Options
	cmd     *exec.Cmd
	say     io.Writer
	lines   *bufio.Scanner
	before  state
	memory  int // bytes resident before
	chat    *chat
	peers   []io.Closer // what end closes
	ended   bool
}

// state is what a provider holds.
type state struct{ goroutines, descriptors, resources int }

// transports are the ways in which peers come.
var transports = []string{"unix", "tls"}

// besieged runs a test over each transport.
func besieged(t *testing.T, test func(t *testing.T, s *siege)) {
	if runtime.GOOS != "linux" {
		t.Skip("memory is read from /proc")
	}
	for _, transport := range transports {
		t.Run(transport, func(t *testing.T) {
			s := besiege(t, transport)
			test(t, s)
			if !s.ended {
				s.end("")
			}
		})
	}
}

// besiege starts a provider and the chat in it.
func besiege(t *testing.T, transport string) *siege {
	t.Helper()
	s := &siege{t: t}
	dir := t.TempDir()
	e := api.UnixEndpoint(filepath.Join(dir, "s"))
	env := []string{"GORACE=atexit_sleep_ms=0"}
	if transport == "tls" {
		e = api.Endpoint{Network: "tcp", Address: "127.0.0.1:0"}
		s.options.TLS = s.certify(dir)
		env = append(env, "CERTIFICATES="+dir)
	}
	s.cmd = exec.Command(os.Args[0], "-test.run=^TestFortress$")
	s.cmd.Env = append(append(os.Environ(), fortressEnv+"="+e.String()), env...)
	s.start()
	s.lines.Scan()
	var err error
	if s.e, err = api.ParseEndpoint(s.lines.Text()); err != nil {
		t.Fatal(err)
	}
	s.options.Address = s.e
	s.chat = startChat(s)
	s.before = s.state()
	if err := os.WriteFile(s.proc("clear_refs"), []byte("5"), 0); err != nil { // forgets the peak
		t.Fatal(err)
	}
	s.memory = s.status("VmRSS")
	return s
}

// certify makes the certificates of both sides, and returns the attacker's and
// the witnesses' files.
func (s *siege) certify(dir string) api.TLSFiles {
	s.t.Helper()
	a, err := tlstest.New(dir)
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := a.Issue("fortress", tlstest.Pair{}); err != nil {
		s.t.Fatal(err)
	}
	files, err := a.Issue("peer", tlstest.Pair{})
	if err != nil {
		s.t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(files.Cert, files.Key)
	if err != nil {
		s.t.Fatal(err)
	}
	ca, err := os.ReadFile(files.CA)
	if err != nil {
		s.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	s.tls = &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots, ServerName: "localhost", NextProtos: []string{"h2"}}
	return files
}

func (s *siege) start() {
	s.t.Helper()
	stdin, err := s.cmd.StdinPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	s.cmd.Stderr = os.Stderr
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.say, s.lines = stdin, bufio.NewScanner(stdout)
	s.t.Cleanup(func() {
		stdin.Close()
		s.cmd.Process.Kill()
		s.cmd.Wait()
	})
}

// state asks the provider what it holds.
func (s *siege) state() (now state) {
	s.t.Helper()
	fmt.Fprintln(s.say)
	if !s.lines.Scan() {
		s.t.Fatal("the provider has ended")
	}
	if _, err := fmt.Sscan(s.lines.Text(), &now.goroutines, &now.descriptors, &now.resources); err != nil {
		s.t.Fatal(err)
	}
	return now
}

func (s *siege) proc(name string) string { return fmt.Sprintf("/proc/%d/%s", s.cmd.Process.Pid, name) }

// status returns a number of bytes from the provider's process status.
func (s *siege) status(field string) int {
	s.t.Helper()
	text, err := os.ReadFile(s.proc("status"))
	if err != nil {
		s.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), field+":")
	kib, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		s.t.Fatal(err)
	}
	return kib << 10
}

// end checks that nobody noticed the attack, that nothing is left of it, and that
// it did not take much memory, and logs what came of it.
func (s *siege) end(verdict string, values ...any) {
	s.t.Helper()
	s.ended = true
	for _, peer := range s.peers {
		peer.Close()
	}
	peak := s.status("VmHWM") - s.memory
	begin := time.Now()
	now := s.state()
	for late := time.After(endurance); now.exceeds(s.before); now = s.state() {
		select {
		case <-time.After(10 * time.Millisecond):
		case <-late:
			s.t.Errorf("the provider has %+v, and had %+v", now, s.before)
			late = nil
			s.before = now
		}
	}
	cleared := time.Since(begin)
	messages, worst := s.chat.end()
	if bound := memoryBound * raceFactor; peak > bound {
		s.t.Errorf("memory grew by %d MiB, the bound is %d", peak>>20, bound>>20)
	}
	s.t.Logf("%s | memory +%.1f MiB | cleared in %s | witness %d messages, slowest %s", fmt.Sprintf(verdict, values...),
		float64(peak)/(1<<20), cleared.Round(time.Millisecond), messages, worst.Round(time.Microsecond))
}

func (now state) exceeds(before state) bool {
	return now.goroutines > before.goroutines || now.descriptors > before.descriptors || now.resources > before.resources
}

// dial connects without a word.
func (s *siege) dial() net.Conn {
	s.t.Helper()
	conn, err := s.tryDial()
	if err != nil {
		s.t.Fatal(err)
	}
	return conn
}

func (s *siege) tryDial() (net.Conn, error) {
	conn, err := net.Dial(s.e.Network, s.e.Address)
	if err == nil && s.tls != nil {
		c := tls.Client(conn, s.tls)
		conn, err = c, c.Handshake()
	}
	if err != nil {
		return nil, err
	}
	s.peers = append(s.peers, conn)
	s.t.Cleanup(func() { conn.Close() })
	conn.SetWriteDeadline(time.Now().Add(2 * endurance))
	return conn, nil
}

// attach is an attachment over gRPC of which every batch is the caller's.
func (s *siege) attach() *rawStream {
	s.t.Helper()
	creds, target := insecure.NewCredentials(), "unix:"+s.e.Address
	if s.tls != nil {
		creds, target = credentials.NewTLS(s.tls), "passthrough:"+s.e.Address
	}
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(creds), grpc.WithDisableRetry())
	if err != nil {
		s.t.Fatal(err)
	}
	s.peers = append(s.peers, conn)
	s.t.Cleanup(func() { conn.Close() })
	return s.attachOver(conn)
}

// attachOver is an attachment over a connection that may have one already.
func (s *siege) attachOver(conn *grpc.ClientConn) *rawStream {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*endurance)
	s.t.Cleanup(cancel)
	both := &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}
	stream, err := conn.NewStream(ctx, both, wirepb.Crier_Attach_FullMethodName,
		grpc.ForceCodecV2(wire.Codec()), grpc.MaxCallRecvMsgSize(32<<20))
	if err != nil {
		s.t.Fatal(err)
	}
	return &rawStream{t: s.t, grpc: stream, conn: conn}
}
