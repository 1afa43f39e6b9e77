package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os/exec"
	"slices"
	"testing"

	"crier.local/api"
)

// Messages of any size pass between Python and Go, with names, numbers and receipts.
func TestPythonMessages(t *testing.T) {
	s := newPythonScene(t)
	const room, goName, pyName = "Straße", "Zoë", "蟒蛇 🐍"
	x := s.connect(api.Connect{Room: room, Name: goName})
	p := s.attached(fmt.Sprintf("%q, %q", room, pyName))
	if got := valueOf[[]string](p, "[room.room, room.name]"); !slices.Equal(got, []string{room, pyName}) {
		t.Errorf("connected as %q", got)
	}
	for i, size := range valueOf[[]int](p, "[0, 1, 65_536, client.welcome.max_message]") {
		want := bytes.Repeat([]byte{byte(i), 0, 0xff}, size/3+1)[:size]
		receipt := s.send(x, want, 1)
		e := p.receive("room")
		if !bytes.Equal(e.Payload, want) || e.From != goName || e.Seq != uint64(receipt.Seq) || e.To != "" {
			t.Errorf("Python received %d bytes of %q with number %d, want %d with %+v", len(e.Payload), e.From, e.Seq, size, receipt)
		}
		back := valueOf[struct{ Seq, Receivers uint64 }](p, fmt.Sprintf("room.send((bytes([%d, 0, 255]) * %d)[:%d])", i, size/3+1, size))
		got := s.receive(x)
		if !bytes.Equal(got.Payload, want) || got.From != pyName || uint64(got.Seq) != back.Seq || back.Receivers != 1 {
			t.Errorf("Go received %d bytes of %q with number %d, want %d with %+v", len(got.Payload), got.From, got.Seq, size, back)
		}
	}
	p.do(fmt.Sprintf("room.send_to(%q, b'you')", goName))
	if e := s.receive(x); string(e.Payload) != "you" || e.To != goName {
		t.Errorf("received %+v", e)
	}
	if n := valueOf[int](p, "room.send_to('nobody', b'').receivers"); n != 0 {
		t.Errorf("nobody is %d", n)
	}
	p.do("room.close(); service.close(); client.close(); room.close(); service.close(); client.close()")
	p.fails("CLOSED", "room.send(b'')")
	p.fails("CLOSED", "room.receive()")
	p.fails("CLOSED", "client.ping()")
	s.send(x, nil, 0)
}

// Nothing is lost and nothing overtakes, over windows much smaller than what is sent.
func TestPythonNumbers(t *testing.T) {
	s := newPythonScene(t)
	const count, size, window = 10_000, 200, 16 << 10
	x := s.connect(api.Connect{Name: "go", Window: window})
	p := s.attached(fmt.Sprintf("name='py', window=%d", window))
	p.do(fmt.Sprintf(`
		def take():
		    return [int.from_bytes(room.receive(60).payload[:8], "big") for _ in range(%d)]
		def give():
		    for n in range(%[1]d):
		        room.post(n.to_bytes(8, "big").ljust(%d))
		    room.flush()`, count, size))

	p.begin("take()")
	payload := make([]byte, size)
	for n := range uint64(count) {
		binary.BigEndian.PutUint64(payload, n)
		if err := x.Post(s.ctx, payload); err != nil {
			t.Fatal(err)
		}
	}
	if flushed, err := x.Flush(s.ctx); err != nil || flushed.Ended != count || flushed.Refused > 0 {
		t.Errorf("%+v, %v", flushed, err)
	}
	for n, got := range valueDone[[]uint64](p) {
		if got != uint64(n) {
			t.Fatalf("Python received %d at %d", got, n)
		}
	}

	p.begin("give()")
	for n := range uint64(count) {
		e := s.receive(x)
		if got := binary.BigEndian.Uint64(e.Payload); got != n || len(e.Payload) != size {
			t.Fatalf("Go received %d of %d bytes at %d", got, len(e.Payload), n)
		}
	}
	p.done()
}

// Each hears who else comes and goes, and why.
func TestPythonPresence(t *testing.T) {
	s := newPythonScene(t)
	x := s.connect(api.Connect{Name: "go", Presence: true})
	if e := s.receive(x); e.Kind != api.KindMembers || len(e.Members) != 1 {
		t.Fatalf("received %+v", e)
	}
	p := s.attached("name='py', presence=True")
	if e := p.receive("room"); api.Kind(e.Kind) != api.KindMembers || !slices.Equal(e.members(), []string{"go", "py"}) {
		t.Errorf("Python received %+v", e)
	}
	heard := func(kind api.Kind, from, to string, reason api.Reason) {
		t.Helper()
		if e := s.receive(x); e.Kind != kind || e.From != from || e.To != to || e.Reason != reason {
			t.Fatalf("Go received %+v, want %v of %q", e, kind, from)
		}
	}
	told := func(kind api.Kind, from, to string, reason api.Reason) {
		t.Helper()
		if e := p.receive("room"); api.Kind(e.Kind) != kind || e.From != from || e.To != to || api.Reason(e.Reason) != reason {
			t.Fatalf("Python received %+v, want %v of %q", e, kind, from)
		}
	}
	heard(api.KindJoined, "py", "", 0)
	p.do("room.rename('pythia')")
	heard(api.KindRenamed, "py", "pythia", 0)
	if err := x.Rename(s.ctx, "gopher"); err != nil {
		t.Fatal(err)
	}
	told(api.KindRenamed, "go", "gopher", 0)
	for what, want := range map[string][]string{
		"sorted(m.name for m in room.members())":       {"gopher", "pythia"},
		"sorted(seat.name for seat in service.who())":  {"gopher", "pythia"},
		"[seat.name for seat in service.who('empty')]": {},
		"[r.name for r in service.rooms()]":            {"lobby"},
	} {
		if got := valueOf[[]string](p, what); !slices.Equal(got, want) {
			t.Errorf("%s is %q", what, got)
		}
	}

	other := s.connect(api.Connect{Name: "other"})
	told(api.KindJoined, "other", "", 0)
	heard(api.KindJoined, "other", "", 0)
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	told(api.KindLeft, "other", "", api.ReasonClosed)
	heard(api.KindLeft, "other", "", api.ReasonClosed)

	listener := exec.CommandContext(s.ctx, "crier", "listen", "--name", "listener", "--address", s.address.String())
	if err := listener.Start(); err != nil {
		t.Fatal(err)
	}
	told(api.KindJoined, "listener", "", 0)
	heard(api.KindJoined, "listener", "", 0)
	listener.Process.Kill()
	listener.Wait()
	told(api.KindLeft, "listener", "", api.ReasonDied)
	heard(api.KindLeft, "listener", "", api.ReasonDied)

	p.do("room.close()")
	heard(api.KindLeft, "pythia", "", api.ReasonClosed)
	p.do("room = service.connect(name='again')")
	heard(api.KindJoined, "again", "", 0)
	p.kill()
	heard(api.KindLeft, "again", "", api.ReasonDied)
}

// The connections of an attachment share the body of an event, and leave together.
func TestPythonShares(t *testing.T) {
	s := newPythonScene(t)
	const seats = 20
	x := s.connect(api.Connect{Name: "go", Presence: true})
	witness := s.attached("name='witness', presence=True")
	s.receive(x)
	s.receive(x)
	p := s.attached("name='0'")
	p.do(fmt.Sprintf(`
		rooms = [room] + [service.connect(name=str(i)) for i in range(1, %d)]
		shared = []
		notify = client._notify
		def watched(notification):
		    shared.append(len(notification.handles))
		    notify(notification)
		client._notify = watched`, seats))
	for i := range seats {
		if e := s.receive(x); e.Kind != api.KindJoined || e.From != fmt.Sprint(i) {
			t.Fatalf("received %+v", e)
		}
	}
	for _, text := range []string{"", "all of you"} {
		s.send(x, []byte(text), seats+1)
		got := valueOf[[]string](p, "[r.receive(60).payload.decode() for r in rooms]")
		if len(got) != seats || slices.ContainsFunc(got, func(s string) bool { return s != text }) {
			t.Errorf("received %q", got)
		}
	}
	if got := valueOf[[]int](p, "shared"); !slices.Contains(got, seats) {
		t.Errorf("events came for %v connections, never for %d", got, seats)
	}
	p.do("service.close()")
	for i := range seats {
		if e := s.receive(x); e.Kind != api.KindLeft || e.Reason != api.ReasonClosed {
			t.Errorf("received %+v, %d", e, i)
		}
	}
	witness.do("events = iter(lambda: room.receive(60), None)")
	witness.do("left = next(e for e in events if e.kind == crier.Kind.LEFT)")
	if n := valueOf[int](witness, "len(left.departures)"); n != seats {
		t.Errorf("%d left together", n)
	}
}
