package notification

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"crier.local/api"
	"crier.local/api/wire"
)

// TestRoomModel lets processes do what comes to their minds, in virtual time, and
// holds what each connection heard against what a witness heard who reads
// everything at once.
func TestRoomModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var failure any // is the property's, and passes through the bubble
		synctest.Test(t, func(*testing.T) {
			defer func() { failure = recover() }()
			w := newWorld(rt)
			defer w.end()
			rt.Repeat(map[string]func(*rapid.T){
				"attach":  w.attach,
				"connect": w.connect,
				"send":    w.send,
				"send ":   w.send,
				"send  ":  w.send,
				"burst":   w.burst,
				"post":    w.post,
				"send to": w.sendTo,
				"rename":  w.rename,
				"take":    w.take,
				"take ":   w.take,
				"cancel":  w.cancel,
				"close":   w.close,
				"kill":    w.kill,
				"pass":    w.pass,
				"":        w.checkBounds,
			})
			w.checkAll()
		})
		if failure != nil {
			panic(failure)
		}
	})
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

func newWorld(t *rapid.T) *world {
	w := &world{house: openHouse(t, modelOptions), t: t, witness: map[string]*guest{}}
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
		t.Skip("enough")
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
		t.Skip("enough")
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
	if err != nil {
		expectError(t, err, api.ErrNameTaken)
	} else {
		w.guests = append(w.guests, &guest{seat: s, options: o})
	}
	w.observe()
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
		t.Skip("nobody")
	}
	return w.guests[rapid.SampledFrom(some).Draw(t, "guest")]
}

// place draws the index of a process.
func (w *world) place(t *rapid.T) int {
	return rapid.IntRange(0, len(w.processes)-1).Draw(t, "process")
}

// payload returns a new id, and a message of random size that begins with it.
func (w *world) payload(t *rapid.T) (id, text string) {
	id = strconv.Itoa(len(w.sends)) + "."
	return id, id + strings.Repeat(" ", rapid.IntRange(0, modelMessage).Draw(t, "size"))
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
		t.Skip("it would have to apply to what it knows what it is not told")
	}
	_, err := g.invoke(api.MethodRename, wire.EncodeRename(name))
	switch {
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
		t.Skip("nothing to take")
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
	t.Skip("nothing is parked")
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
		t.Skip("too few")
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

// checkBounds holds the queues against their limits.
func (w *world) checkBounds(t *rapid.T) {
	for _, r := range w.service.all() {
		for _, c := range r.seats {
			limit := int64(modelOptions.Queue)
			if c.lossy() {
				limit += 20*(api.MaxName+entryRoom) + modelMessage + 4096 // a snapshot, and what is on its way
			}
			if entries, bytes := c.resource.Queued(); bytes > limit && entries > 1 {
				t.Fatalf("%d bytes are held for %s", bytes, c.name)
			}
		}
	}
}

// checkAll ends the world in peace, and checks what everybody heard.
func (w *world) checkAll() {
	w.house.pass(time.Duration(2*len(w.guests)+2) * DefaultStall)
	w.observe()
	for _, g := range w.guests {
		if !g.over {
			g.write(wire.ClientEntry{Kind: wire.Flush, Handle: g.handle})
			g.takeAll()
		}
	}
	w.observe()
	w.checkSends()
	for _, g := range w.guests {
		w.checkHeard(g)
		if !g.over && g.options.Presence && !g.options.SendOnly {
			w.checkPresence(g)
		}
	}
}

// checkSends: every send was carried out once or not at all, as its sender was
// told, and every number of a room is accounted for.
func (w *world) checkSends() {
	times := map[string][]api.Seq{}
	told := map[*guest]int{} // posts that nobody heard
	for room, witness := range w.witness {
		if witness.end != nil {
			w.t.Fatalf("the witness of %s was evicted", room)
		}
		for _, e := range witness.heard {
			if e.Kind == api.KindMessage {
				id, _, _ := strings.Cut(string(e.Payload), " ")
				times[id] = append(times[id], e.Seq)
			}
		}
	}
	for _, s := range w.sends {
		heard := times[s.id]
		switch {
		case len(heard) > 1:
			w.t.Fatalf("%s was heard %d times", s.id, len(heard))
		case s.call == 0 && len(heard) == 0:
			told[s.from]++
		case s.call == 0 || s.unknown || s.alone:
		case s.err == nil && s.receipt == nil:
			w.t.Fatalf("%s was never answered", s.id)
		case s.err != nil && len(heard) > 0:
			w.t.Fatalf("%s was refused (%v), and heard", s.id, s.err)
		case s.receipt != nil && !slices.Equal(heard, []api.Seq{s.receipt.Seq}):
			w.t.Fatalf("%s has the receipt %+v, and was heard as %v", s.id, *s.receipt, heard)
		}
	}
	for _, g := range w.guests {
		if !g.over && g.refused != told[g] {
			w.t.Fatalf("%s was told of %d refused posts, %d were not heard", g.connected.Name, g.refused, told[g])
		}
	}
	for room := range w.witness {
		w.checkNumbers(room)
	}
}

// checkNumbers: a room's numbers rise one by one, but for what the witness could
// not hear.
func (w *world) checkNumbers(room string) {
	witness := w.witness[room]
	unheard, lost := map[api.Seq]bool{}, 0
	for _, s := range w.sends {
		if s.alone && s.from.options.Room == room {
			if s.receipt != nil {
				unheard[s.receipt.Seq] = true
			} else if s.unknown {
				lost++
			}
		}
	}
	seq := witness.connected.Seq
	for _, e := range witness.heard {
		if e.Kind == api.KindMembers {
			continue
		}
		for missed := seq + 1; missed < e.Seq; missed++ {
			if !unheard[missed] {
				lost--
			}
		}
		if e.Seq <= seq || lost < 0 {
			w.t.Fatalf("the witness heard number %d after %d", e.Seq, seq)
		}
		seq = e.Seq
	}
}

// checkHeard: a guest heard what the witness heard, in the same order, with
// exactly the gaps that it was told of; up to its end, if it had one.
func (w *world) checkHeard(g *guest) {
	missing := w.due(g)
	alone := map[api.Seq]bool{} // what was for one only, and was perhaps dropped
	for _, s := range w.sends {
		if s.alone && s.receipt != nil && s.from.options.Room == g.options.Room {
			alone[s.receipt.Seq] = true
		}
	}
	last := g.connected.Seq
	for _, e := range g.heard {
		if e.Kind == api.KindMembers {
			continue
		}
		first, end := e.Seq, e.Seq
		if e.Kind == api.KindGap {
			first, end = e.First, e.Last
		}
		if first <= last {
			w.t.Fatalf("%s heard %s after number %d", g.connected.Name, sayOne(e), last)
		}
		last = end
		n := 0
		for ; len(missing) > 0 && missing[0].Seq <= end; n++ {
			if missing[0].Seq < first {
				w.t.Fatalf("%s did not hear %d %s", g.connected.Name, missing[0].Seq, sayOne(missing[0]))
			}
			if e.Kind != api.KindGap && sayOne(missing[0]) != sayOne(e) {
				w.t.Fatalf("%s heard %s, the witness %s", g.connected.Name, sayOne(e), sayOne(missing[0]))
			}
			missing = missing[1:]
		}
		perhaps := 0
		for seq := range alone {
			if first <= seq && seq <= end {
				perhaps++
			}
		}
		switch {
		case e.Kind == api.KindGap && (e.Count < uint64(n) || e.Count > uint64(n+perhaps)):
			w.t.Fatalf("%s was told %s, and %d to %d are missing", g.connected.Name, sayOne(e), n, n+perhaps)
		case e.Kind == api.KindMessage && e.To == "" && n != 1, e.Kind != api.KindMessage && e.Kind != api.KindGap && n != 1:
			w.t.Fatalf("%s heard %s, the witness did not", g.connected.Name, sayOne(e))
		}
	}
	if !g.over && len(missing) > 0 {
		w.t.Fatalf("%s never heard %s", g.connected.Name, say(missing))
	}
}

// due returns what a guest is to hear of what the witness heard.
func (w *world) due(g *guest) []wire.Event {
	mine := map[string]bool{}
	for _, s := range w.sends {
		mine[s.id] = mine[s.id] || s.from == g
	}
	var due []wire.Event
	for _, e := range w.witness[g.options.Room].heard {
		wanted := g.options.Presence && e.Kind != api.KindMembers
		if e.Kind == api.KindMessage {
			id, _, _ := strings.Cut(string(e.Payload), " ")
			wanted = g.options.Echo || !mine[id]
		}
		if wanted && e.Seq > g.connected.Seq && !g.options.SendOnly {
			due = append(due, e)
		}
	}
	return due
}

// checkPresence: what a guest was told of the others is who there is.
func (w *world) checkPresence(g *guest) {
	g.fresh = g.heard
	known := g.follow(w.t, nil)
	body, err := g.invoke(api.MethodMembers, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	members, err := wire.DecodeMembers(body)
	if err != nil {
		w.t.Fatal(err)
	}
	var there []string
	for _, m := range members {
		there = append(there, m.Name)
	}
	if !slices.Equal(known, there) {
		w.t.Fatalf("%s knows of %q, there are %q", g.connected.Name, known, there)
	}
}
