package notification

import (
	"container/list"
	"fmt"

	"crier.local/api"
	"crier.local/api/wire"
	"crier.local/provider"
)

// send is a message on its way into a room, or several in a row.
type send struct {
	from    *connection
	alone   bool           // it is for one connection
	to      string         // whose name this is
	payload []byte         // of the next of them
	call    *provider.Call // to be answered

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
	r.submitAll(send{from: c, payload: call.Args, call: call})
}

// HandlePosts carries out sends in a row.
func (s *Service) HandlePosts(call *provider.Call) bool {
	c, err := connectionOf(call)
	if err != nil || call.Method != api.MethodSend || c.options.Echo {
		return false
	}
	for _, payload := range call.Posts() {
		if len(payload) > s.options.MaxMessage {
			return false
		}
	}
	r := c.room
	r.lock()
	defer r.unlock()
	r.submitAll(send{from: c, payload: call.Args, call: call})
	return true
}

// submitAll answers s, or parks it.
func (r *room) submitAll(s send) {
	if s := r.submit(s); s != nil {
		s.call = s.call.Park(func(cause error) { r.cancel(s, cause) })
		if !s.alone { // whose payload is a copy
			s.payload = s.call.Args
		}
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
	r.submitAll(send{from: c, alone: true, to: name, payload: payload, call: call})
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
	size := r.size(s)
	if s.alone {
		to := r.target(s)
		return to == nil || to.canTake(size)
	}
	return r.receivers.Fits(size, s.from.resource)
}

func (r *room) full(s *send, yield func(*connection)) {
	if s.alone {
		if !r.fits(s) {
			yield(r.target(s))
		}
		return
	}
	for resource := range r.receivers.Full(r.size(s), false, s.from.resource) {
		yield(resource.Owner().(*connection))
	}
}

func (r *room) blocks(s *send, c *connection) bool {
	return c != s.from && (!s.alone || c == r.target(s)) && !c.canTake(r.size(s))
}

func (r *room) echoFits(s *send) bool {
	if !s.from.receives() || (s.alone && r.target(s) != s.from) || (!s.alone && !s.from.options.Echo) {
		return true
	}
	return s.from.canTake(r.size(s))
}

func (r *room) watch(c *connection, on bool) { c.resource.Watch(on) }

func (r *room) taken(c *connection) uint64 { return c.resource.Taken() }

func (r *room) admit(s *send) (all bool) {
	if posts := s.call.Posts(); len(posts) > 1 {
		n := r.admitSeries(s, posts)
		if n < len(posts) {
			s.call.Done(n)
			s.payload = s.call.Args
			return false
		}
		s.call.Reply(provider.Result{}, nil)
		return true
	}
	head := r.head(s)
	r.seq = head.Seq
	body := make([]byte, 0, wire.SizeMessage(&head, len(s.payload)))
	n := &provider.Notification{Body: wire.AppendMessage(body, &head, s.payload), Tag: tagOf(r.seq, tagMessage)}
	receivers := 0
	switch to := r.target(s); {
	case to != nil:
		receivers = to.queue(n)
	case !s.alone:
		receivers = r.receivers.Append(n, except(s))
	}
	var result provider.Result
	if !s.call.Posted() {
		result.Body = wire.EncodeReceipt(api.Receipt{Seq: r.seq, Receivers: receivers})
	}
	s.call.Reply(result, nil)
	return true
}

// admitSeries admits as many of the payloads as fit, of which one does, and
// returns how many that is.
func (r *room) admitSeries(s *send, payloads [][]byte) int {
	head := r.head(s)
	room := r.receivers.Room(except(s))
	count, size := 0, 0
	for _, payload := range payloads {
		n := wire.SizeMessage(&head, len(payload))
		room -= int64(api.Charge(n))
		if count > 0 && (room < 0 || size+n > provider.MaxSeries) {
			break
		}
		count, size = count+1, size+n
		head.Seq++
	}
	series := provider.NewSeries(count, size)
	for _, payload := range payloads[:count] {
		r.seq++
		head.Seq = r.seq
		wire.AppendMessage(series.Add(wire.SizeMessage(&head, len(payload)), tagOf(r.seq, tagMessage)), &head, payload)
	}
	r.receivers.AppendSeries(series, except(s))
	return count
}

// except returns who does not get s.
func except(s *send) *provider.Resource {
	if s.from.options.Echo {
		return nil
	}
	return s.from.resource
}

func (r *room) refuse(s *send, err error) { s.call.Reply(provider.Result{}, err) }

// canTake reports whether c is nobody to wait for before a body of so many bytes
// is queued.
func (c *connection) canTake(body int) bool { return c.lossy() || c.resource.Fits(body) }

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

// head returns what s is to be if it is the room's next event.
func (r *room) head(s *send) wire.MessageHead {
	head := wire.MessageHead{Seq: r.seq + 1, Time: r.now, From: s.from.name, UID: s.from.uid}
	if s.alone {
		head.To = s.to
		if to := r.target(s); to != nil {
			head.To = to.name
		}
	}
	return head
}

// size returns how many bytes s takes if it is the room's next event.
func (r *room) size(s *send) int {
	head := r.head(s)
	return wire.SizeMessage(&head, len(s.payload))
}
