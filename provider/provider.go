package provider

import (
	"context"
	crand "crypto/rand"
	"fmt"
	"iter"
	"os"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"crier.local/api"
	"crier.local/api/wire"
)

// Options say who a provider is, whom it admits and how much it takes on. The
// zero value is a good default.
type Options struct {
	// Name is the provider's name, for people and for restrictions. "": crier.
	Name string
	// Version is the provider's own version.
	Version api.Version
	// Tags tell it from others of the same service.
	Tags []string
	// AllowUIDs and AllowGIDs admit more than the provider's own user and root.
	AllowUIDs, AllowGIDs []uint32
	// TLS are the files for listening on TCP. Whoever shows a certificate of the
	// authority is admitted, under the name that is in it.
	TLS api.TLSFiles
	// Insecure is for listening on TCP without TLS, which is possible on loopback
	// alone and admits every user of the host.
	Insecure bool
	// Limits bound what it takes on.
	Limits Limits
	// Logger gets what the provider has to say. nil: nothing is logged. It must
	// not block: what waits for it may be what reads from a client.
	Logger hclog.Logger
}

// Provider holds resources for the processes that attach to it. Make one with
// New, offer services with Provide, let clients come with Listen, Local or
// ServePlugin, and end it with Close. All methods are safe for concurrent use.
type Provider struct {
	options Options // with defaults
	epoch   api.Epoch
	log     hclog.Logger

	handles  handles
	sessions sessionIDs
	budget   budget
	refusing atomic.Bool // new calls

	front    *front         // where other processes come in
	attached sync.WaitGroup // one per attach
	tasks    sync.WaitGroup // one per call that has a goroutine

	mu        sync.Mutex
	services  []*service
	processes map[*process]struct{}
	opened    uint64        // sessions ever
	open      int           // sessions now
	changed   chan struct{} // closed and replaced when open sinks
	closing   bool          // set under the lock, with refusing
	closed    chan struct{} // closed when Close is done
	doors     []func()      // that Close shuts: listeners, announcements
}

// New returns a provider that offers nothing yet.
func New(o Options) *Provider {
	o.AllowUIDs, o.AllowGIDs, o.Tags = slices.Clone(o.AllowUIDs), slices.Clone(o.AllowGIDs), slices.Clone(o.Tags)
	o.Limits = o.Limits.withDefaults()
	if o.Name == "" {
		o.Name = "crier"
	}
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	p := &Provider{
		options:   o,
		log:       o.Logger,
		handles:   newHandles(),
		sessions:  sessionIDs{live: map[api.SessionID]struct{}{}},
		processes: map[*process]struct{}{},
		changed:   make(chan struct{}),
		closed:    make(chan struct{}),
	}
	p.budget.limit = o.Limits.TotalQueue
	p.front = newFront(p)
	crand.Read(p.epoch[:])
	return p
}

// Epoch returns the id of this run.
func (p *Provider) Epoch() api.Epoch { return p.epoch }

// Limits returns the limits in force.
func (p *Provider) Limits() Limits { return p.options.Limits }

// String returns p as service:name@version.
func (p *Provider) String() string {
	return fmt.Sprintf("service:%s@%s", p.options.Name, p.options.Version)
}

// Provide offers a service. Several services, and several majors of one, may
// live in one provider; offer them before clients come.
func (p *Provider) Provide(s api.Selector, h Handler, o ServiceOptions) error {
	if err := s.Validate(); err != nil {
		return err
	}
	svc := &service{
		provider: p, selector: s, handler: h, priority: o.Priority,
		tags: slices.Clone(o.Tags), sequential: o.Sequential,
	}
	if svc.priority == 0 {
		svc.priority = api.PriorityNormal
	}
	svc.inline, _ = h.(InlineHandler)
	svc.poster, _ = h.(PostHandler)
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, other := range p.services {
		if other.selector.UUID == s.UUID && other.selector.Major == s.Major {
			return fmt.Errorf("%s: %s is provided already", p, other.selector)
		}
	}
	p.services = append(p.services, svc)
	return nil
}

// service returns the service that accepts a selector, or an *api.VersionError.
func (p *Provider) service(asked api.Selector) (*service, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	refusal := &api.VersionError{Provider: p.String(), Asked: asked}
	for _, s := range p.services {
		if s.selector.Accepts(asked) {
			return s, nil
		}
		if s.selector.UUID == asked.UUID && (refusal.Provided.UUID == "" || s.selector.Major == asked.Major) {
			refusal.Provided = s.selector
		}
	}
	return nil, refusal
}

func (p *Provider) terms() wire.Terms {
	return wire.Terms{
		WireVersion: api.WireVersion, Epoch: p.epoch, Name: p.options.Name, Version: p.options.Version, Tags: p.options.Tags,
		MaxMessage: p.options.Limits.Message, HardTop: p.options.Limits.HardTop,
		MaxResources: p.options.Limits.Resources,
	}
}

// Local returns a way to attach from inside this program, through the same
// protocol as any other process.
func (p *Provider) Local() wire.Transport { return local{p} }

type local struct{ p *Provider }

func (l local) Attach(ctx context.Context) (wire.Stream, error) {
	if err := l.p.begin(); err != nil {
		return nil, err
	}
	client, server, end := wire.Pipe(ctx)
	go func() {
		defer l.p.attached.Done()
		_ = l.p.attach(server, peer{
			identity: api.Identity{
				UID: uint32(os.Getuid()), GID: uint32(os.Getgid()), PID: int32(os.Getpid()), Local: true,
			},
			final:   true,
			greeted: func() {},
			reason:  func(error) api.Reason { return api.ReasonDied },
			end:     end,
		})
	}()
	return client, nil
}

// begin makes Close wait for something that calls attached.Done at its end. It
// fails once p is closing.
func (p *Provider) begin() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closing {
		return errGoingAway
	}
	p.attached.Add(1)
	return nil
}

// Resources yields the resources there are at the moment of the call.
func (p *Provider) Resources() iter.Seq[*Resource] {
	var all []*Resource
	for _, proc := range p.snapshot() {
		proc.mu.Lock()
		for _, s := range proc.sessions {
			for _, r := range s.resources {
				all = append(all, r)
			}
		}
		proc.mu.Unlock()
	}
	return slices.Values(all)
}

func (p *Provider) snapshot() []*process {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []*process
	for proc := range p.processes {
		all = append(all, proc)
	}
	return all
}

// enter registers a process, so that Close finds it. It fails once p is closing.
func (p *Provider) enter(proc *process) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closing {
		return errGoingAway
	}
	p.processes[proc] = struct{}{}
	return nil
}

// greet notes that a process has greeted, once the same client's former stream
// is buried, so that nobody meets its own ghost.
func (p *Provider) greet(proc *process) {
	for {
		p.mu.Lock()
		ghost := p.ghostLocked(proc)
		proc.greeted = ghost == nil
		p.mu.Unlock()
		if ghost == nil {
			return
		}
		ghost.expel(api.ReasonReplaced, fmt.Errorf("%w: attached again", api.ErrClosed))
		p.depart(ghost)
	}
}

func (p *Provider) hasGreeted(proc *process) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return proc.greeted
}

func (p *Provider) ghostLocked(proc *process) *process {
	a := proc.peer.identity
	for other := range p.processes {
		b := other.peer.identity
		if other.greeted && other != proc && other.instance == proc.instance &&
			a.UID == b.UID && a.Local == b.Local && a.Subject == b.Subject {
			return other
		}
	}
	return nil
}

func (p *Provider) depart(proc *process) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.processes, proc)
}

// sessionBegins counts a session, unless the provider is going away.
func (p *Provider) sessionBegins() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closing {
		return false
	}
	p.opened++
	p.open++
	return true
}

func (p *Provider) sessionEnds() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open--
	close(p.changed)
	p.changed = make(chan struct{})
}

// Wait returns when a session has been opened since the start and none is open
// any more, or with the context's error, or with [api.ErrClosed] when p is closed.
func (p *Provider) Wait(ctx context.Context) error {
	for {
		p.mu.Lock()
		done, changed := p.opened > 0 && p.open == 0, p.changed
		p.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-changed:
		case <-p.closed:
			return api.ErrClosed
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// onClose registers what Close is to shut before anything else, and then waits
// for: attached.Done is to be called when it is over. It fails once p is closing.
func (p *Provider) onClose(shut func()) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closing {
		return errGoingAway
	}
	p.attached.Add(1)
	p.doors = append(p.doors, shut)
	return nil
}

// Close ends p: nobody new is let in, calls that wait are refused, what is
// queued gets Limits.Drain to leave, everyone is told that the provider goes
// away, and all is closed. It returns when that is done, and may be called again.
func (p *Provider) Close() error {
	p.mu.Lock()
	first := !p.closing
	p.closing = true
	p.refusing.Store(true)
	doors := p.doors
	p.mu.Unlock()
	if !first {
		<-p.closed
		return nil
	}
	for _, shut := range slices.Backward(doors) {
		shut()
	}
	processes := p.snapshot()
	p.drain(processes)
	for _, proc := range processes {
		go proc.expel(api.ReasonGoingAway, errGoingAway)
	}
	p.attached.Wait()
	p.awaitTasks()
	close(p.closed)
	return nil
}

// awaitTasks waits for handlers that still run, but not for one that does not
// heed the end of its context.
func (p *Provider) awaitTasks() {
	over := make(chan struct{})
	go func() {
		p.tasks.Wait()
		close(over)
	}()
	select {
	case <-over:
	case <-time.After(p.options.Limits.Drain):
		p.log.Warn("closed while a handler still runs")
	}
}

// errGoingAway is what is told to whoever wants something of a provider that stops.
var errGoingAway = fmt.Errorf("%w: the provider is going away", api.ErrClosed)

// drain refuses the calls that wait, and gives what is queued time to leave.
func (p *Provider) drain(processes []*process) {
	over := time.After(p.options.Limits.Drain)
	for _, proc := range processes {
		proc.abortParked(errGoingAway)
	}
	for _, proc := range processes {
		select {
		case <-proc.out.drain():
		case <-over:
			return
		}
	}
}

// guard runs code of the service's, and turns its panic into an error.
func (p *Provider) guard(where string, f func()) (crash error) {
	defer func() {
		if v := recover(); v != nil {
			p.log.Error("panic in "+where, "panic", v, "stack", string(debug.Stack()))
			crash = &api.CallError{Text: fmt.Sprintf("the service failed: %v", v)}
		}
	}()
	f()
	return nil
}
