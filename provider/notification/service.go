package notification

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"crier.local/api"
	"crier.local/provider"
)

// Options say how a [Service] behaves. The zero value is the default.
type Options struct {
	// Stall is how long senders wait for a connection that takes nothing before
	// it is evicted. 0: [DefaultStall].
	Stall time.Duration
	// MaxMessage is the largest payload in bytes. 0: 1 MiB.
	MaxMessage int
	// Queue is how many bytes are held for a connection, Reserve the part of it
	// that is kept for presence. 0: 4 MiB and 64 KiB.
	Queue, Reserve int
	// Logger gets a line for each eviction, unless it is too slow for them: nobody
	// waits for it. nil: none.
	Logger hclog.Logger
}

// Service is the notification service of one provider. Its methods are called by
// the provider, on any goroutine, and never block.
type Service struct {
	options Options // with defaults
	log     hclog.Logger
	reports chan struct{} // holds one for each that is on its way to the log

	// A room's lock comes before mu.
	mu     sync.Mutex
	rooms  map[string]*room
	high   api.Seq                      // the highest number of the rooms that ended
	visits map[*provider.Session]*visit // of the sessions that have connected
}

// maxReports is how many reports wait for the log; further ones are lost.
const maxReports = 16

// visit is what the service keeps of a session while it lasts. The service's
// lock guards it.
type visit struct {
	over    bool          // its departures are announced
	leaving []*connection // closed because the session ends, still to be announced
}

// New returns a service without rooms, to be given to [provider.Provider.Provide]
// for [api.NotificationSelector]. It needs no closing: its rooms end with the
// provider's sessions.
func New(o Options) *Service {
	if o.Stall == 0 {
		o.Stall = DefaultStall
	}
	if o.MaxMessage == 0 {
		o.MaxMessage = 1 << 20
	}
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	return &Service{
		options: o, log: o.Logger, reports: make(chan struct{}, maxReports),
		rooms:  map[string]*room{},
		visits: map[*provider.Session]*visit{},
	}
}

// Register makes p provide the notification service, with p's limit for messages
// unless o has one.
func Register(p *provider.Provider, o Options, so provider.ServiceOptions) (*Service, error) {
	if o.MaxMessage == 0 {
		o.MaxMessage = p.Limits().Message
	}
	s := New(o)
	return s, p.Provide(api.NotificationSelector, s, so)
}

// Handle is never reached: all calls are handled inline.
func (s *Service) Handle(_ context.Context, c *provider.Call) (provider.Result, error) {
	return provider.Result{}, noMethod(c.Method)
}

// HandleInline carries out a call, or parks it.
func (s *Service) HandleInline(c *provider.Call) bool {
	switch {
	case c.Method == api.MethodSend:
		s.send(c)
	case c.Method == api.MethodConnect:
		s.connect(c)
	case c.Session.Asked().Minor == 0:
		c.Reply(provider.Result{}, noMethod(c.Method))
	case c.Method == api.MethodSendTo:
		s.sendTo(c)
	case c.Method == api.MethodCloseWith:
		s.closeWith(c)
	default:
		body, err := s.answer(c)
		c.Reply(provider.Result{Body: body}, err)
	}
	return true
}

// answer carries out the methods that only return bytes.
func (s *Service) answer(c *provider.Call) ([]byte, error) {
	switch c.Method {
	case api.MethodRename:
		return nil, s.rename(c)
	case api.MethodWho:
		return s.who(c)
	case api.MethodRooms:
		return s.listRooms(), nil
	case api.MethodMembers:
		return s.members(c)
	default:
		return nil, noMethod(c.Method)
	}
}

func noMethod(m api.Method) error { return fmt.Errorf("%w: %d", api.ErrNoMethod, m) }

// SessionsClosed announces the connections that ended with sessions: in each room
// all of them at once.
func (s *Service) SessionsClosed(sessions []*provider.Session, reason api.Reason) {
	for r, leaving := range s.endVisits(sessions) {
		r.dismiss(leaving, reason)
	}
}

// endVisits forgets sessions and returns their departures by room.
func (s *Service) endVisits(sessions []*provider.Session) map[*room][]*connection {
	s.mu.Lock()
	defer s.mu.Unlock()
	leaving := map[*room][]*connection{}
	for _, session := range sessions {
		v := s.visits[session]
		if v == nil {
			continue
		}
		v.over = true
		delete(s.visits, session)
		for _, c := range v.leaving {
			leaving[c.room] = append(leaving[c.room], c)
		}
	}
	return leaving
}

// visit returns what is kept of session.
func (s *Service) visit(session *provider.Session) *visit {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.visits[session]
	if v == nil {
		v = &visit{}
		s.visits[session] = v
	}
	return v
}

// postpone keeps c to be announced with the others of its session, and reports
// false if those are announced already.
func (s *Service) postpone(c *connection) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.visit.over {
		return false
	}
	c.visit.leaving = append(c.visit.leaving, c)
	return true
}

// enter returns the room of that name, locked, made if there is none. The caller
// unlocks it, which ends the room again if it is empty.
func (s *Service) enter(name string) *room {
	for {
		s.mu.Lock()
		r := s.rooms[name]
		if r == nil {
			r = newRoom(s, name, s.high)
			s.rooms[name] = r
		}
		s.mu.Unlock()
		r.lock()
		if !r.over {
			return r
		}
		r.unlock()
	}
}

// end forgets a room that is empty. The room's lock is held.
func (s *Service) end(r *room) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.rooms, r.name)
	s.high = max(s.high, r.seq)
}

// all returns the rooms there are.
func (s *Service) all() []*room {
	s.mu.Lock()
	defer s.mu.Unlock()
	rooms := make([]*room, 0, len(s.rooms))
	for _, r := range s.rooms {
		rooms = append(rooms, r)
	}
	return rooms
}

// report logs evictions of one step, on a goroutine that ends when the log has
// taken them: one that nobody reads, as a full pipe, holds up nobody.
func (s *Service) report(evicted []*connection) {
	select {
	case s.reports <- struct{}{}:
	default:
		return
	}
	go func() {
		defer func() { <-s.reports }()
		for _, c := range evicted {
			s.log.Warn("evicting a connection", "room", c.room.name, "name", c.name,
				"process", c.session.Identity().String(), "reason", api.ReasonSlow.String(), "note", c.note)
		}
	}()
}

// connectionOf returns the connection that a call is about.
func connectionOf(c *provider.Call) (*connection, error) {
	r, err := c.Resource()
	if err != nil {
		return nil, err
	}
	conn, ok := r.Owner().(*connection)
	if !ok {
		return nil, api.ErrUnknownHandle
	}
	return conn, nil
}

var _ interface {
	provider.Handler
	provider.InlineHandler
	provider.SessionCloser
} = (*Service)(nil)
