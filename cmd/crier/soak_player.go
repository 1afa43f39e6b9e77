package main

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"crier.local/cmd/internal/faults"
)

// role is what a player does.
type role int

const (
	witness  role = iota // is in every room with presence, and is never touched
	speaker              // talks in one room, and comes and goes
	flooder              // floods in bursts
	sluggard             // reads a flood slowly
)

// player is an actor that is there all the time: when it dies, another process
// takes its part.
type player struct {
	cast *cast
	role role
	at   int // among all
	room string

	mu     sync.Mutex
	a      *faults.Process
	runs   int
	seats  int               // that this run has had
	names  map[string]string // of the connections that live, by label: those that presence tells of
	paused bool              // it is to say nothing new
	chance *rand.Rand

	renames     int
	christening sync.Mutex // held while p changes a name
}

func newPlayer(c *cast, i int) *player {
	p := &player{cast: c, at: i, names: map[string]string{}}
	rooms := soakRooms()
	switch {
	case i < soakWitnesses:
		p.role = witness
	case i == soakWitnesses:
		p.role, p.room = flooder, floodRoom
	case i <= soakWitnesses+2:
		p.role, p.room = sluggard, floodRoom
	default:
		p.role, p.room = speaker, rooms[i%(len(rooms)-1)]
	}
	return p
}

// overTCP reports whether p comes over TCP, if anybody does.
func (p *player) overTCP() bool { return p.at%2 == 1 }

func (p *player) process() *faults.Process {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.a
}

// enter starts a process for p, and takes its seats.
func (p *player) enter(ctx context.Context) error {
	p.mu.Lock()
	p.runs++
	p.seats = 0
	name := fmt.Sprintf("%c%d.%d", "wtfs"[p.role], p.at, p.runs)
	p.chance = rand.New(rand.NewPCG(uint64(p.cast.s.seed), uint64(p.at)<<32|uint64(p.runs)))
	p.names = map[string]string{}
	p.mu.Unlock()
	a, err := p.cast.actor(name, p.overTCP(), p.hear)
	if err != nil {
		return err
	}
	p.mu.Lock()
	p.a = a
	p.mu.Unlock()
	if p.role == witness {
		for _, room := range soakRooms() {
			if err := p.sit(ctx, a, room, name+"/"+room, "presence"); err != nil {
				return err
			}
		}
		return nil
	}
	_, err = p.sitAnew(ctx, a)
	return err
}

// sitAnew takes a seat that p had not before, and returns its label.
func (p *player) sitAnew(ctx context.Context, a *faults.Process) (string, error) {
	p.mu.Lock()
	p.seats++
	label := fmt.Sprintf("%s/%d", a.Name, p.seats)
	options := p.options()
	p.mu.Unlock()
	return label, p.sit(ctx, a, p.room, label, options)
}

// options draws how p is connected.
func (p *player) options() string {
	presence, echo := p.chance.IntN(2) == 0, p.chance.IntN(4) == 0
	var words []string
	switch p.role {
	case sluggard:
		words = append(words, "gap", "window=65536")
		echo = false
	case flooder:
		presence, echo = false, false
	case speaker:
		if p.at%4 == 3 {
			words = append(words, "gap")
		}
	}
	if presence {
		words = append(words, "presence")
	}
	if echo {
		words = append(words, "echo")
	}
	return strings.Join(words, " ")
}

// sit takes a seat.
func (p *player) sit(ctx context.Context, a *faults.Process, room, label, options string) error {
	_, err := a.Ask(ctx, faults.Connected(label), "connect %s room=%s name=%s %s", label, room, nameOf(label), options)
	if err != nil {
		return err
	}
	if p.role == sluggard {
		return a.Tell("read %s every=60ms", label)
	}
	return nil
}

// nameOf returns the name of the connection with that label.
func nameOf(label string) string { return strings.ReplaceAll(label, "/", "-") }

func (p *player) labelIn(room string) string { return p.process().Name + "/" + room }

// hear keeps the list of p's connections.
func (p *player) hear(r faults.Record) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch r.At {
	case faults.AtConnected:
		if !r.SendOnly { // others are told of it
			p.names[r.Conn] = r.Name
		}
	case faults.AtRenamed:
		p.names[r.Conn] = r.Name
	case faults.AtEvent:
		if _, ok := p.names[r.Conn]; ok && r.Name != "" { // it is back
			p.names[r.Conn] = r.Name
		}
	case faults.AtEnd, faults.AtClosed:
		delete(p.names, r.Conn)
	}
}

// seated returns a connection of p that lives, if there is one.
func (p *player) seated() (label string, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for label = range p.names {
		return label, true
	}
	return "", false
}

// play is what p does until the talk ends: each process of p does its part until it
// dies.
func (p *player) play() {
	life := p.cast.life
	for life.Err() == nil && p.role != witness {
		a := p.process()
		if a.Over() || p.resting() {
			waitFor(life, 20*time.Millisecond)
			continue
		}
		if err := p.act(life, a); err != nil {
			waitFor(life, 100*time.Millisecond)
		}
	}
}

func (p *player) resting() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.paused
}

// act does one thing.
func (p *player) act(ctx context.Context, a *faults.Process) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), soakRecover)
	defer cancel()
	label, ok := p.seated()
	if !ok {
		var err error
		if label, err = p.sitAnew(ctx, a); err != nil {
			return err
		}
	}
	switch p.role {
	case flooder:
		return p.flood(ctx, a, label)
	case sluggard:
		waitFor(p.cast.life, time.Second)
		return nil
	}
	p.mu.Lock()
	dice, size := p.chance.IntN(100), p.size()
	p.mu.Unlock()
	return p.talk(ctx, a, label, dice, size)
}

// size draws the size of messages.
func (p *player) size() int {
	sizes := []int{0, 0, 64, 128, 128, 500, 1000, 4000, 16000, 64 << 10}
	if p.chance.IntN(400) == 0 {
		return 1 << 20
	}
	return sizes[p.chance.IntN(len(sizes))]
}

// talk says something, or leaves and comes back.
func (p *player) talk(ctx context.Context, a *faults.Process, label string, dice, size int) error {
	count := 25
	if size > 10000 {
		count = 2
	}
	pause := time.Duration(float64(time.Second) * float64(p.cast.talkers()) / float64(p.cast.s.rate))
	switch {
	case dice < 2:
		_, err := a.Ask(ctx, closed(label), "close %s", label)
		return err
	case dice < 4:
		return p.rename(ctx, a, label)
	case dice < 20:
		_, err := a.Ask(ctx, faults.Said(label, "posted"), "post %s %d size=%d", label, count, size)
		waitFor(p.cast.life, time.Duration(count)*pause)
		return err
	default:
		_, err := a.Ask(ctx, faults.Said(label, "sent"), "send %s %d size=%d every=%s", label, count, size, pause)
		return err
	}
}

// rename gives a connection a name that it did not have before. While that goes on
// nobody kills p: its name would be anybody's guess.
func (p *player) rename(ctx context.Context, a *faults.Process, label string) error {
	p.christening.Lock()
	defer p.christening.Unlock()
	if p.resting() {
		return nil
	}
	p.mu.Lock()
	p.renames++
	name := fmt.Sprintf("%s-%d", nameOf(label), p.renames)
	p.mu.Unlock()
	_, err := a.Ask(ctx, func(r faults.Record) bool {
		return r.Conn == label && (r.At == faults.AtRenamed || r.At == faults.AtEnd)
	}, "rename %s name=%s", label, name)
	return err
}

func (c *cast) talkers() int { return max(1, len(c.players)-soakWitnesses-3) }

// flood posts more than a slow reader can take, and then leaves it time.
func (p *player) flood(ctx context.Context, a *faults.Process, label string) error {
	p.mu.Lock()
	count, rest := 60+p.chance.IntN(120), time.Duration(8+p.chance.IntN(8))*time.Second
	p.mu.Unlock()
	_, err := a.Ask(ctx, faults.Said(label, "posted"), "post %s %d size=65000", label, count)
	waitFor(p.cast.life, rest)
	return err
}

// wakeUp makes p read whatever there is.
func (p *player) wakeUp() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for label := range p.names {
		_ = p.a.Tell("read %s all", label) // if it is dead, others complain
	}
}

// pause keeps p from saying anything new, or lets it again.
func (p *player) pause(on bool) {
	if on {
		p.christening.Lock() // its names stand
		defer p.christening.Unlock()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.paused = on
}

// named returns the names of p's connections.
func (p *player) named() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Collect(maps.Values(p.names))
}

// closed matches the record that a connection is over.
func closed(label string) func(faults.Record) bool {
	return func(r faults.Record) bool {
		return r.Conn == label && (r.At == faults.AtClosed || r.At == faults.AtEnd)
	}
}
