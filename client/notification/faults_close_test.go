package notification_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"crier.local/api"
	"crier.local/client/notification"
	"crier.local/provider"
	service "crier.local/provider/notification"
)

func TestCloseTwice(t *testing.T) {
	w := newWorld(t)
	w.serve(provider.Options{}, service.Options{})
	witness := w.connect(api.Connect{Presence: true})
	c := w.dial()
	x := w.connectBy(c, api.Connect{Name: "x"})
	y := w.connectBy(c, api.Connect{Name: "y"})
	for range 2 {
		if err := x.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		if err := y.CloseWith(api.ReasonUnreachable, "no route"); err != nil {
			t.Errorf("close with: %v", err)
		}
	}
	if _, err := x.Send(w.ctx, nil); !errors.Is(err, api.ErrClosed) {
		t.Errorf("send on a closed connection: %v", err)
	}
	if err := x.Post(w.ctx, nil); !errors.Is(err, api.ErrClosed) {
		t.Errorf("post on a closed connection: %v", err)
	}
	for range 2 {
		if _, err := x.Receive(w.ctx); !errors.Is(err, api.ErrClosed) {
			t.Errorf("receive on a closed connection: %v", err)
		}
		if err := c.Close(); err != nil {
			t.Errorf("close client: %v", err)
		}
	}
	if _, err := c.Connect(w.ctx, api.Connect{}); !errors.Is(err, api.ErrClosed) {
		t.Errorf("connect by a closed client: %v", err)
	}
	departures := departures(w.rest(witness))
	if want := map[string][]api.Reason{"x": {api.ReasonClosed}, "y": {api.ReasonUnreachable}}; !equalDepartures(departures, want) {
		t.Errorf("departures %v, want %v", departures, want)
	}
}

// departures returns, for each who left, the reasons for which.
func departures(events []api.Event) map[string][]api.Reason {
	reasons := map[string][]api.Reason{}
	for _, e := range events {
		if e.Kind == api.KindLeft {
			reasons[e.From] = append(reasons[e.From], e.Reason)
		}
	}
	return reasons
}

func equalDepartures(a, b map[string][]api.Reason) bool {
	if len(a) != len(b) {
		return false
	}
	for name := range a {
		if !slices.Equal(a[name], b[name]) {
			return false
		}
	}
	return true
}

func TestCloseRightAfterPostsLosesNothing(t *testing.T) {
	const messages, rounds = 200, 20
	w := newWorld(t)
	w.serve(provider.Options{}, service.Options{})
	receiver := w.connect(api.Connect{Presence: true})
	for round := range rounds {
		c := w.dial()
		x := w.connectBy(c, api.Connect{Name: "x"})
		for i := range messages {
			if err := x.Post(w.ctx, fmt.Appendf(nil, "%d", i)); err != nil {
				t.Fatal(err)
			}
		}
		var err error
		if round%2 == 0 {
			err = x.Close()
		} else {
			err = c.Close()
		}
		if err != nil {
			t.Errorf("close: %v", err)
		}
		heard := 0
		for _, e := range w.until(receiver, func(e api.Event) bool { return e.Kind == api.KindLeft }) {
			switch {
			case e.Kind == api.KindMessage && string(e.Payload) == fmt.Sprint(heard):
				heard++
			case e.Kind == api.KindMessage:
				t.Fatalf("message %s, want %d", e.Payload, heard)
			case e.Kind == api.KindLeft && e.Reason != api.ReasonClosed:
				t.Errorf("left because it %v", e.Reason)
			}
		}
		if heard != messages {
			t.Errorf("%d messages, want %d", heard, messages)
		}
	}
}

// TestCloseRaces closes connections and clients while they send and receive, and
// while other members are killed.
func TestCloseRaces(t *testing.T) {
	const room, victims, clients, racers, rounds = "race", 4, 8, 64, 4
	w := newWorld(t)
	w.serve(provider.Options{}, service.Options{})
	witness := w.connect(api.Connect{Room: room, Presence: true})
	var doomed []*child
	for i := range victims {
		doomed = append(doomed, w.start("chatter", room, fmt.Sprintf("victim %d", i)))
	}

	// The witness reads all the time, to keep nobody waiting.
	heard := make(chan []api.Event, 1)
	go func() {
		var presence []api.Event
		for e, err := range witness.Events(w.ctx) {
			if err != nil || (e.Kind == api.KindMessage && len(e.Payload) == 0) {
				heard <- presence
				return
			}
			presence = append(presence, e)
		}
	}()
	for _, c := range doomed {
		c.expect("here")
	}

	var race sync.WaitGroup
	for i := range clients {
		c := w.dial()
		var users sync.WaitGroup
		for j := range racers / clients {
			users.Go(func() {
				for k := range rounds {
					raceOnce(w, c, api.Connect{Room: room, Name: fmt.Sprintf("racer %d-%d-%d", i, j, k)})
				}
			})
		}
		race.Go(func() {
			users.Wait()
			closeByMany(t, c.Close)
		})
	}
	race.Go(func() {
		for _, c := range doomed {
			c.kill()
		}
	})
	race.Wait()
	w.poll(func() bool { // until the killed are gone
		members, err := witness.Members(w.ctx)
		return err != nil || len(members) == 1
	})
	w.send(w.connect(api.Connect{Room: room, SendOnly: true}), "")
	checkVisits(t, <-heard, racers*rounds+victims)
}

// raceOnce connects, and closes the connection from two goroutines while it
// sends and receives on others.
func raceOnce(w *world, c *notification.Client, o api.Connect) {
	const most = 50
	x, err := c.Connect(w.ctx, o)
	if err != nil {
		w.t.Errorf("connect: %v", err)
		return
	}
	var race sync.WaitGroup
	sent := make(chan struct{})
	race.Go(func() {
		for _, err := range x.Events(w.ctx) {
			checkRaceError(w.t, "receive", err)
		}
	})
	race.Go(func() {
		for i := range most {
			_, err := x.Send(w.ctx, []byte("sent"))
			checkRaceError(w.t, "send", err)
			if i == 0 {
				close(sent)
			}
		}
	})
	race.Go(func() {
		for range most {
			checkRaceError(w.t, "post", x.Post(w.ctx, []byte("posted")))
		}
	})
	race.Go(func() {
		_, err := c.Who(w.ctx, o.Room)
		checkRaceError(w.t, "who", err)
	})
	<-sent
	closeByMany(w.t, x.Close)
	race.Wait()
}

// closeByMany closes the same thing several times at once.
func closeByMany(t testing.TB, close func() error) {
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			checkRaceError(t, "close", close())
		})
	}
	all.Wait()
}

// checkRaceError knows what a call may come to whose connection is being closed.
func checkRaceError(t testing.TB, what string, err error) {
	if err != nil && !errors.Is(err, api.ErrClosed) && !errors.Is(err, context.Canceled) {
		t.Errorf("%s: %v", what, err)
	}
}

// checkVisits checks that everybody came once, left once, and did not speak
// after that.
func checkVisits(t *testing.T, events []api.Event, visits int) {
	t.Helper()
	const came, went = 1, 2
	state := map[string]int{}
	for _, e := range events {
		want := came
		if e.Kind == api.KindJoined {
			want = 0
		}
		if e.Kind == api.KindMembers || e.Kind == api.KindGap {
			continue
		}
		if state[e.From] != want {
			t.Fatalf("%v of %q in state %d", e.Kind, e.From, state[e.From])
		}
		switch e.Kind {
		case api.KindJoined:
			state[e.From] = came
		case api.KindLeft:
			state[e.From] = went
		}
	}
	for name, s := range state {
		if s != went {
			t.Errorf("%q has not left", name)
		}
	}
	if len(state) != visits {
		t.Errorf("%d visits, want %d", len(state), visits)
	}
}
