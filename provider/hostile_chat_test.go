package provider_test

import (
	"context"
	"strconv"
	"time"

	"crier.local/api"
	clientside "crier.local/client/notification"
)

// chat is two clients that talk all along.
type chat struct {
	s         *siege
	clients   []*clientside.Client
	hear, say *clientside.Connection
	stop      chan struct{}
	said      chan int
	heard     chan int
	worst     time.Duration // read when both are over
}

func startChat(s *siege) *chat {
	s.t.Helper()
	c := &chat{s: s, stop: make(chan struct{}), said: make(chan int, 1), heard: make(chan int, 1)}
	c.hear = c.connect(api.Connect{Name: "listener", Presence: true})
	c.say = c.connect(api.Connect{Name: "speaker"})
	go c.speak()
	go c.listen()
	return c
}

func (c *chat) connect(o api.Connect) *clientside.Connection {
	c.s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), endurance)
	defer cancel()
	all, err := clientside.Dial(ctx, c.s.options)
	if err != nil {
		c.s.t.Fatal(err)
	}
	c.s.t.Cleanup(func() { all.Close() })
	c.clients = append(c.clients, all)
	connection, err := all.Connect(ctx, o)
	if err != nil {
		c.s.t.Fatal(err)
	}
	return connection
}

// speak sends a number every two milliseconds.
func (c *chat) speak() {
	n := 0
	defer func() { c.said <- n }()
	for tick := time.NewTicker(2 * time.Millisecond); ; n++ {
		select {
		case <-tick.C:
		case <-c.stop:
			return
		}
		begin := time.Now()
		ctx, cancel := context.WithTimeout(context.Background(), endurance)
		_, err := c.say.Send(ctx, []byte(strconv.Itoa(n)))
		cancel()
		if err != nil {
			c.s.t.Errorf("the speaker noticed: %v", err)
			return
		}
		c.worst = max(c.worst, time.Since(begin))
	}
}

// listen hears the numbers until the speaker leaves.
func (c *chat) listen() {
	n := 0
	defer func() { c.heard <- n }()
	for event, err := range c.hear.Events(context.Background()) {
		switch {
		case err != nil:
			c.s.t.Errorf("the listener noticed: %v", err)
			return
		case event.Kind == api.KindMessage && event.From == "speaker" && string(event.Payload) == strconv.Itoa(n):
			n++
		case event.Kind == api.KindLeft && event.From == "speaker":
			return
		case event.Kind == api.KindMessage && event.From == "speaker", event.Kind == api.KindGap,
			event.Kind == api.KindReconnected, event.Kind == api.KindRestarted:
			c.s.t.Errorf("the listener noticed: %+v instead of message %d", event, n)
			return
		}
	}
}

// end ends the chat, and returns how many messages there were and what the
// slowest receipt took.
func (c *chat) end() (messages int, worst time.Duration) {
	c.s.t.Helper()
	close(c.stop)
	said := <-c.said
	if err := c.say.Close(); err != nil {
		c.s.t.Errorf("the speaker noticed: %v", err)
	}
	select {
	case heard := <-c.heard:
		if heard != said {
			c.s.t.Errorf("%d messages were heard of %d", heard, said)
		}
	case <-time.After(endurance):
		c.s.t.Error("the listener does not hear the speaker leave")
	}
	for _, all := range c.clients {
		all.Close()
	}
	return said, c.worst
}
