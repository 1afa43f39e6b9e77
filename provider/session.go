package provider

import (
	"fmt"
	"sync"
	"time"

	"crier.local/api"
)

// Session is one opening of one service by one process.
type Session struct {
	process *process
	service *service
	id      api.SessionID
	asked   api.Selector
	since   time.Time

	// The process's lock guards what follows.
	resources map[api.Handle]*Resource
	ending    bool // nothing can be born any more
	busy      bool // a call of a sequential service runs

	closings sync.WaitGroup // resources whose OnClosed has not returned; added to under the lock
}

// ID returns the number by which both sides know s.
func (s *Session) ID() api.SessionID { return s.id }

// Identity returns what the kernel says about the client's process.
func (s *Session) Identity() api.Identity { return s.process.peer.identity }

// Asked returns the selector the client opened s with.
func (s *Session) Asked() api.Selector { return s.asked }

// Since returns when s was opened.
func (s *Session) Since() time.Time { return s.since }

// Ending reports whether s is being closed, rather than one resource of it.
func (s *Session) Ending() bool {
	s.process.mu.Lock()
	defer s.process.mu.Unlock()
	return s.ending
}

// NewResource makes a resource that the provider holds for s, with what it
// stands for as its owner. It fails with [api.ErrClosed] once s is closed, which
// a call may well meet that still runs then, and with [api.ErrTooMany] when the
// process holds as many as it may.
func (s *Session) NewResource(owner any, o ResourceOptions) (*Resource, error) {
	r := &Resource{
		session: s, out: s.process.out, owner: owner,
		onClosed: o.OnClosed, overflow: o.Overflow, progress: o.Progress,
		receiveWindow: orDefault(int64(o.ReceiveWindow), defaultWindow),
	}
	r.queue = queue{
		limit:   orDefault(int64(o.Queue), defaultQueue),
		reserve: orDefault(int64(o.Reserve), defaultReserve),
		credit:  r.receiveWindow,
		held:    true,
	}
	r.inbound.window = orDefault(int64(o.SendWindow), defaultWindow)
	r.inbound.left = r.inbound.window

	p := s.process
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case s.ending:
		return nil, fmt.Errorf("session %d: %w", s.id, api.ErrClosed)
	case p.resources >= p.p.options.Limits.Resources:
		return nil, fmt.Errorf("%w: the process holds %d resources already", api.ErrTooMany, p.resources)
	}
	r.handle = p.p.handles.take(o.Notifiable)
	s.resources[r.handle] = r
	p.resources++
	if o.Notifiable {
		r.out.ledger.join(1)
	}
	return r, nil
}

// Resource returns the resource that h names in s, or [api.ErrUnknownHandle].
func (s *Session) Resource(h api.Handle) (*Resource, error) {
	s.process.mu.Lock()
	defer s.process.mu.Unlock()
	if r, ok := s.resources[h]; ok {
		return r, nil
	}
	return nil, api.ErrUnknownHandle
}

// Lookup returns the owner of the resource that h names in s. A handle that is
// unknown, closed, another session's or another kind's is [api.ErrUnknownHandle].
func Lookup[T any](s *Session, h api.Handle) (T, error) {
	r, err := s.Resource(h)
	if err == nil {
		if owner, ok := r.owner.(T); ok {
			return owner, nil
		}
	}
	var none T
	return none, api.ErrUnknownHandle
}
