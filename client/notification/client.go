package notification

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"crier.local/api"
	"crier.local/api/wire"
	"crier.local/client"
)

// closeWait bounds what Close waits for the posts of a connection to end. It is
// above the provider's stall deadline, which ends those that wait for a slow
// receiver.
const closeWait = 10 * time.Second

// Client is the notification service as one process sees it. All its
// connections share a session, opened when the first is made and again after
// each loss of the provider. Its methods may be called concurrently; they wait
// for the provider while it is lost, until their context ends.
type Client struct {
	client *client.Client
	owned  bool // Close closes client

	life   context.Context // ends with Close
	end    context.CancelFunc
	keeper sync.WaitGroup
	close  sync.Once
	opener turn // who opens the session

	mu          sync.Mutex
	session     *client.Session // the last one; nil before the first
	limited     error           // what the service of session is too old for; nil if it is not
	pass        uint64          // the attachment for which connections are, or were, last reopened
	connections map[*Connection]struct{}
	closed      bool
}

// Dial attaches to a provider by [client.Dial], whose errors it returns. Close
// ends the attachment.
func Dial(ctx context.Context, o client.Options) (*Client, error) {
	attached, err := client.Dial(ctx, o)
	if err != nil {
		return nil, err
	}
	c := New(attached)
	c.owned = true
	return c, nil
}

// New uses an attachment that there is, and that Close leaves as it is.
func New(attached *client.Client) *Client {
	c := &Client{client: attached, opener: newTurn(), connections: map[*Connection]struct{}{}}
	c.life, c.end = context.WithCancel(context.Background())
	c.keeper.Go(func() { c.keep(c.life) })
	return c
}

// Provider describes the provider of the last attachment.
func (c *Client) Provider() client.Provider { return c.client.Provider() }

// Ping returns when the provider has answered.
func (c *Client) Ping(ctx context.Context) error { return c.client.Ping(ctx) }

// Who returns the connections in a room, or in all rooms if room is empty.
func (c *Client) Who(ctx context.Context, room string) ([]api.Seat, error) {
	if room != "" {
		if err := api.CheckRoom(room); err != nil {
			return nil, err
		}
	}
	body, err := c.invoke(ctx, api.MethodWho, wire.EncodeWho(room))
	if err != nil {
		return nil, err
	}
	return wire.DecodeSeats(body)
}

// Rooms returns the rooms there are.
func (c *Client) Rooms(ctx context.Context) ([]api.RoomInfo, error) {
	body, err := c.invoke(ctx, api.MethodRooms, nil)
	if err != nil {
		return nil, err
	}
	return wire.DecodeRooms(body)
}

// Close closes the connections as [Connection.Close] does, then the session. It
// returns the first error of a connection. Closing twice is no error; the second
// waits for the first.
func (c *Client) Close() (err error) {
	c.close.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), closeWait)
		defer cancel()
		for _, x := range c.shut() {
			if failed := x.closeBy(ctx); err == nil {
				err = failed
			}
		}
		c.end()
		c.keeper.Wait()
		if c.session != nil { // nobody replaces it any more
			c.session.Close()
		}
		if c.owned {
			c.client.Close()
		}
	})
	return err
}

// shut lets no new connection in, and returns those there are.
func (c *Client) shut() []*Connection {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	return c.listLocked()
}

func (c *Client) listLocked() []*Connection {
	var list []*Connection
	for x := range c.connections {
		list = append(list, x)
	}
	return list
}

// forget takes x off the list of those to be reopened.
func (c *Client) forget(x *Connection) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.connections, x)
}

// invoke calls a method that is about no connection. It is called again if the
// link was lost before it was sent.
func (c *Client) invoke(ctx context.Context, m api.Method, args []byte) ([]byte, error) {
	for {
		s, err := c.open(ctx)
		if err != nil {
			return nil, err
		}
		if err := c.needs(m); err != nil {
			return nil, err
		}
		body, err := s.Invoke(ctx, m, args)
		if again, err := c.again(ctx, err, s.Err); !again {
			return body, err
		}
	}
}

// again decides what comes after a call that failed with err, when ended tells why
// what it went to has ended. It reports whether the call is to be made again,
// over the next link, since nothing was done. A provider that goes away refuses
// everything; it is not asked again, so again waits until it has gone.
func (c *Client) again(ctx context.Context, err error, ended func() error) (bool, error) {
	if !refusedByLeaver(err) {
		return lost(err) && ended() != nil, err
	}
	for ended() == nil {
		if err := c.pause(ctx); err != nil {
			return false, err
		}
	}
	return lost(ended()), err
}

// pause lets retryPause pass. It returns an error if ctx or the client ends
// meanwhile.
func (c *Client) pause(ctx context.Context) error {
	if _, err := c.usable(); err != nil {
		return err
	}
	bounded, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.life, cancel)()
	switch {
	case sleep(bounded, retryPause):
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	default:
		return api.ErrClosed
	}
}

// needs returns an error if the provider's service is too old for m.
func (c *Client) needs(m api.Method) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if m == api.MethodConnect || m == api.MethodSend {
		return nil
	}
	return c.limited
}

// open returns the session, which it opens if there is none that lives. It waits
// for an attachment if there is none.
func (c *Client) open(ctx context.Context) (*client.Session, error) {
	if err := c.opener.take(ctx); err != nil {
		return nil, err
	}
	defer c.opener.leave()
	if s, err := c.usable(); s != nil || err != nil {
		return s, err
	}
	for after := uint64(0); ; {
		a, err := c.attached(ctx, after)
		if err != nil {
			return nil, err
		}
		s, limited, err := c.openVersion(ctx)
		switch {
		case err == nil:
			return c.adopt(s, limited)
		case refusedByLeaver(err):
			if err := c.pause(ctx); err != nil {
				return nil, err
			}
		case lost(err):
			after = a.Number
		default:
			return nil, err
		}
	}
}

// attached is [client.Client.Attached] that ends with Close.
func (c *Client) attached(ctx context.Context, after uint64) (client.Attachment, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(c.life, func() { cancel(api.ErrClosed) })()
	a, err := c.client.Attached(ctx, after)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return a, err
}

// usable returns the session if it lives, or an error if there is to be none.
func (c *Client) usable() (*client.Session, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return nil, api.ErrClosed
	case c.session == nil || c.session.Err() != nil:
		return nil, nil
	default:
		return c.session, nil
	}
}

// openVersion opens a session of the newest version that both sides have. If it
// is 1.0, limited says what the provider was asked for in vain.
func (c *Client) openVersion(ctx context.Context) (s *client.Session, limited, err error) {
	asked := api.NotificationSelector
	s, err = c.client.Open(ctx, asked)
	if refusal, ok := errors.AsType[*api.VersionError](err); ok && refusal.Provided.Accepts(basic()) {
		s, err = c.client.Open(ctx, basic())
		limited = refusal
	}
	return s, limited, err
}

// basic is the oldest version of the service.
func basic() api.Selector {
	return api.Selector{UUID: api.NotificationUUID, Major: api.NotificationSelector.Major}
}

// adopt makes s the client's session, unless that is closed.
func (c *Client) adopt(s *client.Session, limited error) (*client.Session, error) {
	c.mu.Lock()
	closed := c.closed
	if !closed {
		c.session, c.limited = s, limited
	}
	c.mu.Unlock()
	if closed {
		s.Close()
		return nil, api.ErrClosed
	}
	return s, nil
}

// Connect makes a connection as o says. It is there, and hears everything, when
// Connect returns.
//
// Errors: [api.ErrBadName], [api.ErrNameTaken], [api.ErrTooMany], a
// [*api.VersionError] if the provider has only version 1.0 and o asks for more,
// [api.ErrGone], [api.ErrClosed], or ctx's; then there is no connection.
func (c *Client) Connect(ctx context.Context, o api.Connect) (*Connection, error) {
	if o.Room == "" {
		o.Room = api.DefaultRoom
	}
	if err := api.CheckRoom(o.Room); err != nil {
		return nil, err
	}
	if o.Name != "" {
		if err := api.CheckName(o.Name); err != nil {
			return nil, err
		}
	}
	for {
		seg, err := c.connect(ctx, o)
		switch {
		case err == nil:
			x := newConnection(c, o, seg)
			if ok, err := c.add(x, seg); err != nil {
				return nil, err
			} else if ok {
				return x, nil
			}
		case ctx.Err() != nil:
			return nil, ctx.Err() // if it did come about, it is closed unseen
		case refusedByLeaver(err):
			if err := c.pause(ctx); err != nil {
				return nil, err
			}
		case !errors.Is(err, api.ErrDisconnected):
			return nil, err
		}
	}
}

// add puts x on the list of those to be reopened. It reports false if that has
// begun already for a later attachment than x's.
func (c *Client) add(x *Connection, seg *segment) (bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false, api.ErrClosed // x ends with the session
	}
	if seg.attachment.Number < c.pass {
		return false, nil
	}
	c.connections[x] = struct{}{}
	return true, nil
}

// connect opens one connection over the session.
func (c *Client) connect(ctx context.Context, o api.Connect) (*segment, error) {
	s, err := c.open(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.needsOf(o); err != nil {
		return nil, err
	}
	r, body, err := s.InvokeResource(ctx, api.MethodConnect, wire.EncodeConnect(o))
	if err != nil {
		return nil, err
	}
	if r == nil {
		return nil, errors.New("connect: the provider returned no connection")
	}
	result, err := wire.DecodeConnected(body)
	if err != nil {
		r.Close()
		return nil, fmt.Errorf("connect: %w", err)
	}
	return &segment{
		resource: r, attachment: s.Attachment(), name: result.Name, seq: result.Seq,
		limit: c.client.Provider().MaxMessage,
	}, nil
}

// needsOf returns an error if the provider's service is too old for o.
func (c *Client) needsOf(o api.Connect) error {
	if (o == api.Connect{Room: api.DefaultRoom}) {
		return nil
	}
	return c.needs(api.MethodRename) // any that came with 1.1
}

// refusedByLeaver reports whether err may be the refusal of a provider that goes
// away but is not gone: nothing was done then. It is also what a client or
// connection has that was closed here.
func refusedByLeaver(err error) bool {
	return errors.Is(err, api.ErrClosed) && !errors.Is(err, api.ErrOutcomeUnknown)
}

// lost reports whether err says that the link was lost before anything was sent.
func lost(err error) bool {
	return (errors.Is(err, api.ErrDisconnected) || errors.Is(err, api.ErrGone)) && !errors.Is(err, api.ErrOutcomeUnknown)
}
