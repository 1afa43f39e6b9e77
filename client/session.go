package client

import (
	"context"

	"crier.local/api"
	"crier.local/api/wire"
)

// Session is one opening of a service. It ends with Close or with the
// attachment it was opened over, whichever comes first. Its methods may be
// called concurrently.
type Session struct {
	link     *link
	id       api.SessionID
	provided api.Selector

	// guarded by the link's mutex:
	err       error // why it is over; nil while it lives
	resources map[api.Handle]*Resource
}

// ID returns the session's number, the same as in the provider.
func (s *Session) ID() api.SessionID { return s.id }

// Provided returns the version of the service that the provider has.
func (s *Session) Provided() api.Selector { return s.provided }

// Attachment returns the attachment that s was opened over.
func (s *Session) Attachment() Attachment { return s.link.attachment }

// Err returns why the session is over, or nil: [api.ErrDisconnected],
// [api.ErrGone] or [api.ErrClosed].
func (s *Session) Err() error {
	s.link.mu.Lock()
	defer s.link.mu.Unlock()
	return s.err
}

// Invoke calls method m and waits for its result, which the caller may keep. It
// never sends anything twice. args may be reused once it returns.
//
// If nothing was sent the error is ctx's, [api.ErrTooLarge] or that of
// [Session.Err]. If the answer was outstanding when ctx or the link ended, the
// error wraps [api.ErrOutcomeUnknown] as well as the cause. All else is the
// provider's word: one of the errors of package api, or an [*api.CallError].
func (s *Session) Invoke(ctx context.Context, m api.Method, args []byte) ([]byte, error) {
	a, err := s.link.call(ctx, s.request(m, args))
	return a.body, err
}

// InvokeResource is [Session.Invoke] for methods that return a resource; it is
// nil if this one returned none.
func (s *Session) InvokeResource(ctx context.Context, m api.Method, args []byte) (*Resource, []byte, error) {
	q := s.request(m, args)
	q.call = newCall(wire.Invoke)
	q.call.keeps = true
	a, err := s.link.call(ctx, q)
	return a.resource, a.body, err
}

func (s *Session) request(m api.Method, args []byte) request {
	return request{
		entry:   wire.ClientEntry{Kind: wire.Invoke, Session: s.id, Method: m, Args: args},
		session: s,
	}
}

// Close closes the session and its resources, after everything that was sent
// before, and waits up to 5 seconds for the provider to confirm. Closing what is
// over is no error.
func (s *Session) Close() error {
	s.link.mu.Lock()
	if s.err != nil {
		s.link.mu.Unlock()
		return nil
	}
	s.endLocked(api.ErrClosed)
	c := s.link.closeLocked(wire.ClientEntry{Kind: wire.CloseSession, Session: s.id})
	s.link.mu.Unlock()
	return c.confirm()
}

// endLocked ends the session and its resources because of err, if it lives.
func (s *Session) endLocked(err error) {
	if s.err != nil {
		return
	}
	s.err = err
	delete(s.link.sessions, s.id)
	for _, r := range s.resources {
		r.endLocked(nil, err)
	}
}
