package notification

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"crier.local/api"
	"crier.local/api/wire"
)

// say describes events in short: message bodies, and who came, left or changed.
func say(events []wire.Event) string {
	var words []string
	for _, e := range events {
		words = append(words, sayOne(e))
	}
	return strings.Join(words, " ")
}

func sayOne(e wire.Event) string {
	switch e.Kind {
	case api.KindMessage:
		return e.From + ":" + string(e.Payload)
	case api.KindJoined:
		return "+" + e.From
	case api.KindLeft:
		names := e.From
		for i, d := range e.Departures {
			if i > 0 {
				names += ","
			}
			names += d.Name
		}
		return fmt.Sprintf("-%s(%v)", names, e.Reason)
	case api.KindRenamed:
		return e.From + ">" + e.To
	case api.KindGap:
		return fmt.Sprintf("gap(%d-%d,%d)", e.First, e.Last, e.Count)
	case api.KindMembers:
		var names []string
		for _, m := range e.Members {
			names = append(names, m.Name)
		}
		return "[" + strings.Join(names, ",") + "]"
	default:
		return e.Kind.String()
	}
}

func expectEvents(t failer, s *seat, want string) {
	t.Helper()
	if got := say(s.events()); got != want {
		t.Errorf("%s hears %q, want %q", s.connected.Name, got, want)
	}
}

func expectError(t failer, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("error %v, want %v", err, want)
	}
}

func TestSendReachesTheOthers(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, h *house) {
		p, q := h.attach(t), h.attach(t)
		alice, bob := p.connect(api.Connect{Room: "r", Name: "alice"}), q.connect(api.Connect{Room: "r", Name: "bob"})
		quiet := q.connect(api.Connect{Room: "r"})
		receipt, err := alice.send("hi")
		if err != nil || receipt.Receivers != 2 || receipt.Seq <= bob.connected.Seq {
			t.Errorf("receipt %+v, %v", receipt, err)
		}
		expectEvents(t, alice, "")
		expectEvents(t, quiet, "alice:hi")
		e := bob.events()[0]
		if e.Seq != receipt.Seq || e.From != "alice" || e.UID != uint32(os.Getuid()) || string(e.Payload) != "hi" || e.To != "" || !e.Time.Equal(time.Now()) {
			t.Errorf("event %+v", e)
		}
		if receipt, err := alice.send(""); err != nil || receipt.Receivers != 2 {
			t.Errorf("an empty message: %+v, %v", receipt, err)
		}
		expectEvents(t, bob, "alice:")
		quiet.send("who am I")
		expectEvents(t, bob, quiet.connected.Name+":who am I")
		if want := fmt.Sprintf("client-%d-%d", quiet.session, quiet.handle); quiet.connected.Name != want {
			t.Errorf("the unnamed one is %q, want %q", quiet.connected.Name, want)
		}
	})
}

func TestSendToNobodyIsNoError(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, h *house) {
		a := h.attach(t).connect(api.Connect{})
		if a.connected.Room != api.DefaultRoom {
			t.Errorf("in room %q", a.connected.Room)
		}
		first, err := a.send("x")
		second, err2 := a.send("y")
		if err != nil || err2 != nil || first.Receivers != 0 || second.Seq != first.Seq+1 {
			t.Errorf("receipts %+v %+v, %v %v", first, second, err, err2)
		}
	})
}

func TestRoomsAreSeparate(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, h *house) {
		p := h.attach(t)
		session := p.open(1)
		a, b := p.connectIn(session, api.Connect{Room: "r", Name: "a"}), p.connectIn(session, api.Connect{Room: "R", Name: "a"})
		a.send("x")
		expectEvents(t, b, "")
	})
}

func TestRoomComesBackAboveItsNumbers(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, h *house) {
		p := h.attach(t)
		a := p.connect(api.Connect{Room: "r"})
		var last api.Receipt
		for range 5 {
			last, _ = a.send("x")
		}
		a.close()
		if n := len(h.service.all()); n != 0 {
			t.Errorf("%d rooms without anybody in them", n)
		}
		for _, room := range []string{"r", "other"} {
			if b := p.connect(api.Connect{Room: room}); b.connected.Seq < last.Seq {
				t.Errorf("room %s begins at %d, below %d", room, b.connected.Seq, last.Seq)
			}
		}
	})
}

// Whoever comes while a room ends comes into a new one.
func TestRoomEndsWhileOthersCome(t *testing.T) {
	s := New(Options{})
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 5000 {
				r := s.enter("r")
				if r.over {
					t.Error("in a room that is over")
				}
				r.unlock() // it is empty, and ends
			}
		})
	}
	group.Wait()
	if n := len(s.rooms); n != 0 {
		t.Errorf("%d rooms", n)
	}
}

func TestEcho(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, h *house) {
		p := h.attach(t)
		a, b := p.connect(api.Connect{Name: "a", Echo: true}), p.connect(api.Connect{Name: "b"})
		if receipt, _ := a.send("x"); receipt.Receivers != 2 {
			t.Errorf("receipt %+v", receipt)
		}
		expectEvents(t, a, "a:x")
		expectEvents(t, b, "a:x")
	})
}

func TestEchoIsNotWaitedFor(t *testing.T) {
	bubble(t, Options{Queue: 4000, Reserve: 1}, func(t *testing.T, h *house) {
		a := h.attach(t).connect(api.Connect{Name: "a", Echo: true, Window: 1})
		var err error
		for n := 0; err == nil; n++ {
			if _, err = a.send(string(make([]byte, 1000))); n > 10 {
				t.Fatal("nothing fills up")
			}
		}
		expectError(t, err, api.ErrFull)
		a.takeAll()
		if _, err := a.send("again"); err != nil {
			t.Error(err)
		}
	})
}

func TestSendOnly(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, h *house) {
		p := h.attach(t)
		watcher := p.connect(api.Connect{Name: "w", Presence: true})
		publisher := p.connect(api.Connect{Name: "pub", SendOnly: true, Presence: true, Echo: true})
		if publisher.handle.Notifiable() {
			t.Error("its handle is notifiable")
		}
		if receipt, err := publisher.send("x"); err != nil || receipt.Receivers != 1 {
			t.Errorf("receipt %+v, %v", receipt, err)
		}
		if _, err := p.tryConnect(watcher.session, api.Connect{Name: "PUB"}); !errors.Is(err, api.ErrNameTaken) {
			t.Errorf("its name: %v", err)
		}
		if receipt, err := watcher.sendTo("pub", "x"); err != nil || receipt.Receivers != 0 {
			t.Errorf("sent to it: %+v, %v", receipt, err)
		}
		publisher.invoke(api.MethodRename, wire.EncodeRename("press"))
		publisher.close()
		expectEvents(t, watcher, "[w] pub:x")
	})
}

func TestSendToOne(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, h *house) {
		p := h.attach(t)
		a, b, c := p.connect(api.Connect{Name: "a"}), p.connect(api.Connect{Name: "Bob"}), p.connect(api.Connect{})
		receipt, err := a.sendTo("bOB", "x")
		if err != nil || receipt.Receivers != 1 {
			t.Errorf("receipt %+v, %v", receipt, err)
		}
		if got := b.events(); say(got) != "a:x" || got[0].To != "Bob" || got[0].Seq != receipt.Seq {
			t.Errorf("Bob hears %+v", got)
		}
		if receipt, err := b.sendTo(c.connected.Name, "y"); err != nil || receipt.Receivers != 1 {
			t.Errorf("to the unnamed one: %+v, %v", receipt, err)
		}
		expectEvents(t, c, "Bob:y")
		if receipt, err := a.sendTo("nobody", "z"); err != nil || receipt.Receivers != 0 {
			t.Errorf("to nobody: %+v, %v", receipt, err)
		}
		if receipt, err := a.sendTo("a", "note"); err != nil || receipt.Receivers != 1 {
			t.Errorf("to oneself: %+v, %v", receipt, err)
		}
		_, err = a.sendTo("", "z")
		expectError(t, err, api.ErrBadName)
		expectEvents(t, a, "a:note")
		expectEvents(t, b, "")
	})
}

func TestTooLargeConcernsOnlyThatSend(t *testing.T) {
	const limit = 1000
	bubble(t, Options{MaxMessage: limit}, func(t *testing.T, h *house) {
		p := h.attach(t)
		a, b := p.connect(api.Connect{Name: "a"}), p.connect(api.Connect{Name: "b"})
		for size, want := range map[int]error{limit - 1: nil, limit: nil, limit + 1: api.ErrTooLarge} {
			payload := strings.Repeat("x", size)
			_, err := a.send(payload)
			_, errTo := a.sendTo("b", payload)
			expectError(t, err, want)
			expectError(t, errTo, want)
		}
		if n := len(b.events()); n != 4 {
			t.Errorf("b heard %d messages, want 4", n)
		}
		a.post(strings.Repeat("x", limit+1))
		a.post("x")
		a.write(wire.ClientEntry{Kind: wire.Flush, Handle: a.handle})
		expectEvents(t, b, "a:x")
		if a.ended != 2 || a.refused != 1 || !errors.Is(a.refusal, api.ErrTooLarge) {
			t.Errorf("%d posts ended, %d refused: %v", a.ended, a.refused, a.refusal)
		}
	})
}

func TestMinorZeroHasOneRoomAndNoNames(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, h *house) {
		p := h.attach(t)
		watcher := p.connect(api.Connect{Name: "w", Presence: true})
		old := p.connectIn(p.open(0), api.Connect{Room: "elsewhere", Name: "old", Presence: true})
		if old.connected.Room != api.DefaultRoom || !strings.HasPrefix(old.connected.Name, api.ReservedPrefix) {
			t.Errorf("connected %+v", old.connected)
		}
		if _, err := old.send("x"); err != nil {
			t.Error(err)
		}
		p.connect(api.Connect{Name: "new"}).send("y")
		expectEvents(t, old, "new:y")
		expectEvents(t, watcher, "[w] "+old.connected.Name+":x +new new:y")
		for m := api.MethodSendTo; m <= api.MethodCloseWith+1; m++ {
			_, err := old.invoke(m, nil)
			expectError(t, err, api.ErrNoMethod)
		}
		_, err := watcher.invoke(api.MethodCloseWith+1, nil)
		expectError(t, err, api.ErrNoMethod)
	})
}

func TestMalformedArgumentsAreTheCallersAlone(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, h *house) {
		p := h.attach(t)
		a := p.connect(api.Connect{Name: "a"})
		malformed := []byte{0xff}
		for _, m := range []api.Method{api.MethodConnect, api.MethodSendTo, api.MethodRename, api.MethodWho, api.MethodCloseWith} {
			if _, err := a.invoke(m, malformed); err == nil {
				t.Errorf("method %d took malformed arguments", m)
			}
		}
		for _, m := range []api.Method{api.MethodSend, api.MethodSendTo, api.MethodRename, api.MethodMembers, api.MethodCloseWith} {
			_, err := p.result(p.call(wire.ClientEntry{Kind: wire.Invoke, Session: a.session, Method: m, Args: wire.EncodeRename("x")}))
			expectError(t, err, api.ErrUnknownHandle)
		}
		_, err := p.tryConnect(a.session, api.Connect{Overflow: 7})
		if e, ok := errors.AsType[*api.CallError](err); !ok {
			t.Errorf("overflow policy 7: %v", e)
		}
	})
}

func TestParkedSendEnds(t *testing.T) {
	o := Options{Queue: 4000, Reserve: 1}
	ends := map[string]struct {
		end  func(s *seat, call uint32)
		want error
	}{
		"by its timeout":                {func(s *seat, _ uint32) { s.house.pass(time.Second) }, context.DeadlineExceeded},
		"when canceled":                 {func(s *seat, call uint32) { s.write(wire.ClientEntry{Kind: wire.Cancel, Call: call}) }, context.Canceled},
		"when its connection is closed": {func(s *seat, _ uint32) { s.close() }, api.ErrClosed},
		"when its session is closed": {func(s *seat, _ uint32) {
			s.call(wire.ClientEntry{Kind: wire.CloseSession, Session: s.session})
		}, api.ErrClosed},
		"when its process dies": {func(s *seat, _ uint32) { s.die() }, nil},
	}
	for name, test := range ends {
		t.Run(name, func(t *testing.T) {
			bubble(t, o, func(t *testing.T, h *house) {
				slow := h.attach(t).connect(api.Connect{Name: "slow", Window: 1})
				a, b := h.attach(t).connect(api.Connect{Name: "a"}), h.attach(t).connect(api.Connect{Name: "b"})
				a.fill(1000)
				slow.events()
				call := b.begin(api.MethodSend, []byte("never"), time.Second)
				later := a.start("later")
				synctest.Wait()
				test.end(b, call)
				synctest.Wait()
				if e, ok := b.replies[call]; test.want != nil && !ok {
					t.Error("not answered")
				} else if want := api.CodeOf(test.want); ok && e.Failure.Code != want {
					t.Errorf("answered %+v, want code %d", e.Failure, want)
				}
				slow.takeAll()
				if _, err := a.result(later); err != nil {
					t.Error(err)
				}
				if heard := say(slow.events()); strings.Contains(heard, "never") || !strings.HasSuffix(heard, "a:later") {
					t.Errorf("slow hears %q", strings.ReplaceAll(heard, "\x00", ""))
				}
			})
		})
	}
}
