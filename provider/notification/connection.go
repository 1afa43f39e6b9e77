package notification

import (
	"fmt"
	"time"

	"crier.local/api"
	"crier.local/api/wire"
	"crier.local/provider"
)

// connection is a seat in a room. Its room's lock guards what changes.
type connection struct {
	room     *room
	session  *provider.Session
	visit    *visit
	resource *provider.Resource
	options  api.Connect
	uid      uint32
	since    time.Time

	turn // in admission

	at    int    // its index in the room's seats
	name  string // that others see
	fold  string // name as names are compared
	named bool   // name is its own choice
	gone  bool   // it gets and does nothing any more
	note  string // why it was evicted

	gap     gap  // what the record at the head of its queue tells
	pushing bool // what is appended to its queue now is never too much
}

// receives reports whether c has a queue.
func (c *connection) receives() bool { return !c.options.SendOnly }

// member reports whether others are told of c.
func (c *connection) member() bool { return c.named && c.receives() }

// lossy reports whether c loses events rather than being waited for.
func (c *connection) lossy() bool { return c.options.Overflow == api.OverflowGap }

// maxWindow bounds what a client may ask for: what is in the window has left the
// queue, where it could still be dropped.
const maxWindow = 1 << 20

// connect carries out api.MethodConnect.
func (s *Service) connect(call *provider.Call) {
	options, err := connectOptions(call)
	if err != nil {
		call.Reply(provider.Result{}, err)
		return
	}
	r := s.enter(options.Room)
	defer r.unlock()
	if err := r.checkFree(options.Name, nil); err != nil {
		call.Reply(provider.Result{}, err)
		return
	}
	c := &connection{room: r, session: call.Session, options: options, since: r.now}
	if err := c.open(); err != nil {
		call.Reply(provider.Result{}, err)
		return
	}
	c.visit = s.visit(call.Session)
	seq := r.join(c)
	call.Reply(provider.Result{
		Body:     wire.EncodeConnected(wire.Connected{Seq: seq, Name: c.name, Room: r.name}),
		Resource: c.resource,
	}, nil)
}

// connectOptions returns what the caller asks for. A client of 1.0 cannot ask.
func connectOptions(call *provider.Call) (api.Connect, error) {
	if call.Session.Asked().Minor == 0 {
		return api.Connect{Room: api.DefaultRoom}, nil
	}
	o, err := wire.DecodeConnect(call.Args)
	if err != nil {
		return o, err
	}
	if o.Room == "" {
		o.Room = api.DefaultRoom
	}
	if o.SendOnly {
		o.Echo, o.Presence, o.Overflow = false, false, api.OverflowWait
	}
	o.Window = min(o.Window, maxWindow)
	return o, check(o)
}

// check returns what is wrong with o, if anything is.
func check(o api.Connect) error {
	if err := api.CheckRoom(o.Room); err != nil {
		return err
	}
	if o.Overflow > api.OverflowGap {
		return &api.CallError{Text: fmt.Sprintf("there is no overflow policy %d", o.Overflow)}
	}
	if o.Name == "" {
		return nil
	}
	return api.CheckName(o.Name)
}

// open makes c's resource, and gives c its name.
func (c *connection) open() error {
	o := provider.ResourceOptions{
		Notifiable:    c.receives(),
		ReceiveWindow: c.options.Window,
		SendWindow:    c.options.Window,
		Queue:         c.room.service.options.Queue,
		Reserve:       c.room.service.options.Reserve,
		OnClosed:      c.closed,
	}
	if c.receives() && c.lossy() {
		o.Overflow = c.overflow
	} else if c.receives() {
		o.Progress = c.progress
	}
	var err error
	if c.resource, err = c.session.NewResource(c, o); err != nil {
		return err
	}
	c.uid = c.session.Identity().UID
	c.setName(c.options.Name)
	return nil
}

// setName gives c a name: one made up if there is none.
func (c *connection) setName(name string) {
	c.named = name != ""
	if !c.named {
		name = fmt.Sprintf("%s%d-%d", api.ReservedPrefix, c.session.ID(), c.resource.Handle())
	}
	c.name, c.fold = name, api.FoldName(name)
}

// join adds c to the room, and returns the number of the last event before those
// that c gets.
func (r *room) join(c *connection) api.Seq {
	if c.receives() {
		r.receivers.Add(c.resource)
	}
	if c.options.Presence {
		r.watchers.Add(c.resource)
		r.sendSnapshot(c)
	}
	if c.member() {
		r.announce(&wire.Event{Event: api.Event{Kind: api.KindJoined, From: c.name, UID: c.uid}}, c)
	}
	r.seat(c)
	seq := r.seq
	r.settle()
	return seq
}

// checkFree returns [api.ErrNameTaken] if a connection other than c has that name.
func (r *room) checkFree(name string, c *connection) error {
	if other := r.names[api.FoldName(name)]; other != nil && other != c {
		return fmt.Errorf("%w: %q in room %q", api.ErrNameTaken, name, r.name)
	}
	return nil
}

// closed is called when c's resource is closed, by whomever.
func (c *connection) closed(reason api.Reason) {
	r := c.room
	r.lock()
	defer r.unlock()
	if c.gone {
		return
	}
	r.retire(c, api.ErrClosed)
	if !c.session.Ending() || !r.service.postpone(c) {
		r.depart([]*connection{c}, &api.Event{Reason: reason})
	}
	r.settle()
}

// progress is called when c, which is watched, took something.
func (c *connection) progress() {
	r := c.room
	r.lock()
	defer r.unlock()
	r.admission.progress(c, r.now)
}

// rename carries out api.MethodRename.
func (s *Service) rename(call *provider.Call) error {
	c, err := connectionOf(call)
	if err != nil {
		return err
	}
	name, err := wire.DecodeRename(call.Args)
	if err != nil {
		return err
	}
	if err := api.CheckName(name); err != nil {
		return err
	}
	r := c.room
	r.lock()
	defer r.unlock()
	if c.gone {
		return api.ErrUnknownHandle
	}
	if err := r.checkFree(name, c); err != nil {
		return err
	}
	if name != c.name {
		r.rename(c, name)
	}
	return nil
}

// rename gives c another name. To the others one that had none comes with it.
func (r *room) rename(c *connection, name string) {
	switch {
	case c.member():
		r.announce(&wire.Event{Event: api.Event{Kind: api.KindRenamed, From: c.name, To: name, UID: c.uid}}, c)
	case c.receives():
		r.announce(&wire.Event{Event: api.Event{Kind: api.KindJoined, From: name, UID: c.uid}}, c)
	}
	delete(r.names, c.fold)
	c.setName(name)
	r.names[c.fold] = c
	r.settle()
}

// maxNote bounds the words of a gateway in bytes, since presence must fit where
// nothing else does.
const maxNote = 256

// closeWith carries out api.MethodCloseWith.
func (s *Service) closeWith(call *provider.Call) {
	c, err := connectionOf(call)
	if err == nil {
		err = c.closeWith(call)
	}
	if err != nil {
		call.Reply(provider.Result{}, err)
		return
	}
	c.resource.Close()
}

// closeWith tells the others why the gateway closes c, and answers.
func (c *connection) closeWith(call *provider.Call) error {
	reason, note, err := wire.DecodeCloseWith(call.Args)
	if err != nil {
		return err
	}
	switch reason {
	case api.ReasonClosed, api.ReasonDied, api.ReasonUnreachable, api.ReasonSlow, api.ReasonLimit:
	default:
		return &api.CallError{Text: fmt.Sprintf("a connection cannot be closed with %v", reason)}
	}
	if len(note) > maxNote {
		return &api.CallError{Text: fmt.Sprintf("a note of %d bytes is too long, %d at most", len(note), maxNote)}
	}
	r := c.room
	r.lock()
	defer r.unlock()
	if c.gone {
		return api.ErrUnknownHandle
	}
	r.retire(c, api.ErrClosed)
	r.depart([]*connection{c}, &api.Event{Reason: reason, Note: note, By: c.session.Identity().String()})
	r.settle()
	call.Reply(provider.Result{}, nil)
	return nil
}
