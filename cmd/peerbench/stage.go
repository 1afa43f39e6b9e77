package main

import (
	"path/filepath"
	"time"
)

// stage is a measurement of messages of one system in one cell: its server and its
// players.
type stage struct {
	h       *house
	c       cell
	sys     system
	server  *server
	board   *board
	players []*process
}

// open starts the server, and returns what all players are told. Ids of receivers are
// below that number.
func (st *stage) open(receivers int) (a assignment, err error) {
	path := filepath.Join(st.h.scratch(), "board")
	publishers := max(1, st.c.publishers)
	if st.board, err = newBoard(path, publishers, receivers); err != nil {
		return a, err
	}
	if st.server, err = st.sys.start(st.h); err != nil {
		return a, err
	}
	return assignment{
		System: st.sys.name(), Address: st.server.address, Board: path,
		Publishers: publishers, Receivers: receivers,
		Size: st.c.size, Rate: st.c.rate, Window: st.h.window / uint64(st.c.size+perMessage),
		Publisher: -1, Shared: st.c.shared,
	}, nil
}

// play starts a player.
func (st *stage) play(name string, a assignment) error {
	a.Profile = st.h.profile(st.sys.name() + " " + name)
	p, err := st.h.play(st.sys.name()+" "+name, a)
	if p != nil {
		st.players = append(st.players, p)
	}
	return err
}

// joining is how long a player may take to connect.
const joining = time.Minute

// enter starts a player and waits until it has connected, which took as long as it
// returns.
func (st *stage) enter(name string, a assignment) (time.Duration, error) {
	if err := st.play(name, a); err != nil {
		return 0, err
	}
	r, err := st.players[len(st.players)-1].hear(joining)
	return r.Joined, err
}

// rest waits, unless the run or one of the processes ends meanwhile.
func (st *stage) rest(d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	dead := make(chan *process, len(st.players)+1)
	over := make(chan struct{})
	defer close(over)
	watch := func(p *process) {
		select {
		case <-p.ended:
			dead <- p
		case <-over:
		}
	}
	if st.server.process != nil {
		go watch(st.server.process)
	}
	for _, p := range st.players {
		go watch(p)
	}
	select {
	case <-timer.C:
		return nil
	case p := <-dead:
		return p.lastWords()
	case <-st.h.ctx.Done():
		return st.h.ctx.Err()
	}
}

// close ends all processes.
func (st *stage) close() error {
	for _, p := range st.players {
		p.stop()
	}
	if st.server != nil && st.server.process != nil {
		st.server.stop()
	}
	if st.board != nil {
		return st.board.close()
	}
	return nil
}
