package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"crier.local/api"
	"crier.local/api/tlstest"
	"crier.local/client"
	"crier.local/client/notification"
)

// The provider reads encodings that no library writes.
func TestPythonOddClient(t *testing.T) {
	s := newPythonScene(t)
	x := s.connect(api.Connect{Room: "odd", Presence: true})
	s.receive(x)
	p := s.start(s.ctx, t)
	p.do("import odd")
	type answer struct {
		Welcome, Opened *struct{ Name string }
		Reply           *struct {
			Handle uint32
			Result []byte
		}
	}
	answers := valueOf[[]answer](p, fmt.Sprintf("odd.attach('unix:%s', b'fnord')", s.address.Address))
	if len(answers) != 5 || answers[0].Welcome == nil || answers[1].Opened == nil {
		t.Fatalf("answered %+v", answers)
	}
	for i, a := range answers[2:] {
		if a.Reply == nil || (a.Reply.Handle != 0) != (i == 0) {
			t.Errorf("answer %d is %+v", i+2, a)
		}
	}
	for _, want := range []api.Event{
		{Kind: api.KindJoined, From: "Ödd"},
		{Kind: api.KindMessage, From: "Ödd", Payload: []byte("fnord")},
		{Kind: api.KindLeft, From: "Ödd", Reason: api.ReasonClosed},
	} {
		e := s.receive(x)
		if e.Kind != want.Kind || e.From != want.From || e.Reason != want.Reason || !bytes.Equal(e.Payload, want.Payload) {
			t.Errorf("received %+v, want %+v", e, want)
		}
	}
}

// The Go client reads encodings that no library writes.
func TestPythonOddProvider(t *testing.T) {
	s := newPythonScene(t)
	socket := filepath.Join(s.dir, "odd.sock")
	p := s.start(s.ctx, t)
	p.do(fmt.Sprintf("import odd; provider = odd.Provider('unix:%s')", socket))
	c, err := notification.Dial(s.ctx, client.Options{Address: api.UnixEndpoint(socket)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if provider := c.Provider(); provider.Name != "odd" || provider.Version.Minor != 5 || provider.MaxMessage != 1<<20 {
		t.Errorf("provider %+v", provider)
	}
	var connections []*notification.Connection
	for _, name := range []string{"a", "b", "c"} {
		x, err := c.Connect(s.ctx, api.Connect{Name: name, Room: "odd"})
		if err != nil {
			t.Fatal(err)
		}
		if x.Name() != name || x.Room() != "odd" {
			t.Errorf("%q in %q", x.Name(), x.Room())
		}
		connections = append(connections, x)
	}
	for i := range 2000 { // more than a window
		payload := bytes.Repeat([]byte{byte(i)}, i%200)
		if receipt := s.send(connections[0], payload, 3); receipt.Seq != 5 {
			t.Fatalf("receipt %+v", receipt)
		}
		for _, x := range connections {
			for again, from := range []string{"Ödd", ""} {
				e := s.receive(x)
				if e.Kind != api.KindMessage || e.From != from || e.Seq != api.Seq(5+again) || !bytes.Equal(e.Payload, payload) {
					t.Fatalf("%q received %+v", x.Name(), e)
				}
			}
		}
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	heard := valueOf[[]string](p, "[e.WhichOneof('entry') for e in provider.heard]")
	for _, want := range []string{"hello", "open", "invoke", "credit", "close_resource"} {
		if !slices.Contains(heard, want) {
			t.Errorf("the client sent no %s", want)
		}
	}
	p.do("provider.close()")
}

// Over TCP the certificates say who is who.
func TestPythonTLS(t *testing.T) {
	pki := t.TempDir()
	authority, err := tlstest.New(pki)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"provider", "alice"} {
		if _, err := authority.Issue(name, tlstest.Pair{}); err != nil {
			t.Fatal(err)
		}
	}
	file := func(name string) string { return filepath.Join(pki, name) }
	s := newPythonScene(t, "--address", "tcp://127.0.0.1:0", "--address", "tcp://localhost:0", "--tls-cert", file("provider.pem"),
		"--tls-key", file("provider.key"), "--tls-client-ca", file("ca.pem"))
	for _, address := range s.provider.Addresses() {
		p := s.start(s.ctx, t)
		p.do(fmt.Sprintf("client = crier.attach(%q, crier.TLS(%q, %q, %q))", address, file("ca.pem"), file("alice.pem"), file("alice.key")))
		p.do("room = client.open().connect(name='alice', echo=True)")
		if n := valueOf[int](p, "room.send(bytes(client.welcome.max_message)).receivers"); n != 1 {
			t.Errorf("%d receivers", n)
		}
		if e := p.receive("room"); len(e.Payload) != 1<<20 {
			t.Errorf("received %d bytes", len(e.Payload))
		}
		if got := valueOf[[]string](p, "[seat.subject for seat in client.open().who()]"); !slices.Equal(got, []string{"alice"}) {
			t.Errorf("there are %q", got)
		}
		p.fails("NO_PROVIDER", fmt.Sprintf("crier.attach(%q)", address))
		p.do("client.close()")
	}
}

func TestPythonInsecure(t *testing.T) {
	s := newPythonScene(t, "--address", "tcp://127.0.0.1:0", "--insecure")
	p := s.attached("echo=True")
	p.do("room.send(b'hello')")
	if e := p.receive("room"); string(e.Payload) != "hello" {
		t.Errorf("received %+v", e)
	}
}

// Providers are found by what they announce, and the best of them is taken.
func TestPythonDiscovery(t *testing.T) {
	s := newPythonScene(t)
	p := s.start(s.ctx, t, "CRIER_RUN_DIR="+s.dir)
	p.do("import discovery; uuid = crier.UUID")
	announce := func(name string, priority api.Priority, addresses ...string) {
		t.Helper()
		b, err := json.Marshal(api.Announcement{Name: name, Epoch: name, Addresses: addresses, Services: []api.AnnouncedService{
			{UUID: api.NotificationUUID, Major: 1, Minor: 1, Priority: priority},
			{UUID: name, Major: 3, Minor: 2},
		}})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(s.dir, name+api.AnnouncementSuffix), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	found := func(want string) {
		t.Helper()
		if got := valueOf[string](p, "discovery.find(uuid, 1, 1)"); got != want {
			t.Errorf("found %s, want %s", got, want)
		}
	}
	if err := os.WriteFile(filepath.Join(s.dir, "garbage"+api.AnnouncementSuffix), []byte("[1, {"), 0o644); err != nil {
		t.Fatal(err)
	}
	announce("dead", api.PriorityPreferredStrongly, "unix://dead.sock")
	found(s.address.String())
	socket := filepath.Base(s.address.Address)
	announce("worse", api.PriorityUnpreferred, "unix://"+socket)
	found(s.address.String())
	announce("same", api.PriorityNormal, "tcp://127.0.0.1:1", "unix://"+socket)
	p.fails("AMBIGUOUS", "discovery.find(uuid, 1, 1)")
	announce("better", api.PriorityPreferred, "unix:///nowhere/at/all", "unix://"+socket)
	p.fails("AMBIGUOUS", "discovery.find(uuid, 1, 1)") // its first address counts
	announce("better", api.PriorityPreferred, "unix://../"+filepath.Base(s.dir)+"/"+socket)
	found("unix://" + s.dir + "/../" + filepath.Base(s.dir) + "/" + socket)
	p.fails("VERSION", "discovery.find(uuid, 1, 2)")
	p.fails("VERSION", "discovery.find('better', 4, 0)")
	p.fails("NO_PROVIDER", "discovery.find('dead', 3, 2, wait=0)")
	p.do("crier.attach().close()")
}

// The example does what its page says.
func TestPythonChat(t *testing.T) {
	s := newPythonScene(t)
	x := s.connect(api.Connect{Name: "go", Presence: true})
	s.receive(x)
	chat := s.command(s.ctx, "../../api/python/chat.py", "--name", "Zoë")
	chat.Env = append(chat.Env, "CRIER_RUN_DIR="+s.dir)
	in, err := chat.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var out, words bytes.Buffer
	chat.Stdout, chat.Stderr = &out, &words
	if err := chat.Start(); err != nil {
		t.Fatal(err)
	}
	if e := s.receive(x); e.Kind != api.KindJoined || e.From != "Zoë" {
		t.Errorf("received %+v", e)
	}
	s.send(x, []byte("bell \a and \u202e all"), 1)
	in.Write([]byte("first\nsecond"))
	if e := s.receive(x); string(e.Payload) != "first" {
		t.Errorf("received %+v", e)
	}
	in.Close()
	if e := s.receive(x); string(e.Payload) != "second" {
		t.Errorf("received %+v", e)
	}
	if e := s.receive(x); e.Kind != api.KindLeft || e.Reason != api.ReasonClosed {
		t.Errorf("received %+v", e)
	}
	if err := chat.Wait(); err != nil {
		t.Error(err)
	}
	if want := "* here: Zoë, go\ngo: bell \ufffd and \ufffd all\n"; out.String() != want {
		t.Errorf("printed %q, want %q", &out, want)
	}
	if want := "in lobby as Zoë\n"; words.String() != want {
		t.Errorf("said %q, want %q", &words, want)
	}
}

// A provider that ends under the example is told of in a line.
func TestPythonChatAlone(t *testing.T) {
	s := newPythonScene(t)
	x := s.connect(api.Connect{Name: "go", Presence: true})
	s.receive(x)
	chat := s.command(s.ctx, "../../api/python/chat.py", "--address", s.address.String())
	in, err := chat.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	var words strings.Builder
	chat.Stderr = &words
	if err := chat.Start(); err != nil {
		t.Fatal(err)
	}
	in.Write([]byte("here\n"))
	s.receive(x)
	s.provider.Term()
	if err := s.provider.Reaped(s.ctx); err != nil {
		t.Error(err)
	}
	err = chat.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 1 {
		t.Errorf("chat ended with %v", err)
	}
	if !strings.HasSuffix(words.String(), "\nchat: closed: the provider is going away\n") {
		t.Errorf("said %q", words.String())
	}
}
