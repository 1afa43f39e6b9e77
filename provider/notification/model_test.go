package notification

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"crier.local/api"
	"crier.local/api/wire"
	"crier.local/provider"
)

// TestRoomModel lets processes do what comes to their minds, in virtual time, and
// holds what each connection heard against what a witness heard who reads
// everything at once.
func TestRoomModel(t *testing.T) {
	bounds := rapid.SampledFrom([]int64{0, 0, 8 << 10, 64 << 10})
	rapid.Check(t, func(rt *rapid.T) {
		l := provider.Limits{ProcessQueue: bounds.Draw(rt, "process queue"), TotalQueue: bounds.Draw(rt, "total queue")}
		playRoom(t, rt, l, func(w *world) {
			actions := w.actions()
			actions[""] = w.checkBounds
			rt.Repeat(actions)
		})
	})
}

// actions are what can happen in the world.
func (w *world) actions() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"attach":  w.attach,
		"connect": w.connect,
		"send":    w.send,
		"send ":   w.send,
		"send  ":  w.send,
		"burst":   w.burst,
		"post":    w.post,
		"row":     w.row,
		"row ":    w.row,
		"send to": w.sendTo,
		"rename":  w.rename,
		"take":    w.take,
		"take ":   w.take,
		"cancel":  w.cancel,
		"close":   w.close,
		"kill":    w.kill,
		"pass":    w.pass,
	}
}

// playRoom plays in a new world, of which it returns what is left.
func playRoom(t *testing.T, rt *rapid.T, l provider.Limits, play func(*world)) (w *world) {
	var failure any // is the property's, and passes through the bubble
	synctest.Test(t, func(*testing.T) {
		defer func() { failure = recover() }()
		w = newWorld(rt, l)
		defer w.end()
		play(w)
		w.checkAll()
	})
	if failure != nil {
		panic(failure)
	}
	return w
}

// limits of the model's world: queues are full after some messages.
var modelOptions = Options{Queue: 8 << 10, Reserve: 2 << 10}

const modelMessage = 3000

// world is a house with guests.
type world struct {
	*house
	t         *rapid.T
	witness   map[string]*guest // by room
	guests    []*guest          // all there ever were, without the witnesses
	processes []*process
	sends     []*trial
	limits    provider.Limits
	skip      func(t *rapid.T, why string) // leaves an action that is not possible now
}

// guest is a connection and what it heard.
type guest struct {
	*seat
	options api.Connect
	heard   []wire.Event
	over    bool // the process was killed, or the connection closed
}

// trial is a send, and what the guest knows of it.
type trial struct {
	from    *guest
	id      string
	call    uint32 // 0: a post
	alone   bool
	receipt *api.Receipt
	err     error
	unknown bool // the guest is gone and will never know
}

func newWorld(t *rapid.T, l provider.Limits) *world {
	w := &world{
		house: openHouse(t, l, modelOptions), t: t, witness: map[string]*guest{}, limits: l,
		skip: func(t *rapid.T, why string) { t.Skip(why) },
	}
	for _, room := range []string{"r", "s"} {
		o := api.Connect{Room: room, Name: "witness", Presence: true}
		w.witness[room] = &guest{seat: w.house.attach(t).connect(o), options: o}
	}
	w.attach(t)
	return w
}

// end closes the world, also in the middle of a failure.
func (w *world) end() {
	for _, p := range w.house.processes {
		p.die()
	}
	w.house.close(w.t)
}

func (w *world) attach(t *rapid.T) {
	if len(w.processes) == 4 {
		w.skip(t, "enough")
	}
	w.processes = append(w.processes, w.house.attach(t))
	w.observe()
}

// observe lets everything happen that can, and the witnesses take note.
func (w *world) observe() {
	for _, g := range w.witness {
		g.takeAll()
		g.heard = append(g.heard, g.events()...)
	}
	for _, g := range w.guests {
		g.heard = append(g.heard, g.events()...)
		g.over = g.over || g.end != nil
	}
	for _, s := range w.sends {
		w.conclude(s)
	}
}

// conclude notes the answer to a send.
func (w *world) conclude(s *trial) {
	if s.call == 0 || s.receipt != nil || s.err != nil {
		return
	}
	e, ok := s.from.replies[s.call]
	switch {
	case !ok:
		s.unknown = s.from.over
	case e.Failure.Code != api.CodeNone:
		s.err = e.Failure.Err()
	default:
		receipt, err := wire.DecodeReceipt(e.Body)
		if err != nil {
			w.t.Fatal(err)
		}
		s.receipt = &receipt
	}
}

func (w *world) connect(t *rapid.T) {
	if len(w.guests) > 20 {
		w.skip(t, "enough")
	}
	o := api.Connect{
		Room:     rapid.SampledFrom([]string{"r", "r", "r", "s"}).Draw(t, "room"),
		Name:     w.drawName(t),
		SendOnly: rapid.IntRange(0, 5).Draw(t, "send only") == 0,
		Overflow: rapid.SampledFrom([]api.Overflow{api.OverflowGap, api.OverflowGap, api.OverflowWait}).Draw(t, "overflow"),
		Echo:     rapid.IntRange(0, 3).Draw(t, "echo") == 0,
		Presence: rapid.Bool().Draw(t, "presence"),
		Window:   rapid.SampledFrom([]uint32{1, 1, 4096, 1 << 20}).Draw(t, "window"),
	}
	p := w.processes[w.place(t)]
	s, err := p.tryConnect(p.open(1), o)
	switch {
	case err == nil:
		w.guests = append(w.guests, &guest{seat: s, options: o})
	case !w.tooMuch(err):
		expectError(t, err, api.ErrNameTaken)
	}
	w.observe()
}

// tooMuch reports whether a call failed because those of its process that wait hold
// all that they may.
func (w *world) tooMuch(err error) bool {
	return w.limits.ProcessQueue > 0 && errors.Is(err, api.ErrFull)
}

func (w *world) drawName(t *rapid.T) string {
	return rapid.SampledFrom([]string{"", "", "a", "A", "b", "c", "d", "e", "f", "Witness"}).Draw(t, "name")
}

// some returns a guest that is still there.
func (w *world) some(t *rapid.T) *guest {
	return w.one(t, func(g *guest) bool { return !g.over })
}

// sender returns a guest that may send something.
func (w *world) sender(t *rapid.T) *guest {
	return w.one(t, func(g *guest) bool { return !g.over && g.maySend() })
}

func (w *world) one(t *rapid.T, like func(*guest) bool) *guest {
	var some []int
	for i, g := range w.guests {
		if like(g) {
			some = append(some, i)
		}
	}
	if len(some) == 0 {
		w.skip(t, "nobody")
	}
	return w.guests[rapid.SampledFrom(some).Draw(t, "guest")]
}

// place draws the index of a process.
func (w *world) place(t *rapid.T) int {
	return rapid.IntRange(0, len(w.processes)-1).Draw(t, "process")
}

// payload returns a new id, and a message of random size that begins with it.
func (w *world) payload(t *rapid.T) (id, text string) { return w.payloadUpTo(t, modelMessage) }

func (w *world) payloadUpTo(t *rapid.T, most int) (id, text string) {
	id = strconv.Itoa(len(w.sends)) + "."
	return id, id + strings.Repeat(" ", rapid.IntRange(0, most).Draw(t, "size"))
}

func (w *world) start(t *rapid.T, g *guest, timeout time.Duration) {
	id, text := w.payload(t)
	w.sends = append(w.sends, &trial{from: g, id: id, call: g.begin(api.MethodSend, []byte(text), timeout)})
}

func (w *world) send(t *rapid.T) {
	w.start(t, w.sender(t), rapid.SampledFrom([]time.Duration{0, 0, time.Second}).Draw(t, "timeout"))
	w.observe()
}

func (w *world) burst(t *rapid.T) {
	g := w.sender(t)
	for n := 0; n < 12 && g.maySend(); n++ {
		w.start(t, g, 0)
	}
	w.observe()
}

func (w *world) post(t *rapid.T) {
	g := w.sender(t)
	id, text := w.payload(t)
	w.sends = append(w.sends, &trial{from: g, id: id})
	g.seat.post(text)
	w.observe()
}

// row posts several times in one batch, in which other entries of the process may
// be between.
func (w *world) row(t *rapid.T) {
	g := w.sender(t)
	most := rapid.SampledFrom([]int{0, 20, 400, modelMessage}).Draw(t, "largest")
	var batch []wire.ClientEntry
	for range rapid.IntRange(2, 20).Draw(t, "posts") {
		if !g.maySend() {
			break
		}
		id, text := w.payloadUpTo(t, most)
		w.sends = append(w.sends, &trial{from: g, id: id})
		batch = append(batch, g.posting(text))
		batch = append(batch, w.between(t, g)...)
	}
	g.write(batch...)
	w.observe()
}

// between returns what comes between two posts of g: mostly nothing.
func (w *world) between(t *rapid.T, g *guest) []wire.ClientEntry {
	var near []*guest
	for _, other := range w.guests {
		if other.process == g.process && !other.over {
			near = append(near, other)
		}
	}
	other := near[rapid.IntRange(0, 7*len(near)).Draw(t, "near")%len(near)]
	switch kind := rapid.IntRange(0, 15).Draw(t, "between"); {
	case kind == 1 && other.maySend():
		id, text := w.payloadUpTo(t, 100)
		w.sends = append(w.sends, &trial{from: other, id: id})
		return []wire.ClientEntry{other.posting(text)}
	case kind == 2 && other.maySend():
		id, text := w.payloadUpTo(t, 100)
		call := other.posting(text)
		other.calls++
		call.Call = other.calls
		w.sends = append(w.sends, &trial{from: other, id: id, call: call.Call})
		return []wire.ClientEntry{call}
	case kind == 3 && len(other.untaken) > 0:
		return []wire.ClientEntry{other.taking(1)}
	case kind == 4:
		return []wire.ClientEntry{{Kind: wire.Flush, Handle: other.handle}}
	case kind == 5:
		return []wire.ClientEntry{{Kind: wire.Cancel, Call: 1 << 30}} // of no call
	}
	return nil
}

func (w *world) sendTo(t *rapid.T) {
	g := w.sender(t)
	to := w.some(t).connected.Name
	id, text := w.payload(t)
	call := g.begin(api.MethodSendTo, wire.EncodeSendTo(to, []byte(text)), 0)
	w.sends = append(w.sends, &trial{from: g, id: id, call: call, alone: true})
	w.observe()
}

func (w *world) rename(t *rapid.T) {
	g, name := w.sender(t), w.drawName(t)
	if g.options.Presence {
		w.skip(t, "it would have to apply to what it knows what it is not told")
	}
	_, err := g.invoke(api.MethodRename, wire.EncodeRename(name))
	switch {
	case w.tooMuch(err):
	case err == nil:
		g.connected.Name = name
	case name == "":
		expectError(t, err, api.ErrBadName)
	default:
		expectError(t, err, api.ErrNameTaken)
	}
	w.observe()
}

func (w *world) take(t *rapid.T) {
	g := w.some(t)
	if len(g.untaken) == 0 {
		w.skip(t, "nothing to take")
	}
	g.seat.take(rapid.IntRange(1, len(g.untaken)).Draw(t, "entries"))
	w.observe()
}

func (w *world) cancel(t *rapid.T) {
	for _, s := range w.sends {
		if s.call != 0 && s.receipt == nil && s.err == nil && !s.unknown {
			s.from.write(wire.ClientEntry{Kind: wire.Cancel, Call: s.call})
			w.observe()
			if s.err == nil {
				t.Fatal("canceled, and no answer")
			}
			return
		}
	}
	w.skip(t, "nothing is parked")
}

func (w *world) close(t *rapid.T) {
	g := w.some(t)
	g.seat.close()
	w.observe()
	g.over = true
	w.observe()
}

func (w *world) kill(t *rapid.T) {
	if len(w.processes) < 2 {
		w.skip(t, "too few")
	}
	i := w.place(t)
	p := w.processes[i]
	w.processes = slices.Delete(w.processes, i, i+1)
	p.die()
	w.observe()
	for _, g := range w.guests {
		g.over = g.over || g.process == p
	}
	w.observe()
}

func (w *world) pass(t *rapid.T) {
	w.house.pass(rapid.SampledFrom([]time.Duration{time.Millisecond, time.Second, 5 * time.Second}).Draw(t, "time"))
	w.observe()
}
