package notification

import (
	"container/list"
	"fmt"
	"time"

	"crier.local/api"
	"crier.local/api/wire"
	"crier.local/provider"
)

// send is a message on its way into a room.
type send struct {
	from    *connection
	alone   bool   // it is for one connection
	to      string // whose name this is
	payload []byte
	call    *provider.Call // to be answered

	// The message as it is if it is the next event, seq, and admitted at time.
	n    *provider.Notification
	seq  api.Seq
	time time.Time

	parked *list.Element // in admission; nil: it does not wait
}

// send carries out api.MethodSend.
func (s *Service) send(call *provider.Call) {
	c, err := connectionOf(call)
	if err == nil {
		err = wire.CheckMessage(len(call.Args), s.options.MaxMessage)
	}
	if err != nil {
		call.Reply(provider.Result{}, err)
		return
	}
	r := c.room
	r.lock()
	defer r.unlock()
	if s := r.submit(send{from: c, payload: call.Args, call: call}); s != nil {
		s.call = call.Park(func(cause error) { r.cancel(s, cause) })
		s.payload = s.call.Args
	}
}

// sendTo carries out api.MethodSendTo. That nobody has the name is no error: it
// is sent to nobody then.
func (s *Service) sendTo(call *provider.Call) {
	c, err := connectionOf(call)
	if err != nil {
		call.Reply(provider.Result{}, err)
		return
	}
	name, payload, err := wire.DecodeSendTo(call.Args)
	switch {
	case err != nil:
	case name == "":
		err = fmt.Errorf("%w: the name of the receiver is empty", api.ErrBadName)
	default:
		err = wire.CheckMessage(len(payload), s.options.MaxMessage)
	}
	if err != nil {
		call.Reply(provider.Result{}, err)
		return
	}
	r := c.room
	r.lock()
	defer r.unlock()
	if s := r.submit(send{from: c, alone: true, to: name, payload: payload, call: call}); s != nil {
		s.call = call.Park(func(cause error) { r.cancel(s, cause) })
	}
}

// submit answers s, or returns it to be parked.
func (r *room) submit(s send) (parked *send) {
	if s.from.gone {
		s.call.Reply(provider.Result{}, api.ErrUnknownHandle)
		return nil
	}
	draft := r.draft
	*draft = s
	if r.admission.submit(draft, r.now) {
		r.draft = &send{}
		return draft
	}
	*draft = send{}
	return nil
}

// cancel ends a parked send without carrying it out. When its session ends, the
// sender's later ones end with it: none may go where an earlier one did not.
func (r *room) cancel(s *send, cause error) {
	r.lock()
	defer r.unlock()
	switch {
	case s.parked == nil:
		return
	case s.from.session.Ending():
		r.admission.gone(s.from, cause)
	default:
		r.admission.withdraw(s)
		r.refuse(s, cause)
	}
	r.settle()
}

// What follows is what admission asks of the room.

func (r *room) fits(s *send) bool {
	r.stamp(s)
	if s.alone {
		to := r.target(s)
		return to == nil || to.canTake(s.n)
	}
	return r.receivers.Fits(s.n, s.from.resource)
}

func (r *room) full(s *send, yield func(*connection)) {
	if s.alone {
		if !r.fits(s) {
			yield(r.target(s))
		}
		return
	}
	for resource := range r.receivers.Full(s.n, s.from.resource) {
		yield(resource.Owner().(*connection))
	}
}

func (r *room) blocks(s *send, c *connection) bool {
	return c != s.from && (!s.alone || c == r.target(s)) && !c.canTake(s.n)
}

func (r *room) echoFits(s *send) bool {
	if !s.from.receives() || (s.alone && r.target(s) != s.from) || (!s.alone && !s.from.options.Echo) {
		return true
	}
	r.stamp(s)
	return s.from.canTake(s.n)
}

func (r *room) watch(c *connection, on bool) { c.resource.Watch(on) }

func (r *room) taken(c *connection) uint64 { return c.resource.Taken() }

func (r *room) admit(s *send) {
	r.stamp(s)
	r.seq = s.seq
	receivers := 0
	switch to := r.target(s); {
	case to != nil:
		receivers = to.queue(s.n)
	case !s.alone:
		var except *provider.Resource
		if !s.from.options.Echo {
			except = s.from.resource
		}
		receivers = r.receivers.Append(s.n, except)
	}
	var result provider.Result
	if !s.call.Posted() {
		result.Body = wire.EncodeReceipt(api.Receipt{Seq: s.seq, Receivers: receivers})
	}
	s.call.Reply(result, nil)
}

func (r *room) refuse(s *send, err error) { s.call.Reply(provider.Result{}, err) }

// canTake reports whether c is nobody to wait for before n is queued.
func (c *connection) canTake(n *provider.Notification) bool { return c.lossy() || c.resource.Fits(n) }

// target returns the one connection that s is for; nil if it is for all, or if
// there is none that receives.
func (r *room) target(s *send) *connection {
	if !s.alone {
		return nil
	}
	if c := r.names[api.FoldName(s.to)]; c != nil && !c.gone && c.receives() {
		return c
	}
	return nil
}

// stamp makes s the room's next event as of now.
func (r *room) stamp(s *send) {
	if s.n != nil && s.seq == r.seq+1 && s.time.Equal(r.now) {
		return
	}
	s.seq, s.time = r.seq+1, r.now
	head := wire.MessageHead{Seq: s.seq, Time: s.time, From: s.from.name, UID: s.from.uid}
	if s.alone {
		head.To = s.to
		if to := r.target(s); to != nil {
			head.To = to.name
		}
	}
	s.n = &provider.Notification{Body: wire.EncodeMessage(&head, s.payload), Tag: tagOf(s.seq, tagMessage)}
}
