package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"crier.local/api"
	"crier.local/client/notification"
)

// What is refused is told in Crier's codes, and nothing else comes of it.
func TestPythonErrors(t *testing.T) {
	s := newPythonScene(t)
	x := s.connect(api.Connect{Name: "Zoë"})
	p := s.attached("name='py'")
	p.do("import crier_pb2 as wire, notification_pb2 as shapes")
	for source, want := range map[string]string{
		"service.connect(name='zOË')":                        "NAME_TAKEN",
		"room.rename('Zoë')":                                 "NAME_TAKEN",
		"service.connect(name='client-1')":                   "BAD_NAME",
		"service.connect('x' * 129)":                         "BAD_NAME",
		"service._invoke(0, shapes.ConnectArgs(overflow=9))": "CALL",
		"room._invoke(99, b'')":                              "NO_METHOD",
		"service.connect(send_only=True).receive()":          "NOT_NOTIFIABLE",
		"room.receive(0.001)":                                "TIMEOUT",
		"client.open(minor=9)":                               "VERSION",
		"client.open('somebody-elses')":                      "VERSION",
		"client.open(minor=0).who()":                         "NO_METHOD",
		"client._call(invoke=wire.Invoke(session=1))":        "CLOSED",
		"crier.attach('unix:///nowhere/at/all')":             "NO_PROVIDER",
	} {
		p.fails(want, source)
	}
	if a := p.fails("VERSION", "client.open(major=9)"); !strings.Contains(a.Text, "@9.x, but @1.1") {
		t.Errorf("wrong words: %s", a.Text)
	}
	if got := valueOf[string](p, "client.open(minor=0).connect('ignored', 'ignored').room"); got != "lobby" {
		t.Errorf("one of version 1.0 is in %q", got)
	}
	p.do("gone = service.connect(); handle = gone._handle; gone.close(); gone._end = None")
	p.fails("UNKNOWN_HANDLE", "gone.send(b'')")
	p.do("_ = client._call(close_resource=wire.CloseResource(session=gone._session, handle=handle))")
	p.do("_ = client._call(close_session=wire.CloseSession(session=1))")

	// Too large: by the client's own count, by the provider's, and in a post.
	p.do("large = b'x' * (client.welcome.max_message + 1)")
	p.fails("TOO_LARGE", "room.send(large)")
	p.fails("TOO_LARGE", "room.post(large)")
	p.do("room._check = lambda payload: None")
	p.fails("TOO_LARGE", "room.send(large)")
	p.do("room.post(b'before'); room.post(large); room.post(b'after')")
	p.fails("TOO_LARGE", "room.flush()")
	p.do("room.flush()")
	for _, want := range []string{"before", "after"} {
		if e := s.receive(x); string(e.Payload) != want {
			t.Fatalf("received %d bytes, want %q", len(e.Payload), want)
		}
	}
}

// Who breaks the protocol is told in a farewell, and the others do not notice.
func TestPythonFarewell(t *testing.T) {
	s := newPythonScene(t)
	x := s.connect(api.Connect{Name: "go", Presence: true})
	s.receive(x)
	for _, offence := range []string{
		"hello=wire.Hello(wire_version=1, instance=bytes(16))",
		"invoke=wire.Invoke(session=room._session)",
		"credit=wire.Credit(handle=room._handle, bytes=1 << 20)",
	} {
		p := s.attached("name='py'")
		s.receive(x)
		p.do("import crier_pb2 as wire")
		p.do(fmt.Sprintf("with client._changed: client._put(%s)", offence))
		p.fails("CALL", "room.receive(60)")
		p.fails("CALL", "client.ping()")
		p.do("client.close()")
		if e := s.receive(x); e.Kind != api.KindLeft || e.From != "py" {
			t.Errorf("received %+v", e)
		}
	}
}

// A provider that ends says so, and the process ends in order.
func TestPythonGoingAway(t *testing.T) {
	s := newPythonScene(t)
	p := s.attached("presence=True")
	p.begin("list(room)")
	if err := s.provider.Term(); err != nil {
		t.Fatal(err)
	}
	if a := p.finish(); a.Error != "CLOSED" || api.Reason(a.Reason) != api.ReasonGoingAway {
		t.Errorf("%+v", a)
	}
	if err := s.provider.Reaped(s.ctx); err != nil {
		t.Errorf("provider: %v", err)
	}
	p.do("client._reader.join(60)")
	if a := p.fails("CLOSED", "client.ping()"); api.Reason(a.Reason) != api.ReasonGoingAway {
		t.Errorf("%+v", a)
	}
	p.do("client.close()")
}

// fill has a peer that takes nothing, and a sender beside it that has to wait.
func (s *pythonScene) fill() *pythonPeer {
	s.t.Helper()
	p := s.attached("name='deaf'")
	p.do("writer = crier.attach().open().connect(send_only=True)")
	p.do("payload = bytes(client.welcome.max_message)")
	p.fails("TIMEOUT", "while True: writer.send(payload, timeout=0.05)")
	return p
}

// parked waits until a call waits for a receiver.
func (s *pythonScene) parked(c *notification.Client) {
	s.t.Helper()
	parked := func(seat api.Seat) bool { return seat.Parked > 0 }
	for seats := []api.Seat(nil); !slices.ContainsFunc(seats, parked); {
		var err error
		if seats, err = c.Who(s.ctx, ""); err != nil {
			s.t.Fatal(err)
		}
	}
}

// A connection that is closed takes the calls with it that wait.
func TestPythonClosesUnderCalls(t *testing.T) {
	s := newPythonScene(t, "--stall", "10m")
	c := s.client()
	p := s.fill()
	p.do(`
		import threading
		caught = []
		def send():
		    try:
		        writer.send(payload)
		    except crier.Error as error:
		        caught.append(error.code.name)
		sender = threading.Thread(target=send)
		sender.start()`)
	s.parked(c)
	p.do("writer.close(); sender.join()")
	if got := valueOf[[]string](p, "caught"); !slices.Equal(got, []string{"CLOSED"}) {
		t.Errorf("the call ended with %q", got)
	}
	p.fails("CLOSED", "writer.send(b'')")
}

// A call that a killed provider has not answered may have been carried out.
func TestPythonProviderKilled(t *testing.T) {
	s := newPythonScene(t, "--stall", "10m")
	c := s.client()
	p := s.fill()
	p.begin("writer.send(payload)")
	s.parked(c)
	s.provider.Kill()
	if a := p.finish(); a.Error != "OUTCOME_UNKNOWN" {
		t.Errorf("%+v", a)
	}
	p.fails("DISCONNECTED", "list(room)")
	if err := s.provider.Reaped(s.ctx); err == nil {
		t.Error("the provider ended in order")
	}
}

// One that takes nothing is waited for, and then sent away.
func TestPythonEvicted(t *testing.T) {
	s := newPythonScene(t, "--stall", "2s")
	p := s.fill()
	if n := valueOf[int](p, "writer.send(payload).receivers"); n != 0 {
		t.Errorf("%d receivers are left", n)
	}
	if a := p.fails("EVICTED", "list(room)"); api.Reason(a.Reason) != api.ReasonSlow {
		t.Errorf("%+v", a)
	}
	p.fails("EVICTED", "room.send(b'')")
	p.do("room.close(); room = service.connect(name='deaf')")
}

// One that would rather lose messages is told how many it lost.
func TestPythonGap(t *testing.T) {
	s := newPythonScene(t)
	const count = 40
	p := s.attached("name='lossy', gap=True, presence=True, window=1 << 16")
	x := s.connect(api.Connect{Name: "go"})
	first := s.send(x, nil, 1).Seq
	for range count - 1 {
		s.send(x, make([]byte, 256<<10), 1)
	}
	last := s.send(x, []byte("last"), 1).Seq
	heard, lost, seq := uint64(0), uint64(0), uint64(0)
	for seq < uint64(last) {
		e := p.receive("room")
		switch api.Kind(e.Kind) {
		case api.KindMessage:
			if e.Seq <= seq {
				t.Fatalf("number %d after %d", e.Seq, seq)
			}
			heard++
			seq = e.Seq
		case api.KindGap:
			if e.First <= seq || e.Last < e.First || e.Count != e.Last-e.First+1 {
				t.Errorf("%+v after %d", e, seq)
			}
			lost += e.Count
			seq = e.Last
		}
	}
	if heard+lost != count+1 || lost == 0 || first == 0 {
		t.Errorf("heard %d and lost %d of %d", heard, lost, count+1)
	}
}
