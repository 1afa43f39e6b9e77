package provider_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"crier.local/api"
	"crier.local/api/wire"
)

// million is how many guesses there are; a tenth with -short or the race detector.
func million() int {
	if testing.Short() || raceFactor > 1 {
		return 100_000
	}
	return 1_000_000
}

// seat is a connection to a room that is made by hand.
type rawSeat struct {
	*rawStream
	session api.SessionID
	handle  api.Handle
}

// sit attaches, opens a session and connects to a room.
func (s *siege) sit(o api.Connect) rawSeat {
	s.t.Helper()
	r := s.attach()
	r.greet()
	opened := r.ask(wire.ClientEntry{Kind: wire.Open, Call: 1, Selector: api.NotificationSelector})
	reply := r.ask(wire.ClientEntry{Kind: wire.Invoke, Call: 2, Session: opened.Session, Method: api.MethodConnect, Args: wire.EncodeConnect(o)})
	if err := reply.Failure.Err(); err != nil {
		s.t.Fatal(err)
	}
	return rawSeat{r, opened.Session, reply.Handle}
}

// invoke is a call on the seat's own handle.
func (r rawSeat) invoke(call uint32, m api.Method, args []byte) wire.ClientEntry {
	return wire.ClientEntry{Kind: wire.Invoke, Call: call, Session: r.session, Handle: r.handle, Method: m, Args: args}
}

// checkWell fails the test unless a seat is as it was: it knows its members, and
// hears what the other one says.
func checkWell(t *testing.T, hears, says rawSeat, call uint32) {
	t.Helper()
	text := fmt.Sprintf("well %d", call)
	reply := says.ask(says.invoke(call, api.MethodSend, []byte(text)))
	receipt, err := wire.DecodeReceipt(reply.Body)
	if reply.Failure.Err() != nil || err != nil || receipt.Receivers != 1 {
		t.Fatalf("the victim's send: %v, %v, %+v", reply.Failure.Err(), err, receipt)
	}
	hears.find("the message", func(e *wire.ProviderEntry) bool {
		var event wire.Event
		return e.Kind == wire.Notification && wire.DecodeEvent(e.Body, &event) == nil && string(event.Payload) == text
	})
}

// guesses yields handles that are not own: all that are near those that there
// are, and any.
func guesses(own api.Handle, near []api.Handle) func() api.Handle {
	source, n := rand.New(rand.NewPCG(3, 3)), 0
	return func() (h api.Handle) {
		for h = own; h == own || h == 0; n++ {
			h = api.Handle(source.Uint32()) & api.MaxHandle
			if n%2 == 0 {
				offset := api.Handle(n/2/len(near)) % 10_000
				h = (near[n/2%len(near)] + offset - 5000) & api.MaxHandle
			}
		}
		return h
	}
}

// TestHostileHandles guesses the handles of others, and knows them.
func TestHostileHandles(t *testing.T) {
	besieged(t, func(t *testing.T, s *siege) {
		hears, says := s.sit(api.Connect{Room: "vault"}), s.sit(api.Connect{Room: "vault", SendOnly: true})
		thief := s.sit(api.Connect{Room: "den"})
		live := []api.Handle{hears.handle, says.handle, s.chat.hear.Handle(), s.chat.say.Handle()}
		t.Run("invoke", func(t *testing.T) {
			guess := guesses(thief.handle, live)
			answers, took := thief.shower(t, million(), func(call uint32) wire.ClientEntry {
				return wire.ClientEntry{Kind: wire.Invoke, Call: call, Session: thief.session, Handle: guess(), Method: api.MethodMembers}
			})
			if want := fmt.Sprint(api.ErrUnknownHandle); len(answers) != 1 || answers[want] != million() {
				t.Errorf("answered with %v, want %q alone", answers, want)
			}
			t.Logf("%d guesses in %s: %v", million(), took.Round(time.Millisecond), answers)
			checkWell(t, hears, says, 101)
		})
		t.Run("close", func(t *testing.T) {
			guess := guesses(thief.handle, live)
			answers, took := thief.shower(t, million(), func(call uint32) wire.ClientEntry {
				return wire.ClientEntry{Kind: wire.CloseResource, Call: call, Session: thief.session, Handle: guess()}
			})
			if answers["none"] != million() {
				t.Errorf("answered with %v, want nothing but done", answers)
			}
			t.Logf("%d guesses in %s", million(), took.Round(time.Millisecond))
			checkWell(t, hears, says, 102)
		})
		t.Run("credit and flush", func(t *testing.T) {
			guess := guesses(thief.handle, live)
			kinds := []wire.ClientKind{wire.GrantCredit, wire.Flush}
			answers, took := thief.shower(t, million(), func(call uint32) wire.ClientEntry {
				if call%1000 == 0 {
					return wire.ClientEntry{Kind: wire.Ping, Call: call}
				}
				return wire.ClientEntry{Kind: kinds[call%2], Handle: guess(), Bytes: math.MaxUint32}
			})
			if answers["none"] != million()/1000 || len(answers) != 1 {
				t.Errorf("answered with %v, want the pings alone", answers)
			}
			t.Logf("%d guesses in %s", million(), took.Round(time.Millisecond))
			checkWell(t, hears, says, 103)
		})
		t.Run("post", func(t *testing.T) {
			guess := guesses(thief.handle, live)
			answers, took := thief.shower(t, million(), func(uint32) wire.ClientEntry {
				return wire.ClientEntry{Kind: wire.Invoke, Session: thief.session, Handle: guess(), Method: api.MethodSend, Args: []byte("boo")}
			})
			if want := fmt.Sprint(api.ErrUnknownHandle); answers[want] != million() || len(answers) != 1 {
				t.Errorf("answered with %v, want %q alone", answers, want)
			}
			t.Logf("%d guesses in %s", million(), took.Round(time.Millisecond))
			checkWell(t, hears, says, 104)
		})
		t.Run("stolen", func(t *testing.T) { checkStolen(t, thief, hears, says) })
		s.end("four million guesses")
	})
}

// shower sends n entries in batches and counts the answers by their error; every
// entry but those without a call number, unless they are posts, has one. It reads
// meanwhile.
func (r rawSeat) shower(t *testing.T, n int, entry func(call uint32) wire.ClientEntry) (answers map[string]int, took time.Duration) {
	t.Helper()
	const perBatch, last = 1000, math.MaxUint32
	answers, over := map[string]int{}, make(chan error, 1)
	begin, ahead := time.Now(), make(chan struct{}, 20)
	go func() {
		for {
			entries, err := r.read()
			if err != nil {
				over <- err
				return
			}
			for _, e := range entries {
				switch {
				case e.Kind == wire.Reply && e.Call == last:
					over <- nil
					return
				case e.Kind == wire.Farewell:
					over <- fmt.Errorf("farewell: %w", e.Failure.Err())
					return
				case e.Kind == wire.Reply && e.Call > last/2:
					<-ahead
				case e.Kind == wire.Reply, e.Kind == wire.Posted:
					answers[say(e.Failure)]++
				default:
					answers[fmt.Sprintf("entry of kind %d", e.Kind)]++
				}
			}
		}
	}()
	var batch []byte
	for call := range uint32(n) {
		e := entry(call)
		batch = wire.AppendClient(batch, &e)
		if call%perBatch == perBatch-1 {
			select { // answers have to be read
			case ahead <- struct{}{}:
			case err := <-over:
				t.Fatalf("the provider ends it after %d entries: %v", call, err)
			case <-time.After(endurance):
				t.Fatalf("no answers after %d entries", call)
			}
			ping := wire.ClientEntry{Kind: wire.Ping, Call: last/2 + 1 + call}
			batch = wire.AppendClient(batch, &ping)
			if err := r.send(batch); err != nil {
				t.Fatal(err)
			}
			batch = batch[:0]
		}
	}
	r.write(wire.ClientEntry{Kind: wire.Ping, Call: last})
	select {
	case err := <-over:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(2 * endurance):
		t.Fatal("answers are missing")
	}
	return answers, time.Since(begin)
}

func say(f api.Failure) string {
	if err := f.Err(); err != nil {
		return err.Error()
	}
	return "none"
}

// checkStolen uses session ids and handles of another process, which the thief
// knows.
func checkStolen(t *testing.T, thief, hears, says rawSeat) {
	const nobody = 123_456_789
	call := uint32(1000)
	ask := func(e wire.ClientEntry) string {
		call++
		e.Call = call
		return say(thief.ask(e).Failure)
	}
	for _, victim := range []rawSeat{hears, says} {
		for _, m := range []api.Method{api.MethodSend, api.MethodMembers, api.MethodRename, api.MethodCloseWith} {
			own := ask(wire.ClientEntry{Kind: wire.Invoke, Session: thief.session, Handle: victim.handle, Method: m})
			none := ask(wire.ClientEntry{Kind: wire.Invoke, Session: thief.session, Handle: nobody, Method: m})
			if own != none || own != api.ErrUnknownHandle.Error() {
				t.Errorf("a handle of another gives %q, one of nobody %q", own, none)
			}
		}
		stolen := ask(wire.ClientEntry{Kind: wire.Invoke, Session: victim.session, Handle: victim.handle, Method: api.MethodMembers})
		if want := fmt.Sprintf("session %d: %v", victim.session, api.ErrClosed); stolen != want {
			t.Errorf("a session of another gives %q, want %q", stolen, want)
		}
		for _, e := range []wire.ClientEntry{
			{Kind: wire.CloseResource, Session: victim.session, Handle: victim.handle},
			{Kind: wire.CloseResource, Session: thief.session, Handle: victim.handle},
			{Kind: wire.CloseSession, Session: victim.session},
		} {
			if got := ask(e); got != "none" {
				t.Errorf("kind %d on what another has: %s", e.Kind, got)
			}
		}
	}
	checkWell(t, hears, says, 105)
}

// TestHostileCredit gives more credit than was used, on a handle of its own.
func TestHostileCredit(t *testing.T) {
	besieged(t, func(t *testing.T, s *siege) {
		seat := s.sit(api.Connect{Room: "den"})
		seat.write(wire.ClientEntry{Kind: wire.GrantCredit, Handle: seat.handle, Bytes: math.MaxUint32})
		last := seat.farewell()
		if last.Failure.Err() == nil {
			t.Error("no words at the end")
		}
		s.end("farewell %v", last.Failure.Err())
	})
}

// TestHostileCancel cancels the calls of another process, by their numbers.
func TestHostileCancel(t *testing.T) {
	besieged(t, func(t *testing.T, s *siege) {
		slow := s.sit(api.Connect{Room: "vault", Window: 1})
		says := s.sit(api.Connect{Room: "vault", SendOnly: true})
		thief := s.attach()
		thief.greet()
		const size, room, calls = 100 << 10, 38, 8 // the slow one has a queue for some of the calls
		for n := range uint32(room) {
			says.ask(says.invoke(10+n, api.MethodSend, make([]byte, size)))
		}
		for n := range uint32(calls) {
			says.write(says.invoke(100+n, api.MethodSend, make([]byte, size)))
		}
		for n := range uint32(1000) {
			thief.write(wire.ClientEntry{Kind: wire.Cancel, Call: n})
		}
		thief.ask(wire.ClientEntry{Kind: wire.Ping, Call: 1})
		slow.conn.Close() // and all are admitted
		for n := 0; n < calls; {
			entries, err := says.read()
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				if e.Kind != wire.Reply {
					continue
				}
				if n++; e.Failure.Err() != nil {
					t.Errorf("call %d: %v", e.Call, e.Failure.Err())
				}
			}
		}
		s.end("1,000 calls canceled, none of them was another's")
	})
}
