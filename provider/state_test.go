package provider

import (
	"slices"
	"testing"
	"testing/synctest"

	"crier.local/api/wire"
)

func TestState(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, p *Provider, s *echo) {
		s.window = 1000
		want := func(when string, state State) {
			t.Helper()
			if got := p.State(); got != state {
				t.Errorf("%s: %+v, want %+v", when, got, state)
			}
		}
		want("at first", State{})
		peer := greetRaw(t, p, 1)
		session := peer.open(echoSelector)
		want("attached", State{Processes: 1})
		handle := peer.ask(wire.ClientEntry{Kind: wire.Invoke, Session: session, Method: methodMakeNow}).Handle
		peer.expect(wire.Notification)
		synctest.Wait() // until the writer has accounted for it
		want("with a resource", State{Processes: 1, Resources: 1})
		r := slices.Collect(p.Resources())[0]
		large := &Notification{Body: make([]byte, 1000)} // overdraws the window
		for range 2 {
			if err := r.Notify(large); err != nil {
				t.Fatal(err)
			}
		}
		peer.expect(wire.Notification)
		synctest.Wait()
		want("when one waits", State{Processes: 1, Resources: 1, QueuedBytes: large.charge()})
		peer.ask(wire.ClientEntry{Kind: wire.CloseResource, Session: session, Handle: handle})
		want("closed", State{Processes: 1})
	})
}
