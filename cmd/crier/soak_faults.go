package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"crier.local/api"
	"crier.local/cmd/internal/faults"
)

// trial is one fault: what is drawn for it, and what it shows.
type trial struct {
	s      *soak
	number uint64
	chance *rand.Rand

	notice, recover time.Duration // measured; 0 if not
}

// faultKind is something to break, and how often it is.
type faultKind struct {
	name   string
	weight int
	do     func(*trial, context.Context) error
}

func faultKinds() []faultKind {
	return []faultKind{
		{"kill", 4, (*trial).killOne},
		{"kill several", 2, (*trial).killSeveral},
		{"stop", 3, (*trial).stopIdle},
		{"stop in a flood", 2, (*trial).stopFlooded},
		{"provider killed", 3, (*trial).killProvider},
		{"provider terminated", 2, (*trial).termProvider},
		{"provider stopped", 2, (*trial).stopProvider},
		{"provider killed twice", 1, (*trial).killProviderTwice},
		{"provider and others killed", 1, (*trial).killTogether},
		{"provider killed under a stop", 1, (*trial).killUnderStop},
		{"reader asleep", 2, (*trial).sleepReader},
		{"crowd killed", 2, (*trial).killCrowd},
		{"churn", 2, (*trial).churn},
		{"fork and kill", 2, (*trial).forkAndKill},
		{"socket deleted", 2, (*trial).deleteSocket},
	}
}

// faultKinds are those that this soak has.
func (s *soak) faultKinds() []faultKind {
	kinds := faultKinds()
	if s.spare {
		kinds = slices.DeleteFunc(kinds, func(k faultKind) bool { return strings.HasPrefix(k.name, "provider") })
	}
	return kinds
}

// draw chooses the fault with that number: the same with each run of a seed.
func (s *soak) draw(number uint64) (faultKind, *trial) {
	t := &trial{s: s, number: number, chance: rand.New(rand.NewPCG(uint64(s.seed), 1<<63|number))}
	kinds := s.faultKinds()
	total := 0
	for _, k := range kinds {
		total += k.weight
	}
	dice := t.chance.IntN(total)
	for _, k := range kinds {
		if dice -= k.weight; dice < 0 {
			return k, t
		}
	}
	return kinds[0], t
}

// fault carries out a fault, to the end, and returns its name.
func (s *soak) fault(ctx context.Context, number uint64) string {
	kind, t := s.draw(number)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), soakRecover)
	defer cancel()
	err := kind.do(t, ctx)
	if err != nil {
		s.report.violation(s, faults.Violation{Invariant: "recovery", Text: fmt.Sprintf("fault %d, %s: %v", number, kind.name, err)})
	}
	s.report.fault(kind.name, t, err)
	return kind.name
}

// victims draws players that may be harmed, those of the first role that are
// named before all others.
func (t *trial) victims(count int, roles ...role) []*player {
	var able []*player
	for _, p := range t.s.cast.players {
		for _, r := range roles {
			if p.role == r {
				able = append(able, p)
			}
		}
	}
	t.chance.Shuffle(len(able), func(i, j int) { able[i], able[j] = able[j], able[i] })
	return able[:min(count, len(able))]
}

func (t *trial) witness() *player { return t.s.cast.players[0] }

// departures watches a witness for the departures of all named.
func (t *trial) departures(names []string) []*faults.Sighting {
	var list []*faults.Sighting
	for _, name := range names {
		list = append(list, t.witness().process().Watch(func(r faults.Record) bool {
			return r.At == faults.AtEvent && r.Kind == api.KindLeft.String() && r.Who == name
		}))
	}
	return list
}

// noticed waits for departures, which must be for that reason, and notes how long
// after since the last came.
func (t *trial) noticed(ctx context.Context, since time.Time, reason api.Reason, list []*faults.Sighting) error {
	for _, sighting := range list {
		r, at, err := sighting.Wait(ctx)
		if err != nil {
			return fmt.Errorf("nobody was told: %w", err)
		}
		if r.Reason != reason.String() {
			return fmt.Errorf("%s left, it is told, because it %s, and not %s", r.Who, r.Reason, reason)
		}
		t.notice = max(t.notice, at.Sub(since))
	}
	return nil
}

// kill kills players at once, and has others take their parts.
func (t *trial) kill(ctx context.Context, players []*player) error {
	c := t.s.cast
	var names []string
	for _, p := range players {
		p.pause(true)
		defer p.pause(false)
		c.disturb(p.process().Name, soakRecover)
		names = append(names, p.named()...)
	}
	seen := t.departures(names)
	since := time.Now()
	killAll(players)
	err := t.noticed(ctx, since, api.ReasonDied, seen)
	return errors.Join(err, t.replace(ctx, players))
}

func killAll(players []*player) {
	for _, p := range players {
		p.process().Kill()
	}
}

// replace starts new processes for players that are dead, and notes how long that takes.
func (t *trial) replace(ctx context.Context, players []*player) error {
	since := time.Now()
	var failed error
	for _, p := range players {
		_ = t.s.cast.bury(ctx, p.process()) // it was killed
		failed = errors.Join(failed, p.enter(ctx))
	}
	t.recover = time.Since(since)
	return failed
}

func (t *trial) killOne(ctx context.Context) error {
	return t.kill(ctx, t.victims(1, speaker, sluggard, flooder))
}

func (t *trial) killSeveral(ctx context.Context) error {
	return t.kill(ctx, t.victims(2+t.chance.IntN(4), speaker, sluggard, flooder))
}

// stopIdle stops a process for a while, in which nothing happens to it that it
// does not find when it goes on.
func (t *trial) stopIdle(ctx context.Context) error {
	return t.stop(ctx, t.victims(1, speaker, sluggard, flooder)[0], time.Duration(500+t.chance.IntN(7000))*time.Millisecond)
}

// stopFlooded stops a slow reader under a flood.
func (t *trial) stopFlooded(ctx context.Context) error {
	victim, d := t.victims(1, sluggard)[0], time.Duration(1000+t.chance.IntN(7000))*time.Millisecond
	ebb, err := t.flood(ctx, 100+t.chance.IntN(100))
	if err != nil {
		return err
	}
	return errors.Join(t.stop(ctx, victim, d), ebb())
}

// flood begins a flood of so many messages besides that of the flooder, over a
// connection of its own: what becomes of posts is told by connection. It returns
// what waits for the end of the flood.
func (t *trial) flood(ctx context.Context, count int) (ebb func() error, err error) {
	a := t.victims(1, flooder)[0].process()
	label := fmt.Sprintf("%s/%s", a.Name, t.name("extra"))
	if _, err := a.Ask(ctx, faults.Connected(label), "connect %s room=%s sendonly", label, floodRoom); err != nil {
		return nil, err
	}
	over := a.Watch(faults.Said(label, "posted"))
	if err := a.Tell("post %s %d size=65000", label, count); err != nil {
		return nil, err
	}
	return func() error {
		if _, _, err := over.Wait(ctx); err != nil {
			return err
		}
		_, err := a.Ask(ctx, closed(label), "close %s", label)
		return err
	}, nil
}

// stop stops a process and lets it go on. If others waited for it for too long it
// has lost its seat, and takes another.
func (t *trial) stop(ctx context.Context, p *player, d time.Duration) error {
	a := p.process()
	t.s.cast.disturb(a.Name, d+soakRecover/2)
	if err := a.Stop(); err != nil {
		return err
	}
	waitFor(ctx, d)
	if err := a.Cont(); err != nil {
		return err
	}
	since := time.Now()
	if err := t.answers(ctx, p); err != nil {
		return err
	}
	t.recover = time.Since(since)
	return nil
}

// answers waits until something that a player sends has ended, well or not.
func (t *trial) answers(ctx context.Context, p *player) error {
	label, ok := p.seated()
	if !ok {
		return nil
	}
	_, err := p.process().Ask(ctx, func(r faults.Record) bool {
		ended := r.At == faults.AtOK || r.At == faults.AtFailed || r.At == faults.AtUnknown
		return ended && strings.HasPrefix(r.ID, label+"#") || r.Conn == label && r.At == faults.AtEnd
	}, "mark %s", label)
	return err
}

// sleepReader has a reader that others wait for stop reading, while there is
// enough to read, until it loses its seat.
func (t *trial) sleepReader(ctx context.Context) error {
	a, err := t.s.cast.guest(t.name("sleeper"))
	if err != nil {
		return err
	}
	t.s.cast.disturb(a.Name, soakRecover)
	label := a.Name + "/0"
	if _, err := a.Ask(ctx, faults.Connected(label), "connect %s room=%s name=%s", label, floodRoom, nameOf(label)); err != nil {
		return err
	}
	if err := a.Tell("read %s never", label); err != nil {
		return err
	}
	seen := t.departures([]string{nameOf(label)})
	since := time.Now()
	ebb, err := t.flood(ctx, 150)
	if err != nil {
		return err
	}
	err = t.noticed(ctx, since, api.ReasonSlow, seen)
	return errors.Join(err, ebb(), t.s.cast.dismiss(ctx, a))
}

func (t *trial) name(word string) string { return fmt.Sprintf("%s%d", word, t.number) }

// killCrowd has many connections over several links come, and kills their process.
func (t *trial) killCrowd(ctx context.Context) error {
	a, err := t.s.cast.guest(t.name("crowd"))
	if err != nil {
		return err
	}
	count := 20 + t.chance.IntN(100)
	label := a.Name + "/0"
	room := soakRooms()[t.chance.IntN(len(soakRooms())-1)]
	if _, err := a.Ask(ctx, faults.Said("", "dialled"), "dial %d", 1+t.chance.IntN(20)); err != nil {
		return err
	}
	if _, err := a.Ask(ctx, faults.Said(label, "crowded"), "crowd %s %d each room=%s name=%s", label, count, room, nameOf(label)); err != nil {
		return err
	}
	var names []string
	for i := range count {
		names = append(names, fmt.Sprintf("%s.%d", nameOf(label), i))
	}
	seen := t.departures(names)
	t.s.cast.disturb(a.Name, soakRecover)
	since := time.Now()
	a.Kill()
	err = t.noticed(ctx, since, api.ReasonDied, seen)
	return errors.Join(err, t.gone(ctx, a))
}

// gone waits for a guest that was killed.
func (t *trial) gone(ctx context.Context, a *faults.Process) error {
	_ = t.s.cast.bury(ctx, a) // it was killed
	t.s.cast.forget(a)
	if !a.Over() {
		return fmt.Errorf("%s does not die", a.Name)
	}
	return nil
}

// churn has connections come and go as fast as they can.
func (t *trial) churn(ctx context.Context) error {
	a, err := t.s.cast.guest(t.name("churn"))
	if err != nil {
		return err
	}
	room := soakRooms()[t.chance.IntN(len(soakRooms())-1)]
	since := time.Now()
	for i := range 50 + t.chance.IntN(150) {
		label := fmt.Sprintf("%s/%d", a.Name, i)
		if _, err := a.Ask(ctx, faults.Connected(label), "connect %s room=%s name=%s", label, room, nameOf(label)); err != nil {
			return err
		}
		if err := a.Tell("close %s", label); err != nil {
			return err
		}
	}
	err = t.s.cast.dismiss(ctx, a)
	t.recover = time.Since(since)
	return err
}

// forkAndKill kills a process whose child still has its socket.
func (t *trial) forkAndKill(ctx context.Context) error {
	p := t.victims(1, speaker)[0]
	if t.s.tls && p.overTCP() { // there the kernel does not tell who is behind a socket
		return t.kill(ctx, []*player{p})
	}
	r, err := p.process().Ask(ctx, faults.Said("", "forked"), "fork")
	if err != nil {
		return err
	}
	heir, err := os.FindProcess(int(r.Count))
	if err != nil {
		return err
	}
	defer heir.Signal(syscall.SIGKILL)
	return t.kill(ctx, []*player{p})
}
