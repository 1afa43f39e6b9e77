package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"crier.local/api"
	"crier.local/api/wire"
)

// How a lost provider is redialled.
const (
	minDelay = 50 * time.Millisecond // what the first pause is drawn from, from 0 up
	maxDelay = 5 * time.Second       // what the longest are
	// patience is how long a provider has to answer a hello.
	patience = 10 * time.Second
)

// keep is the client's redial loop, its only goroutine besides the two of the
// attachment. It ends when the client is closed or gives up; Close joins it.
func (c *Client) keep(l *link) {
	attempt := 0
	for {
		began := time.Now()
		l.wait()
		if time.Since(began) > maxDelay {
			attempt = 0 // it held: the next loss is a new one
		}
		if errors.Is(l.err, api.ErrClosed) {
			return
		}
		c.logger.Info("provider lost", "reason", l.err)
		if errors.Is(l.err, api.ErrGone) {
			c.finish(l.err)
			return
		}
		next := c.redial(&attempt)
		if next == nil {
			return
		}
		if !c.publish(next, l.attachment.Number+1) {
			next.cancel(api.ErrClosed)
			return
		}
		c.logger.Info("attached again", "provider", next.terms.Name, "epoch", next.terms.Epoch)
		l = next
	}
}

// redial attaches again, however long it takes; it returns nil when the client
// has ended.
func (c *Client) redial(attempt *int) *link {
	ctx, cancel := c.life, context.CancelFunc(func() {})
	if c.options.GiveUpAfter > 0 {
		ctx, cancel = context.WithTimeout(c.life, c.options.GiveUpAfter)
	}
	defer cancel()
	o := c.options
	o.Wait = -1 // this loop does the waiting
	last := errors.New("not tried")
	for ; ; *attempt++ {
		if !sleep(ctx, delay(*attempt)) {
			break
		}
		l, err := c.attach(ctx, o)
		switch {
		case err == nil:
			*attempt++
			return l
		case errors.Is(err, api.ErrGone):
			c.finish(err)
			return nil
		case ctx.Err() != nil: // err says no more than that
			continue
		case refused(err) && err.Error() != last.Error():
			c.logger.Warn("the provider cannot be attached to again; it is tried on", "error", err)
		default:
			c.logger.Debug("redial", "attempt", *attempt+1, "error", err)
		}
		last = err
	}
	c.finish(fmt.Errorf("%w: not attached again within %v: %v", api.ErrGone, c.options.GiveUpAfter, last))
	return nil
}

// refused reports whether err will hardly pass by itself: somebody has to mend
// something, and has to hear of it.
func refused(err error) bool {
	for _, lasting := range []error{api.ErrDenied, api.ErrVersion, api.ErrAmbiguous, ErrConfiguration} {
		if errors.Is(err, lasting) {
			return true
		}
	}
	return false
}

// delay draws the pause before an attempt: anything from nothing to a bound
// that doubles, so that the clients of a restarted provider don't come at once.
func delay(attempt int) time.Duration {
	bound := maxDelay
	if attempt < 7 { // 50 ms << 7 is over 5 s
		bound = min(bound, minDelay<<attempt)
	}
	return rand.N(bound)
}

// sleep pauses for d and reports whether ctx is still on.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// attach makes a link by a fresh transport and exchanges greetings. ctx bounds
// the attempt; the link itself lives as long as the client.
func (c *Client) attach(ctx context.Context, o Options) (*link, error) {
	transport, address := o.Transport, api.Endpoint{}
	if transport == nil {
		var err error
		if address, err = find(ctx, o); err != nil {
			return nil, err
		}
		transport = newTransport(address, o.TLS, c.logger)
	}
	ctx, done := context.WithTimeoutCause(ctx, patience, fmt.Errorf("%w: no answer within %v", api.ErrNoProvider, patience))
	defer done()
	l := newLink(c.life, address)
	stop := context.AfterFunc(ctx, func() { l.cancel(context.Cause(ctx)) })
	err := l.greet(transport, c.instance)
	if !stop() {
		err = context.Cause(ctx) // also when the greeting won: the stream is ending
	}
	if err != nil {
		l.cancel(err)
		return nil, err
	}
	return l, nil
}

// greet attaches, says hello and hears the welcome.
func (l *link) greet(transport wire.Transport, instance api.InstanceID) (err error) {
	if l.stream, err = transport.Attach(l.ctx); err != nil {
		return err
	}
	hello := wire.ClientEntry{Kind: wire.Hello, Version: api.WireVersion, Instance: instance}
	if err := l.stream.Send(&wire.Batch{Data: wire.AppendClient(wire.GetBuffer(), &hello)}); err != nil {
		return l.heard(err)
	}
	return l.heard(nil)
}

// heard reads the provider's first words. A hello that could not be sent
// (unsent) may have been refused, in words that are still to be read.
func (l *link) heard(unsent error) error {
	var batch wire.Batch
	if err := l.stream.Recv(&batch); err != nil {
		if unsent != nil {
			err = unsent
		}
		return fmt.Errorf("%w: no welcome: %v", api.ErrNoProvider, err)
	}
	l.reader.rest = wire.NewReader(batch.Data)
	e := &l.reader.entry
	if _, err := l.reader.rest.NextProvider(e); err != nil {
		return err
	}
	switch {
	case e.Kind == wire.Farewell:
		return parting(e)
	case e.Kind != wire.Welcome:
		return errors.New("malformed batch: no welcome in answer to the hello")
	case e.Welcome.WireVersion != api.WireVersion:
		return fmt.Errorf("%w: the provider speaks wire version %d, this client %d", api.ErrVersion, e.Welcome.WireVersion, api.WireVersion)
	case e.Welcome.Epoch == api.Epoch{}:
		return errors.New("malformed batch: welcome without an epoch")
	}
	l.terms = e.Welcome
	return nil
}

// parting returns the error that a farewell stands for: [api.ErrGone] if it is
// final, else the failure.
func parting(e *wire.ProviderEntry) error {
	err := e.Failure.Err()
	if err == nil {
		err = errors.New(e.Reason.String())
	}
	if e.Final {
		return fmt.Errorf("%w: %v", api.ErrGone, err)
	}
	return err
}
