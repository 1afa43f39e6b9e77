package faults

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"crier.local/api"
	"crier.local/client"
	"crier.local/client/notification"
)

// answerTime bounds a command that waits for the provider.
const answerTime = time.Minute

// Actor is a client process on the stage: it does what it is told, and tells what
// it saw.
//
// It reads commands, one a line, words separated by spaces; LABEL names a
// connection for the parent, and is unique on the stage:
//
//	dial N                  have N attachments; the first is made when needed
//	connect LABEL [OPTIONS] make a connection, which is read from then on
//	crowd LABEL N [each] [OPTIONS]
//	                        make LABEL.0 to LABEL.N-1, named NAME.0 and so on if
//	                        there is a name; over all attachments in turn if each
//	churn LABEL N [every=TIME] [OPTIONS]
//	                        have N clients come, connect as LABEL.0 and so on, and go
//	                        again, one every TIME; in the background
//	spawn                   start a provider as a go-plugin host does
//	hold N                  make N connections that only send, and never speak of them
//	send LABEL N [size=BYTES] [every=TIME]
//	                        send N messages, one after the other; in the background
//	post LABEL N [size=BYTES] [every=TIME]
//	                        post N messages, flushing now and then; in the background
//	flood LABEL [size=BYTES]
//	                        post until halted; in the background
//	halt LABEL              end what LABEL does in the background
//	read LABEL all|never|every=TIME
//	                        how its events are taken: at once, not, one at a time
//	mark LABEL              send one message, with a receipt
//	rename LABEL name=NEW   give a connection another name; in the background
//	close LABEL             close a connection; in the background
//	fork                    leave a process behind that has inherited all sockets
//	quit                    close everything in order and end; so does the end of the input
//
// OPTIONS are client=NUMBER of the attachment, room=, name=, window=BYTES,
// presence, sendonly, gap, echo. What is done in the background is said when it
// is over.
type Actor struct {
	Options client.Options // how it attaches
	In      io.Reader      // commands
	Out     io.Writer      // one [Record] a line
}

// Run carries out the commands until quit, the end of the input or of ctx, and
// closes everything. It returns an error if the input cannot be understood, or
// the output not be written; what the provider refuses is only said.
func (a Actor) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	t := &troupe{options: a.Options, out: newRecorder(a.Out), ctx: ctx, seats: map[string]*seat{}}
	err := t.obey(a.lines(ctx))
	t.quit(cancel)
	if failed := t.out.close(); err == nil {
		err = failed
	}
	return err
}

// lines returns the commands as they come.
func (a Actor) lines(ctx context.Context) <-chan string {
	lines := make(chan string)
	go func() {
		defer close(lines)
		for in := bufio.NewScanner(a.In); in.Scan(); {
			select {
			case lines <- in.Text():
			case <-ctx.Done():
				return
			}
		}
	}()
	return lines
}

// troupe is what an actor has: attachments, and seats that they carry.
type troupe struct {
	options client.Options
	out     *recorder
	ctx     context.Context // ends when all is closed
	clients []*notification.Client
	seats   map[string]*seat
	work    sync.WaitGroup // what goes on in the background
	spawned *client.Spawned
}

var errQuit = errors.New("quit")

// obey carries out commands, until one is quit.
func (t *troupe) obey(lines <-chan string) error {
	for {
		select {
		case line, ok := <-lines:
			if !ok {
				return nil
			}
			switch err := t.carryOut(line); {
			case errors.Is(err, errQuit):
				return nil
			case err != nil:
				return fmt.Errorf("%s: %w", line, err)
			}
		case <-t.ctx.Done():
			return nil
		}
	}
}

// carryOut carries out one command. It returns an error if there is no such thing.
func (t *troupe) carryOut(line string) error {
	words := strings.Fields(line)
	if len(words) == 0 {
		return nil
	}
	if t.general(words[0]) == nil {
		return t.specific(words)
	}
	o, err := parseOrder(words)
	if err != nil {
		return err
	}
	return t.general(words[0])(o)
}

// general returns what carries out a command that is about no connection there is.
func (t *troupe) general(verb string) func(order) error {
	return map[string]func(order) error{
		"dial": t.dial, "connect": t.connect, "crowd": t.crowd, "hold": t.hold, "fork": t.fork,
		"churn": t.churn, "spawn": t.spawn,
		"quit": func(order) error { return errQuit },
	}[verb]
}

// specific carries out a command to a connection.
func (t *troupe) specific(words []string) error {
	do := map[string]func(*seat, order){
		"send": (*seat).send, "mark": (*seat).send, "post": (*seat).post, "flood": (*seat).flood,
		"halt": (*seat).halt, "read": (*seat).read, "close": (*seat).close,
		"rename": (*seat).rename,
	}[words[0]]
	if do == nil {
		return errors.New("no such command")
	}
	o, err := parseOrder(words)
	if err != nil {
		return err
	}
	s := t.seats[o.label]
	if s == nil {
		t.out.record(Record{At: AtSaid, Conn: o.label, Error: "no such connection"})
		return nil
	}
	do(s, o)
	return nil
}

// dial makes attachments.
func (t *troupe) dial(o order) error {
	if err := t.attach(o.count); err != nil {
		t.out.record(Record{At: AtSaid, Error: err.Error()})
		return nil
	}
	t.out.record(Record{At: AtSaid, Reason: "dialled", Count: uint64(o.count)})
	return nil
}

// attach sees to it that there are so many attachments. Where there is a limit on
// how many may be made in a second, it takes its time.
func (t *troupe) attach(count int) error {
	ctx, cancel := context.WithTimeout(t.ctx, answerTime)
	defer cancel()
	for len(t.clients) < count {
		c, err := notification.Dial(ctx, t.options)
		switch {
		case err == nil:
			t.clients = append(t.clients, c)
		case len(t.clients) == 0, !sleep(ctx, dialPause):
			return fmt.Errorf("attachment %d: %w", len(t.clients), err)
		}
	}
	return nil
}

// dialPause is between two attempts to get one more attachment.
const dialPause = 50 * time.Millisecond

// sleep pauses for d and reports whether ctx is still on.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// connect makes one connection.
func (t *troupe) connect(o order) error {
	if err := t.take(o.label, o.client, o.connect); err != nil {
		t.out.record(Record{At: AtSaid, Conn: o.label, Error: err.Error()})
	}
	return nil
}

// crowd makes many connections, which are alike.
func (t *troupe) crowd(o order) error {
	for i := range o.count {
		c, connect := o.client, o.connect
		if o.each {
			c = i % max(1, len(t.clients))
		}
		if connect.Name != "" {
			connect.Name = fmt.Sprintf("%s.%d", connect.Name, i)
		}
		if err := t.take(fmt.Sprintf("%s.%d", o.label, i), c, connect); err != nil {
			t.out.record(Record{At: AtSaid, Conn: o.label, Error: err.Error()})
			return nil
		}
	}
	t.out.record(Record{At: AtSaid, Conn: o.label, Reason: "crowded", Count: uint64(o.count)})
	return nil
}

// take takes a seat, and begins to read what it hears.
func (t *troupe) take(label string, number int, o api.Connect) error {
	if t.seats[label] != nil {
		return errors.New("there is such a connection")
	}
	if err := t.attach(number + 1); err != nil {
		return err
	}
	s, err := t.sit(label, t.clients[number], o)
	if err == nil {
		t.seats[label] = s
	}
	return err
}

// sit makes a connection of an attachment, and begins to read what it hears.
func (t *troupe) sit(label string, c *notification.Client, o api.Connect) (*seat, error) {
	ctx, cancel := context.WithTimeout(t.ctx, answerTime)
	defer cancel()
	x, err := c.Connect(ctx, o)
	if err != nil {
		return nil, err
	}
	s := newSeat(t, label, c, x)
	t.out.record(Record{
		At: AtConnected, Conn: label, Room: x.Room(), Name: x.Name(), Epoch: c.Provider().Epoch.String(),
		Presence: o.Presence, SendOnly: o.SendOnly, Gap: o.Overflow == api.OverflowGap, Echo: o.Echo,
	})
	if !o.SendOnly {
		s.reading.Go(s.receive)
	}
	return s, nil
}

// hold makes connections that nothing is told of.
func (t *troupe) hold(o order) error {
	if err := t.attach(1); err != nil {
		t.out.record(Record{At: AtSaid, Error: err.Error()})
		return nil
	}
	for i := range o.count {
		if _, err := t.clients[0].Connect(t.ctx, api.Connect{SendOnly: true}); err != nil {
			t.out.record(Record{At: AtSaid, Error: fmt.Sprintf("connection %d: %v", i, err)})
			return nil
		}
	}
	t.out.record(Record{At: AtSaid, Reason: "held", Count: uint64(o.count)})
	return nil
}

// quit closes all connections and attachments, and waits for what goes on.
func (t *troupe) quit(cancel context.CancelFunc) {
	var leaving sync.WaitGroup
	for _, s := range t.seats {
		leaving.Go(s.leave)
	}
	leaving.Wait()
	for _, c := range t.clients {
		leaving.Go(func() { c.Close() }) // its connections have told their errors
	}
	leaving.Wait()
	if t.spawned != nil {
		t.spawned.Close()
	}
	cancel()
	t.work.Wait()
}

// order is a command with its words understood.
type order struct {
	label   string
	count   int
	client  int
	size    int
	every   time.Duration
	mode    string // of reading
	each    bool
	connect api.Connect
}

// parseOrder reads the words of a command.
func parseOrder(words []string) (o order, err error) {
	verb, words := words[0], words[1:]
	if verb != "dial" && verb != "hold" && verb != "fork" && verb != "spawn" && verb != "quit" {
		if len(words) == 0 {
			return o, errors.New("no label")
		}
		o.label, words = words[0], words[1:]
	}
	if verb == "mark" {
		o.count = 1
	}
	for _, w := range words {
		if err := o.word(w); err != nil {
			return o, err
		}
	}
	return o, nil
}

// word reads what stands behind the label.
func (o *order) word(w string) (err error) {
	key, value, _ := strings.Cut(w, "=")
	switch key {
	case "room":
		o.connect.Room = value
	case "name":
		o.connect.Name = value
	case "presence":
		o.connect.Presence = true
	case "sendonly":
		o.connect.SendOnly = true
	case "gap":
		o.connect.Overflow = api.OverflowGap
	case "echo":
		o.connect.Echo = true
	case "each":
		o.each = true
	case "all", "never":
		o.mode = key
	case "every":
		o.mode = key
		o.every, err = time.ParseDuration(value)
	default:
		err = o.number(key, value)
	}
	return err
}

// number reads a word that is a number, or has one.
func (o *order) number(key, value string) (err error) {
	switch key {
	case "client":
		o.client, err = strconv.Atoi(value)
	case "size":
		o.size, err = strconv.Atoi(value)
	case "window":
		var window uint64
		window, err = strconv.ParseUint(value, 10, 32)
		o.connect.Window = uint32(window)
	default:
		if o.count, err = strconv.Atoi(key); err != nil {
			err = fmt.Errorf("%q: no such word", key)
		}
	}
	return err
}
