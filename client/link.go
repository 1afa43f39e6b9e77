package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"crier.local/api"
	"crier.local/api/wire"
)

// closeWait bounds how long a Close waits for the provider to confirm.
const closeWait = 5 * time.Second

// link is one attachment: a stream, and all that lives and dies with it.
//
// Two goroutines work for it, the reader ([link.read]) and the writer
// ([link.write]). The reader is the one that learns of the stream's end and
// holds the funeral ([link.bury]); the redial loop joins both.
type link struct {
	ctx        context.Context // the stream's
	cancel     context.CancelCauseFunc
	stream     wire.Stream
	address    api.Endpoint
	terms      wire.Terms
	attachment Attachment
	reader     reader
	workers    sync.WaitGroup

	mu        sync.Mutex
	err       error            // why it is over; nil while it lives
	calls     map[uint32]*call // those unanswered
	lastCall  uint32
	sessions  map[api.SessionID]*Session
	resources map[api.Handle]*Resource
	out       outbox
}

func newLink(life context.Context, address api.Endpoint) *link {
	l := &link{
		address:   address,
		calls:     map[uint32]*call{},
		sessions:  map[api.SessionID]*Session{},
		resources: map[api.Handle]*Resource{},
	}
	l.ctx, l.cancel = context.WithCancelCause(life)
	l.out.wake.L = &l.mu
	l.reader.link = l
	return l
}

// start starts the reader and the writer.
func (l *link) start() {
	l.workers.Go(func() { l.bury(l.reader.run()) })
	l.workers.Go(l.write)
}

// wait returns when the link is over and both its goroutines have ended.
func (l *link) wait() { l.workers.Wait() }

// bury ends everything that hangs on the link, because of err.
func (l *link) bury(err error) {
	err = l.epitaph(err)
	l.cancel(err)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = err
	l.out.drop()
	for _, c := range l.calls {
		l.finishLocked(c, answer{err: c.lost(err)})
	}
	for _, s := range l.sessions {
		s.endLocked(err)
	}
}

// epitaph returns the error that everyone sees when the stream ends with err.
func (l *link) epitaph(err error) error {
	cause := context.Cause(l.ctx)
	switch {
	case errors.Is(cause, api.ErrClosed):
		return cause
	case errors.Is(err, api.ErrGone):
		return err
	case errors.Is(err, io.EOF):
		return api.ErrDisconnected
	case cause != nil:
		err = cause // the writer's trouble
	}
	return fmt.Errorf("%w: %v", api.ErrDisconnected, err)
}

// leave closes every session, after what was sent before, and waits for the
// provider to confirm.
func (l *link) leave() {
	l.mu.Lock()
	var calls []*call
	for _, s := range l.sessions {
		s.endLocked(api.ErrClosed)
		calls = append(calls, l.closeLocked(wire.ClientEntry{Kind: wire.CloseSession, Session: s.id}))
	}
	l.mu.Unlock()
	timer := time.NewTimer(closeWait)
	defer timer.Stop()
	for _, c := range calls {
		select {
		case <-c.answer:
		case <-timer.C:
			return
		}
	}
}

// closeLocked queues a closing as a call. It goes in however full the outbox
// is: there are no more closings than things to close.
func (l *link) closeLocked(e wire.ClientEntry) *call {
	c := newCall(e.Kind)
	if l.err != nil {
		c.answer <- answer{err: l.err}
		return c
	}
	l.addCallLocked(c)
	e.Call = c.id
	l.out.append(e)
	return c
}

// confirm waits until the provider has answered a closing. What is gone already
// is closed as well.
func (c *call) confirm() error {
	timer := time.NewTimer(closeWait)
	defer timer.Stop()
	select {
	case a := <-c.answer:
		if lost(a.err) || errors.Is(a.err, api.ErrUnknownHandle) || errors.Is(a.err, api.ErrClosed) {
			return nil
		}
		return a.err
	case <-timer.C:
		return fmt.Errorf("close: the provider did not answer within %v", closeWait)
	}
}

// lost reports whether err says that the link is over.
func lost(err error) bool {
	return errors.Is(err, api.ErrDisconnected) || errors.Is(err, api.ErrGone)
}
