package notification

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"crier.local/api"
	"crier.local/api/wire"
	"crier.local/provider"
)

// house is a provider of the notification service in virtual time.
type house struct {
	*provider.Provider
	service   *Service
	instances byte
	processes []*process
}

// pass lets virtual time pass, and everything happen that does meanwhile.
func (h *house) pass(d time.Duration) {
	for _, p := range h.processes {
		p.mu.Lock()
		p.looks++
		p.mu.Unlock()
	}
	<-time.After(d)
	synctest.Wait()
}

// bubble runs a test in virtual time, and checks the floor when it leaves.
func bubble(t *testing.T, o Options, test func(t *testing.T, h *house)) {
	t.Helper()
	bubbleWithin(t, provider.Limits{}, o, test)
}

// bubbleWithin is bubble with limits of the provider.
func bubbleWithin(t *testing.T, l provider.Limits, o Options, test func(t *testing.T, h *house)) {
	t.Helper()
	defer goleak.VerifyNone(t)
	synctest.Test(t, func(t *testing.T) {
		h := openHouse(t, l, o)
		defer h.Close() // if the test ends early
		test(t, h)
		h.close(t)
	})
}

func openHouse(t failer, l provider.Limits, o Options) *house {
	t.Helper()
	h := &house{Provider: provider.New(provider.Options{Limits: l})}
	var err error
	if h.service, err = Register(h.Provider, o, provider.ServiceOptions{}); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *house) close(t failer) {
	t.Helper()
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if len(h.service.rooms) > 0 || len(h.service.visits) > 0 {
		t.Fatalf("left behind: %d rooms, %d visits", len(h.service.rooms), len(h.service.visits))
	}
}

// failer is what testing and rapid have in common.
type failer interface {
	Helper()
	Errorf(format string, args ...any)
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// process is a client process that speaks the protocol word by word. What the
// provider says is read at once; credit is given when the test says so. What it
// heard may be looked at when nothing goes on, which synctest.Wait sees to.
type process struct {
	t       failer
	house   *house
	stream  wire.Stream
	die     context.CancelFunc
	calls   uint32
	mu      sync.Mutex // held while it hears something
	looks   int        // how often the test has looked; what it saw may change afterwards
	replies map[uint32]wire.ProviderEntry
	opened  map[uint32]api.SessionID
	seats   map[api.Handle]*seat
}

// attach attaches a new process.
func (h *house) attach(t failer) *process {
	t.Helper()
	h.instances++
	return h.attachAs(t, h.instances)
}

// attachAs attaches the process with that instance number, perhaps once more.
func (h *house) attachAs(t failer, instance byte) *process {
	t.Helper()
	ctx, die := context.WithCancel(context.Background())
	stream, err := h.Local().Attach(ctx)
	if err != nil {
		t.Fatal(err)
	}
	p := &process{
		t: t, house: h, stream: stream, die: die,
		replies: map[uint32]wire.ProviderEntry{}, opened: map[uint32]api.SessionID{}, seats: map[api.Handle]*seat{},
	}
	h.processes = append(h.processes, p)
	go p.read()
	p.write(wire.ClientEntry{Kind: wire.Hello, Version: api.WireVersion, Instance: api.InstanceID{instance}})
	return p
}

// read takes in what the provider says until the stream ends.
func (p *process) read() {
	defer p.die()
	var batch wire.Batch
	for p.stream.Recv(&batch) == nil {
		reader := wire.NewReader(batch.Data)
		for {
			var e wire.ProviderEntry
			more, err := reader.NextProvider(&e)
			if err != nil {
				p.t.Errorf("reading: %v", err)
			}
			if !more {
				break
			}
			p.hear(&e)
		}
	}
}

func (p *process) hear(e *wire.ProviderEntry) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch e.Kind {
	case wire.Reply:
		p.replies[e.Call] = *e
		if e.Handle != 0 {
			p.seats[e.Handle] = &seat{process: p, handle: e.Handle, credit: int64(e.ReceiveWindow), sendCredit: int64(e.SendWindow), sendWindow: int64(e.SendWindow)}
		}
	case wire.Farewell:
		if e.Reason == api.ReasonLimit {
			p.t.Errorf("expelled: %s", e.Failure.Text)
		}
	case wire.Opened:
		p.opened[e.Call] = e.Session
	case wire.Notification:
		for _, h := range e.Handles {
			if s := p.seats[h]; s != nil {
				for bodies := e.Bodies; len(bodies) > 0; {
					body, ok := bodies.Next()
					if !ok {
						p.t.Errorf("malformed bodies")
						break
					}
					s.hear(body)
				}
			} else {
				p.t.Errorf("an event for handle %d, which nobody knows", h)
			}
		}
	case wire.Closed:
		if s := p.seats[e.Handle]; s != nil {
			s.end = e
		}
	case wire.Posted:
		if s := p.seats[e.Handle]; s != nil {
			s.sendCredit += int64(e.Bytes)
			s.ended += int(e.Ended)
			s.refused += int(e.Refused)
			if s.refusal == nil {
				s.refusal = e.Failure.Err()
			}
		}
	}
}

// write sends entries as one batch. A provider that has ended the stream is no
// failure.
func (p *process) write(entries ...wire.ClientEntry) {
	var b []byte
	for i := range entries {
		b = wire.AppendClient(b, &entries[i])
	}
	p.stream.Send(&wire.Batch{Data: b})
}

// call gives an entry a number and sends it.
func (p *process) call(e wire.ClientEntry) uint32 {
	p.calls++
	e.Call = p.calls
	p.write(e)
	return e.Call
}

// answer returns the reply to a call if there is one by now.
func (p *process) answer(call uint32) (e wire.ProviderEntry, ok bool) {
	synctest.Wait()
	e, ok = p.replies[call]
	return e, ok
}

// result returns the reply to a call, which must be there.
func (p *process) result(call uint32) (wire.ProviderEntry, error) {
	p.t.Helper()
	e, ok := p.answer(call)
	if !ok {
		p.t.Fatalf("call %d is not answered", call)
	}
	return e, e.Failure.Err()
}

// open opens a session of the service in version 1.minor.
func (p *process) open(minor uint32) api.SessionID {
	p.t.Helper()
	call := p.call(wire.ClientEntry{Kind: wire.Open, Selector: api.Selector{UUID: api.NotificationUUID, Major: 1, Minor: minor}})
	synctest.Wait()
	session := p.opened[call]
	if session == 0 {
		p.t.Fatalf("opening 1.%d: %v", minor, p.replies[call].Failure.Err())
	}
	return session
}

// tryConnect connects in a session.
func (p *process) tryConnect(session api.SessionID, c api.Connect) (*seat, error) {
	p.t.Helper()
	e, err := p.result(p.call(wire.ClientEntry{
		Kind: wire.Invoke, Session: session, Method: api.MethodConnect, Args: wire.EncodeConnect(c),
	}))
	if err != nil {
		return nil, err
	}
	s := p.seats[e.Handle]
	s.session = session
	s.connected, err = wire.DecodeConnected(e.Body)
	return s, err
}

// connectIn connects in a session, which must succeed.
func (p *process) connectIn(session api.SessionID, c api.Connect) *seat {
	p.t.Helper()
	s, err := p.tryConnect(session, c)
	if err != nil {
		p.t.Fatalf("connecting %+v: %v", c, err)
	}
	return s
}

// connect connects in a session of its own.
func (p *process) connect(c api.Connect) *seat {
	p.t.Helper()
	return p.connectIn(p.open(1), c)
}

// seat is a connection of a process, seen from outside.
type seat struct {
	*process
	session   api.SessionID
	handle    api.Handle
	connected wire.Connected

	sendCredit int64 // that is left for calls on it; the provider ends who uses more
	sendWindow int64

	credit  int64        // that the provider has left
	untaken []int        // charges of what was received, but not taken
	fresh   []wire.Event // received, and not looked at yet
	end     *wire.ProviderEntry

	ended, refused int // posts
	refusal        error
}

func (s *seat) hear(body []byte) {
	var e wire.Event
	if err := wire.DecodeEvent(body, &e); err != nil {
		s.t.Errorf("an event for handle %d: %v", s.handle, err)
	}
	if s.credit <= 0 {
		s.t.Errorf("an event for handle %d, which has no credit left", s.handle)
	}
	if s.end != nil {
		s.t.Errorf("an event for handle %d, which is closed", s.handle)
	}
	s.credit -= int64(api.Charge(len(body)))
	s.untaken = append(s.untaken, api.Charge(len(body)))
	s.fresh = append(s.fresh, e)
}

// take gives back credit for the oldest n events that were received.
func (s *seat) take(n int) {
	synctest.Wait()
	s.write(s.taking(n))
	synctest.Wait()
}

// taking returns the entry that does it.
func (s *seat) taking(n int) wire.ClientEntry {
	s.mu.Lock()
	defer s.mu.Unlock()
	sum := 0
	for _, charge := range s.untaken[:n] {
		sum += charge
	}
	s.untaken = s.untaken[n:]
	s.credit += int64(sum)
	return wire.ClientEntry{Kind: wire.GrantCredit, Handle: s.handle, Bytes: uint32(sum)}
}

// takeAll takes until nothing more comes.
func (s *seat) takeAll() {
	for synctest.Wait(); len(s.untaken) > 0; synctest.Wait() {
		s.take(len(s.untaken))
	}
}

// events returns what was received since the last call.
func (s *seat) events() []wire.Event {
	synctest.Wait()
	events := s.fresh
	s.fresh = nil
	return events
}

// spend accounts for a call with n bytes of arguments.
func (s *seat) spend(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sendCredit -= int64(api.Charge(n))
}

// maySend reports whether a call on the connection is allowed.
func (s *seat) maySend() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sendCredit > 0
}

// begin calls a method on the connection.
func (s *seat) begin(m api.Method, args []byte, timeout time.Duration) (call uint32) {
	s.spend(len(args))
	return s.call(wire.ClientEntry{Kind: wire.Invoke, Session: s.session, Handle: s.handle, Method: m, Args: args, Timeout: timeout})
}

// invoke calls a method on the connection, which must be answered at once.
func (s *seat) invoke(m api.Method, args []byte) ([]byte, error) {
	s.t.Helper()
	e, err := s.result(s.begin(m, args, 0))
	return e.Body, err
}

// send sends and returns the receipt, which must come at once.
func (s *seat) send(payload string) (api.Receipt, error) {
	s.t.Helper()
	body, err := s.invoke(api.MethodSend, []byte(payload))
	if err != nil {
		return api.Receipt{}, err
	}
	return wire.DecodeReceipt(body)
}

// start sends, and returns the call.
func (s *seat) start(payload string) uint32 { return s.begin(api.MethodSend, []byte(payload), 0) }

// post sends each payload without a reply, all in one batch.
func (s *seat) post(payloads ...string) {
	var row []wire.ClientEntry
	for _, payload := range payloads {
		row = append(row, s.posting(payload))
	}
	s.write(row...)
}

// posting returns the entry of a post.
func (s *seat) posting(payload string) wire.ClientEntry {
	s.spend(len(payload))
	return wire.ClientEntry{Kind: wire.Invoke, Session: s.session, Handle: s.handle, Method: api.MethodSend, Args: []byte(payload)}
}

func (s *seat) sendTo(name, payload string) (api.Receipt, error) {
	s.t.Helper()
	body, err := s.invoke(api.MethodSendTo, wire.EncodeSendTo(name, []byte(payload)))
	if err != nil {
		return api.Receipt{}, err
	}
	return wire.DecodeReceipt(body)
}

// close ends the connection in order.
func (s *seat) close() {
	s.t.Helper()
	s.result(s.call(wire.ClientEntry{Kind: wire.CloseResource, Session: s.session, Handle: s.handle}))
}

// who returns the connections of a room, or of all.
func (s *seat) who(room string) []api.Seat {
	s.t.Helper()
	e, err := s.result(s.call(wire.ClientEntry{Kind: wire.Invoke, Session: s.session, Method: api.MethodWho, Args: wire.EncodeWho(room)}))
	if err != nil {
		s.t.Fatal(err)
	}
	seats, err := wire.DecodeSeats(e.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return seats
}

// fill sends messages of about size until one is parked, and returns their
// number and the parked call.
func (s *seat) fill(size int) (admitted int, parked uint32) {
	s.t.Helper()
	for admitted = 0; ; admitted++ {
		call := s.start(string(make([]byte, size)))
		e, ok := s.answer(call)
		switch {
		case !ok:
			return admitted, call
		case e.Failure.Code != api.CodeNone:
			s.t.Fatal(e.Failure.Err())
		case admitted > 10000:
			s.t.Fatal("nothing fills up")
		}
	}
}
