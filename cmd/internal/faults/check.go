package faults

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"
)

// Check ends the stage and returns what does not hold that always must: of each
// invariant that is violated, an error that begins with its number.
//
// Everybody who still lives must be reading; who still talks is halted. Check waits until ctx ends, at the
// most.
func (s *Stage) Check(ctx context.Context) error {
	var found []error
	found = append(found, within(ctx, s.checkSeats))
	found = append(found, within(ctx, s.hush))
	found = append(found, within(ctx, s.settle))
	found = append(found, within(ctx, s.listen))
	for _, v := range s.History.Check(true) {
		found = append(found, fmt.Errorf("%s: room %s: %s", v.Invariant, v.Room, v.Text))
	}
	found = append(found, within(ctx, s.dismiss))
	found = append(found, within(ctx, s.checkFloor))
	found = append(found, s.checkUninvolved()...)
	found = append(found, s.checkMemory())
	found = append(found, within(ctx, s.checkEnd))
	return errors.Join(found...)
}

// checkTime bounds each part of a check, so that one that waits in vain leaves time
// for the others.
const checkTime = time.Minute

func within(ctx context.Context, check func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	return check(ctx)
}

// checkSeats checks that the provider has a connection for each that lives (I1).
func (s *Stage) checkSeats(ctx context.Context) error {
	err := s.until(ctx, "connections", func(now State) error {
		if want := s.living(); now.Connections != want {
			return fmt.Errorf("I1: the provider holds %d connections, %d live", now.Connections, want)
		}
		return nil
	})
	return err
}

// living counts the connections that are open.
func (s *Stage) living() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.seats)
	for _, held := range s.held {
		n += held
	}
	return n
}

// hush halts all talk, and waits until it has ended.
func (s *Stage) hush(ctx context.Context) error {
	s.mu.Lock()
	talk := maps.Clone(s.talk)
	s.mu.Unlock()
	for label, a := range talk {
		if err := a.Tell("halt %s", label); err != nil {
			return err
		}
	}
	return s.none(ctx, "go on talking", s.talking)
}

// talking returns the connections that say something.
func (s *Stage) talking() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.talk))
}

// listen waits until everybody has heard what there is to be heard.
func (s *Stage) listen(ctx context.Context) error {
	return s.none(ctx, "have not heard all that others have", s.History.Awaiting)
}

// none waits until there are none of some.
func (s *Stage) none(ctx context.Context, what string, some func() []string) error {
	return poll(ctx, func() error {
		if list := some(); len(list) > 0 {
			return fmt.Errorf("%d %s: %.5v", len(list), what, list)
		}
		return nil
	})
}

// settle sends a last message into each room that is watched, and waits until
// everybody in it has come so far.
func (s *Stage) settle(ctx context.Context) error {
	s.mu.Lock()
	var rooms []string
	for room := range s.rooms {
		rooms = append(rooms, room)
	}
	s.mu.Unlock()
	for _, room := range rooms {
		if err := s.settleRoom(ctx, room); err != nil {
			return fmt.Errorf("a last message in room %s: %w", room, err)
		}
	}
	return nil
}

func (s *Stage) settleRoom(ctx context.Context, room string) error {
	label := s.prompter.Label("mark-" + room)
	last, err := s.prompter.Ask(ctx, func(r Record) bool {
		return r.Conn == label && (r.At == AtOK || r.At == AtFailed || r.At == AtUnknown)
	}, "mark %s", label)
	switch {
	case err != nil:
		return err
	case last.At != AtOK:
		return fmt.Errorf("it is %s: %s", last.At, last.Error)
	}
	return poll(ctx, func() error {
		if behind := s.History.Behind(room, last.Epoch, last.Seq); len(behind) > 0 {
			return fmt.Errorf("%d have not heard it: %.5v", len(behind), behind)
		}
		return nil
	})
}

// dismiss has all actors close everything and end.
func (s *Stage) dismiss(ctx context.Context) error {
	s.mu.Lock()
	actors := append([]*Actress(nil), s.actors...)
	s.mu.Unlock()
	for _, a := range actors {
		if a.Process != nil && !a.Over() {
			a.Quit()
		}
	}
	var failed []error
	for _, a := range actors {
		if a.Process != nil {
			failed = append(failed, a.Leave(ctx))
		}
	}
	return errors.Join(failed...)
}

// checkFloor checks that the provider has nothing left of all who were there (I1,
// I4).
func (s *Stage) checkFloor(ctx context.Context) error {
	err := s.until(ctx, "the floor", func(now State) error {
		if err := empty(now); err != nil {
			return fmt.Errorf("I1: %w", err)
		}
		if now.Goroutines > s.base.Goroutines || now.Descriptors > s.base.Descriptors {
			return fmt.Errorf("I4: %d goroutines and %d descriptors, at first %d and %d",
				now.Goroutines, now.Descriptors, s.base.Goroutines, s.base.Descriptors)
		}
		return nil
	})
	return err
}

// checkUninvolved returns what happened to those who were not involved (I5).
func (s *Stage) checkUninvolved() []error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.troubles
}

// checkMemory checks that the provider kept its bound (I6).
func (s *Stage) checkMemory() error {
	if high := s.HighRSS(); s.setup.Memory > 0 && high > s.setup.Memory {
		return fmt.Errorf("I6: the provider had %d MB in use, its bound is %d MB", high>>20, s.setup.Memory>>20)
	}
	return nil
}

// checkEnd ends the provider, which must leave nothing behind.
func (s *Stage) checkEnd(ctx context.Context) error {
	if err := s.TermProvider(ctx); err != nil {
		return err
	}
	if s.address.Network != "unix" {
		return nil
	}
	if _, err := os.Lstat(s.address.Address); !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("the socket is left: %v", err)
	}
	return nil
}

// poll tries so until it returns nil, or ctx ends; then the error is so's.
func poll(ctx context.Context, so func() error) error {
	for {
		err := so()
		if err == nil {
			return nil
		}
		select {
		case <-pause():
		case <-ctx.Done():
			return err
		}
	}
}
