package notification

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"crier.local/api"
	"crier.local/api/wire"
	"crier.local/client"
)

// Connection is a seat in a room. It outlives the link to the provider: when
// that is lost the connection is opened again, by the same room and name, as
// soon as the provider is back. Its methods may be called concurrently.
//
// Sending waits for the link, and while the connection's window is used up,
// until the context ends; then nothing was sent. If the answer was outstanding
// when the context or the link ended, the error wraps [api.ErrOutcomeUnknown];
// nothing is ever sent twice. At the connection's end, sends and Receive return
// why: [api.ErrClosed], [api.ErrGone], [api.ErrNameTaken] (somebody took the
// name while the link was lost) or another error of [Client.Connect] that the
// provider had for it then, or an [*api.EvictedError].
type Connection struct {
	client *Client
	room   string
	in     intake
	naming turn // who reads or changes the name, across a call
	close  sync.Once

	// live is what sends go to; nil if they are to look closer, at mu.
	live  atomic.Pointer[client.Resource]
	limit atomic.Int64 // of payloads, in bytes

	mu      sync.Mutex
	asked   api.Connect // with the present name
	name    string      // the one it goes by
	last    *segment
	coming  []*segment // those that receiving has not come to
	closing bool
	err     error          // why it is over; nil while it lives
	changed chan struct{}  // closed and replaced when one of the above changes
	unsaid  client.Flushed // of earlier segments: what the next Flush tells
	missing error          // of earlier segments: posts whose end is not known
}

func newConnection(c *Client, o api.Connect, seg *segment) *Connection {
	x := &Connection{
		client: c, room: o.Room, asked: o, name: seg.name, naming: newTurn(),
		last: seg, coming: []*segment{seg}, changed: make(chan struct{}),
	}
	x.in.turn = newTurn()
	x.live.Store(seg.resource)
	x.limit.Store(int64(seg.limit))
	return x
}

// Room returns the room's name.
func (x *Connection) Room() string { return x.room }

// Name returns the name that the connection goes by; one that was given none
// has client-SESSION-HANDLE, and another after each loss of the link.
func (x *Connection) Name() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.name
}

// Handle returns the number by which the provider knows the connection now.
func (x *Connection) Handle() api.Handle {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.last.resource.Handle()
}

// Send sends payload to all others in the room that receive, and waits until the
// provider has queued it for each, or for none of them. The payload may be reused then.
//
// Errors: [api.ErrTooLarge]; [api.ErrFull] if it waited too long for a receiver
// while others waited for this one; and those of the connection.
func (x *Connection) Send(ctx context.Context, payload []byte) (api.Receipt, error) {
	if err := x.check(payload); err != nil {
		return api.Receipt{}, err
	}
	return x.receipt(x.invoke(ctx, api.MethodSend, payload))
}

// SendTo is [Connection.Send] to the connection that has the name; a receipt
// with no receivers says that there was none.
func (x *Connection) SendTo(ctx context.Context, name string, payload []byte) (api.Receipt, error) {
	if err := x.check(payload); err != nil {
		return api.Receipt{}, err
	}
	return x.receipt(x.invoke(ctx, api.MethodSendTo, wire.EncodeSendTo(name, payload)))
}

// check returns an error if payload is more than the provider takes.
func (x *Connection) check(payload []byte) error {
	return wire.CheckMessage(len(payload), int(x.limit.Load()))
}

func (x *Connection) receipt(body []byte, err error) (api.Receipt, error) {
	if err != nil {
		return api.Receipt{}, err
	}
	receipt, err := wire.DecodeReceipt(body)
	receipt.Room = x.room
	return receipt, err
}

// Post is [Connection.Send] without waiting for the receipt; what became of it
// is told by [Connection.Flush]. Posts and sends of one goroutine keep their
// order. The payload may be reused once it returns.
func (x *Connection) Post(ctx context.Context, payload []byte) error {
	if err := x.check(payload); err != nil {
		return err
	}
	var r *client.Resource
	for {
		var err error
		if r, err = x.resource(ctx, r); err != nil {
			return err
		}
		if err = r.Post(ctx, api.MethodSend, payload); !lost(err) {
			return err
		}
	}
}

// Flush waits until every earlier post has ended, and returns how those ended
// that no Flush has told of. If the link was lost under some of them, the error
// wraps [api.ErrOutcomeUnknown], once. If ctx ends first the next Flush tells.
func (x *Connection) Flush(ctx context.Context) (client.Flushed, error) {
	x.mu.Lock()
	r := x.last.resource
	x.mu.Unlock()
	report, err := r.Flush(ctx)
	if err != nil && !errors.Is(err, api.ErrOutcomeUnknown) {
		return report, err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	report = sum(x.unsaid, report)
	if x.missing != nil {
		err = x.missing
	}
	x.unsaid, x.missing = client.Flushed{}, nil
	return report, err
}

// sum adds what was told first and what was told then.
func sum(first, then client.Flushed) client.Flushed {
	first.Ended += then.Ended
	first.Refused += then.Refused
	if first.Err == nil {
		first.Err = then.Err
	}
	return first
}

// Rename changes the connection's name, which it will also go by after a loss
// of the link. Errors: [api.ErrBadName], [api.ErrNameTaken], and those of the
// connection.
func (x *Connection) Rename(ctx context.Context, name string) error {
	if err := api.CheckName(name); err != nil {
		return err
	}
	if err := x.client.needs(api.MethodRename); err != nil {
		return err
	}
	var r *client.Resource
	for {
		var err error
		if r, err = x.resource(ctx, r); err != nil {
			return err
		}
		again, err := x.client.again(ctx, x.rename(ctx, r, name), r.Err)
		if !again {
			return err
		}
	}
}

// rename keeps the connection from being reopened by a name that it has, or has
// no longer.
func (x *Connection) rename(ctx context.Context, r *client.Resource, name string) error {
	if err := x.naming.take(ctx); err != nil {
		return err
	}
	defer x.naming.leave()
	if _, err := r.Invoke(ctx, api.MethodRename, wire.EncodeRename(name)); err != nil {
		return err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.asked.Name, x.name = name, name
	return nil
}

// Members returns those in the room, itself included.
func (x *Connection) Members(ctx context.Context) ([]api.Member, error) {
	body, err := x.invoke(ctx, api.MethodMembers, nil)
	if err != nil {
		return nil, err
	}
	return wire.DecodeMembers(body)
}

// invoke calls a method on the connection. It is called again if the link was
// lost before it was sent.
func (x *Connection) invoke(ctx context.Context, m api.Method, args []byte) ([]byte, error) {
	if err := x.client.needs(m); err != nil {
		return nil, err
	}
	var r *client.Resource
	for {
		var err error
		if r, err = x.resource(ctx, r); err != nil {
			return nil, err
		}
		body, err := r.Invoke(ctx, m, args)
		again, err := x.client.again(ctx, err, r.Err)
		if !again {
			return body, err
		}
	}
}

// resource returns what sends go to, other than past, which was lost. It waits
// for the link.
func (x *Connection) resource(ctx context.Context, past *client.Resource) (*client.Resource, error) {
	for {
		r := x.live.Load()
		if r != nil && r != past {
			return r, nil
		}
		x.mu.Lock()
		moved, err, changed := x.live.Load() != r, x.overLocked(), x.changed
		x.mu.Unlock()
		switch {
		case moved:
			continue
		case err != nil:
			return nil, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (x *Connection) overLocked() error {
	if x.err == nil && x.closing {
		return api.ErrClosed
	}
	return x.err
}

// Close waits until earlier posts have ended, up to 10 seconds, and closes the
// connection, which others in the room are told. Then calls that wait end with
// [api.ErrClosed], Receive after what had arrived. It returns the error of a
// post that was refused, or whose outcome is unknown, if no Flush has told of it.
// Closing twice is no error; the second waits for the first.
func (x *Connection) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeWait)
	defer cancel()
	return x.closeBy(ctx)
}

// CloseWith is [Connection.Close] for gateways: others are told that the
// connection left for the reason given, and that this process said so.
func (x *Connection) CloseWith(reason api.Reason, note string) error {
	if x.client.needs(api.MethodCloseWith) != nil {
		return x.Close()
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeWait)
	defer cancel()
	return x.end(ctx, func(r *client.Resource) error {
		_, err := r.Invoke(ctx, api.MethodCloseWith, wire.EncodeCloseWith(reason, note))
		r.Close()
		return err
	})
}

func (x *Connection) closeBy(ctx context.Context) error {
	return x.end(ctx, (*client.Resource).Close)
}

// end lets nothing more be sent, flushes, and closes the resource.
func (x *Connection) end(ctx context.Context, closeResource func(*client.Resource) error) (err error) {
	x.close.Do(func() {
		r := x.beginEnd()
		report, lost := x.Flush(ctx)
		switch {
		case lost != nil && ctx.Err() != nil:
			err = fmt.Errorf("close: %w of posts: %w", api.ErrOutcomeUnknown, lost)
		case lost != nil:
			err = lost
		default:
			err = report.Err
		}
		if failed := closeResource(r); err == nil {
			err = failed
		}
		x.finish(api.ErrClosed)
	})
	return err
}

func (x *Connection) beginEnd() *client.Resource {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.closing = true
	x.changeLocked(nil)
	return x.last.resource
}

// finish ends the connection because of err, unless it has ended or is being closed.
func (x *Connection) finish(err error) {
	x.client.forget(x)
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.err != nil {
		return
	}
	x.err = err
	if x.closing {
		x.err = api.ErrClosed
	}
	x.changeLocked(nil)
}

// ended returns why the connection is over, or nil.
func (x *Connection) ended() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.err
}

// changeLocked sets what sends go to, and tells those who wait for a change.
func (x *Connection) changeLocked(live *client.Resource) {
	x.live.Store(live)
	close(x.changed)
	x.changed = make(chan struct{})
}
