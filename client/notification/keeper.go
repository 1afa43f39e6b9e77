package notification

import (
	"context"
	"errors"
	"time"

	"crier.local/api"
)

// How connections are reopened.
const (
	// retryPause is between attempts to get one back that was refused for now.
	retryPause = 100 * time.Millisecond
	// retryFor is how long that is tried; it is the provider's stall deadline, by
	// which whoever holds the name without cause is gone.
	retryFor = 5 * time.Second
)

// keep is the client's one goroutine: it reopens the connections after each new
// attachment. It ends when there will be no other, and Close joins it.
func (c *Client) keep(ctx context.Context) {
	for after := uint64(0); ; {
		a, err := c.client.Attached(ctx, after)
		if err != nil {
			c.abandon(err)
			return
		}
		after = a.Number
		c.reopen(ctx, a.Number, c.begin(a.Number))
	}
}

// begin returns the connections to be reopened over an attachment.
func (c *Client) begin(number uint64) []*Connection {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pass = number
	return c.listLocked()
}

// abandon ends all connections, because there will be no other attachment.
func (c *Client) abandon(err error) {
	c.mu.Lock()
	list := c.listLocked()
	c.mu.Unlock()
	for _, x := range list {
		x.finish(err)
	}
}

// reopen reopens those of list that lost their link, over the attachment with
// that number. Those that are refused end, except that what may pass, as when
// somebody else took the name, is tried again for a while. It leaves when the
// link is lost again.
func (c *Client) reopen(ctx context.Context, number uint64, list []*Connection) {
	for deadline := time.Now().Add(retryFor); len(list) > 0; {
		var refused []*Connection
		for _, x := range list {
			err := x.reopen(ctx)
			switch {
			case err == nil:
			case leaves(err) || !c.holds(ctx, number):
				return
			case passes(err) && time.Now().Before(deadline):
				refused = append(refused, x)
			default:
				x.finish(err)
			}
		}
		list = refused
		if len(list) > 0 && !sleep(ctx, retryPause) {
			return
		}
	}
}

// leaves reports whether err says that the provider is lost, or about to go:
// then it refuses everything with [api.ErrClosed] until it has gone.
func leaves(err error) bool {
	return errors.Is(err, api.ErrDisconnected) || errors.Is(err, api.ErrGone) || errors.Is(err, api.ErrClosed)
}

// passes reports whether a refusal may be gone by itself.
func passes(err error) bool {
	return errors.Is(err, api.ErrNameTaken) || errors.Is(err, api.ErrTooMany) || errors.Is(err, api.ErrFull)
}

// holds reports whether the attachment with that number is the last, and ctx on.
func (c *Client) holds(ctx context.Context, number uint64) bool {
	a, err := c.client.Attached(ctx, 0)
	return err == nil && a.Number == number && ctx.Err() == nil
}

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
