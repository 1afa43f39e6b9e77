package notification_test

import (
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"syscall"
	"time"

	"crier.local/api"
	"crier.local/client/notification"
	"crier.local/provider"
	service "crier.local/provider/notification"
)

// parts are the roles that the test binary can play.
func parts() map[string]func(*stage) error {
	return map[string]func(*stage) error{
		"provider":  playProvider,
		"chatter":   playChatter,
		"crowd":     playCrowd,
		"listener":  playListener,
		"publisher": playPublisher,
		"audience":  playAudience,
		"asker":     playAsker,
		"answerer":  playAnswerer,
	}
}

// playProvider is a provider: STALL. It closes on SIGTERM, or when the test has
// closed the pipe. "wait" is answered with the resources there are when no
// session is open any more.
func playProvider(s *stage) error {
	stall, err := time.ParseDuration(s.arg(0))
	if err != nil {
		return err
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	p, err := newProvider(s.address, provider.Options{}, service.Options{Stall: stall})
	if err != nil {
		return err
	}
	s.say("ready")
	for {
		select {
		case <-signals:
			return p.Close()
		case _, ok := <-s.commands:
			if !ok {
				return p.Close()
			}
			if err := p.Wait(s.ctx); err != nil {
				return err
			}
			s.say("resources %d", len(slices.Collect(p.Resources())))
		}
	}
}

// playChatter is a member that sends one message after the other, "NAME NUMBER",
// until it is killed: ROOM NAME. It says "here" when the first is admitted.
func playChatter(s *stage) error {
	room, name := s.arg(0), s.arg(1)
	c, x, err := s.connect(api.Connect{Room: room, Name: name})
	if err != nil {
		return err
	}
	defer c.Close()
	go func() {
		for range x.Events(s.ctx) {
		}
	}()
	for n := 0; s.ctx.Err() == nil; n++ {
		if _, err := x.Send(s.ctx, fmt.Appendf(nil, "%s %d", name, n)); err != nil && s.ctx.Err() == nil {
			return err
		}
		if n == 0 {
			s.say("here")
		}
	}
	return nil
}

// playCrowd is a process that holds many connections: ROOM COUNT.
func playCrowd(s *stage) error {
	count, err := strconv.Atoi(s.arg(1))
	if err != nil {
		return err
	}
	c, err := s.dial()
	if err != nil {
		return err
	}
	defer c.Close()
	for i := range count {
		if _, err := c.Connect(s.ctx, api.Connect{Room: s.arg(0), Name: fmt.Sprintf("c%d", i)}); err != nil {
			return err
		}
	}
	s.say("here")
	<-s.ctx.Done()
	return nil
}

// playListener is a member that reads: ROOM NAME. When its connection ends it
// says how many messages there were, and why it ended.
func playListener(s *stage) error {
	c, x, err := s.connect(api.Connect{Room: s.arg(0), Name: s.arg(1)})
	if err != nil {
		return err
	}
	defer c.Close()
	s.say("here")
	heard := 0
	for e, err := range x.Events(s.ctx) {
		switch {
		case err != nil && s.ctx.Err() == nil:
			s.say("ended %d %v", heard, err)
		case e.Kind == api.KindMessage:
			heard++
		}
	}
	return nil
}

// connect makes a connection with a client of its own, which the caller closes.
func (s *stage) connect(o api.Connect) (*notification.Client, *notification.Connection, error) {
	c, err := s.dial()
	if err != nil {
		return nil, nil, err
	}
	x, err := c.Connect(s.ctx, o)
	if err != nil {
		c.Close()
		return nil, nil, err
	}
	return c, x, nil
}
