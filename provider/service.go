package provider

import (
	"context"

	"crier.local/api"
)

// Handler serves the calls of a service. Handle is called on a goroutine of its
// own. The calls of a process begin one after the other, in the order in which
// they came, and then run at the same time, up to 16, unless the service is
// sequential: what must not overtake needs that, or an [InlineHandler]. The
// context ends when the caller cancels or its time is over, and when its session
// ends. An error goes to the caller, as a sentinel of package api or else as an
// [*api.CallError]; so does a panic, and nobody else notices.
type Handler interface {
	Handle(ctx context.Context, c *Call) (Result, error)
}

// InlineHandler is a second power of a Handler: HandleInline gets every call
// first, in the order in which the process sent them, on the goroutine that
// reads what the process says. It must not block. It returns false to leave a
// call to Handle; else it must have replied to it, or parked it.
type InlineHandler interface {
	HandleInline(c *Call) (taken bool)
}

// PostHandler is a third power of an [InlineHandler]: HandlePosts gets posts of one
// method on one resource that came in a row. What HandleInline is told holds for
// it too; it may end some by [Call.Done] first. If it returns false, none has
// ended, and they come one by one.
type PostHandler interface {
	HandlePosts(c *Call) (taken bool)
}

// SessionOpener is a second power of a Handler: it hears of every session before
// the first call in it. It must not block.
type SessionOpener interface {
	SessionOpened(s *Session)
}

// SessionCloser is a second power of a Handler: it hears, once, of sessions that
// have ended together, which is one, or all of a process that ended. By then
// every resource of theirs is closed. It must not block.
type SessionCloser interface {
	SessionsClosed(sessions []*Session, reason api.Reason)
}

// ServiceOptions say how a service is offered. The zero value is a good default.
type ServiceOptions struct {
	// Priority decides when several providers fit. 0: api.PriorityNormal.
	Priority api.Priority
	// Tags are added to the provider's.
	Tags []string
	// Sequential serves the calls of a session one by one.
	Sequential bool
}

// service is a service that the provider offers.
type service struct {
	provider   *Provider
	selector   api.Selector
	handler    Handler
	inline     InlineHandler // handler's second power, or nil
	poster     PostHandler   // its third, or nil
	priority   api.Priority
	tags       []string
	sequential bool
}
