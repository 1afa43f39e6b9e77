package wire

import (
	"encoding/binary"
	"fmt"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"crier.local/api"
	"crier.local/api/wire/wirepb"
)

// The shapes of the notification service. Encode functions return new bytes;
// Decode functions return an error for malformed ones.

// MessageHead is all of a message event but its payload.
type MessageHead struct {
	Seq  api.Seq
	Time time.Time
	From string
	UID  uint32
	To   string // set when it is for one connection alone
}

// SizeMessage returns how many bytes AppendMessage appends.
func SizeMessage(h *MessageHead, payload int) int {
	size := 2 + sizeField(uint64(h.Seq)) + 1 + 8 + sizeText(h.From) +
		sizeField(uint64(h.UID)) + sizeText(h.To)
	if payload > 0 {
		size += 1 + protowire.SizeBytes(payload)
	}
	return size
}

// AppendMessage appends a message event.
func AppendMessage(b []byte, h *MessageHead, payload []byte) []byte {
	b = append(b, 1<<3, byte(api.KindMessage))
	b = appendField(b, 2, uint64(h.Seq))
	b = binary.LittleEndian.AppendUint64(append(b, timeTag), uint64(h.Time.UnixNano()))
	b = appendText(b, 4, h.From)
	b = appendField(b, 5, uint64(h.UID))
	if len(payload) > 0 {
		b = append(b, 6<<3|2)
		b = protowire.AppendBytes(b, payload)
	}
	return appendText(b, 7, h.To)
}

func sizeText(s string) int {
	if s == "" {
		return 0
	}
	return 1 + protowire.SizeBytes(len(s))
}

func appendText(b []byte, field byte, s string) []byte {
	if s == "" {
		return b
	}
	return protowire.AppendString(append(b, field<<3|2), s)
}

// Departure is one connection that left, of those of one process.
type Departure struct {
	Name string
	UID  uint32
}

// Event is an event of the notification service as it travels: an api.Event,
// but that the departures of one process are one event, and that a list of
// members comes in chunks.
type Event struct {
	api.Event
	// Departures are those who left, all for the same reason; From is not set.
	Departures []Departure
	// More is true when the next event continues the list of members.
	More bool
}

// EncodeEvent returns an event other than a message.
func EncodeEvent(e *Event) []byte {
	m := &wirepb.Event{
		Kind: uint32(e.Kind), Seq: uint64(e.Seq), From: e.From, Uid: e.UID, Payload: e.Payload, To: e.To,
		Reason: uint32(e.Reason), Note: valid(e.Note), By: valid(e.By),
		First: uint64(e.First), Last: uint64(e.Last), Count: e.Count,
		Members: membersToProto(e.Members), More: e.More,
	}
	if !e.Time.IsZero() {
		m.TimeNs = e.Time.UnixNano()
	}
	for _, d := range e.Departures {
		m.Departures = append(m.Departures, &wirepb.Departure{Name: d.Name, Uid: d.UID})
	}
	return marshal(m)
}

// Message is a message event. Its slices point into what it was read from.
type Message struct {
	Seq               api.Seq
	UID               uint32
	Nanos             int64 // of the time, since 1970; 0 for none
	From, Payload, To []byte
}

// Time is when the message was admitted.
func (m *Message) Time() time.Time { return timeOf(m.Nanos) }

// ReadMessage reads just what AppendMessage writes, and returns false for all
// else, which DecodeEvent may know.
func ReadMessage(b []byte) (m Message, ok bool) {
	if len(b) < 2 || b[0] != 1<<3 || b[1] != byte(api.KindMessage) {
		return m, false
	}
	b = b[2:]
	var seq, uid uint64
	if !number(&b, 2, &seq) || len(b) < 9 || b[0] != timeTag {
		return m, false
	}
	m.Nanos = int64(binary.LittleEndian.Uint64(b[1:]))
	b = b[9:]
	if !bytesField(&b, 4, &m.From) || !number(&b, 5, &uid) ||
		!bytesField(&b, 6, &m.Payload) || (len(b) > 0 && !bytesField(&b, 7, &m.To)) || len(b) > 0 {
		return m, false
	}
	m.Seq, m.UID = api.Seq(seq), uint32(uid)
	return m, true
}

// timeTag is the tag of an event's time, in eight bytes.
const timeTag = 3<<3 | 1

// DecodeEvent reads any event. Nothing in it points into body.
func DecodeEvent(body []byte, e *Event) error {
	*e = Event{}
	var m wirepb.Event
	if err := proto.Unmarshal(body, &m); err != nil {
		return fmt.Errorf("malformed event: %w", err)
	}
	e.Event = api.Event{
		Kind: api.Kind(m.Kind), Seq: api.Seq(m.Seq), From: m.From, UID: m.Uid, Payload: m.Payload, To: m.To,
		Reason: api.Reason(m.Reason), Note: m.Note, By: m.By,
		First: api.Seq(m.First), Last: api.Seq(m.Last), Count: m.Count, Members: membersFromProto(m.Members),
	}
	e.Time = timeOf(m.TimeNs)
	for _, d := range m.Departures {
		e.Departures = append(e.Departures, Departure{Name: d.Name, UID: d.Uid})
	}
	e.More = m.More
	return nil
}

// timeOf returns the time that an event carries as Unix time; 0 is none.
func timeOf(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}

// EncodeConnect returns the arguments of api.MethodConnect.
func EncodeConnect(c api.Connect) []byte {
	return marshal(&wirepb.ConnectArgs{
		Room: valid(c.Room), Name: valid(c.Name), SendOnly: c.SendOnly, Overflow: uint32(c.Overflow),
		Echo: c.Echo, Presence: c.Presence, Window: c.Window,
	})
}

// DecodeConnect reads the arguments of api.MethodConnect.
func DecodeConnect(b []byte) (api.Connect, error) {
	var m wirepb.ConnectArgs
	if err := unmarshal(b, &m); err != nil {
		return api.Connect{}, err
	}
	return api.Connect{
		Room: m.Room, Name: m.Name, SendOnly: m.SendOnly, Overflow: api.Overflow(m.Overflow),
		Echo: m.Echo, Presence: m.Presence, Window: m.Window,
	}, nil
}

// Connected is the result of api.MethodConnect.
type Connected struct {
	Seq        api.Seq // the highest of the room so far
	Name, Room string
}

// EncodeConnected returns the result of api.MethodConnect.
func EncodeConnected(c Connected) []byte {
	return marshal(&wirepb.ConnectResult{Seq: uint64(c.Seq), Name: c.Name, Room: c.Room})
}

// DecodeConnected reads the result of api.MethodConnect.
func DecodeConnected(b []byte) (Connected, error) {
	var m wirepb.ConnectResult
	err := unmarshal(b, &m)
	return Connected{Seq: api.Seq(m.Seq), Name: m.Name, Room: m.Room}, err
}

// EncodeReceipt returns the result of api.MethodSend; the room is known to the sender.
func EncodeReceipt(r api.Receipt) []byte {
	b := make([]byte, 0, 16)
	return appendField(appendField(b, 1, uint64(r.Seq)), 2, uint64(r.Receivers))
}

// DecodeReceipt reads the result of api.MethodSend.
func DecodeReceipt(b []byte) (api.Receipt, error) {
	var seq, receivers uint64
	rest := b
	if number(&rest, 1, &seq) && number(&rest, 2, &receivers) && len(rest) == 0 {
		return api.Receipt{Seq: api.Seq(seq), Receivers: int(receivers)}, nil
	}
	var m wirepb.Receipt
	err := unmarshal(b, &m)
	return api.Receipt{Seq: api.Seq(m.Seq), Receivers: int(m.Receivers)}, err
}

// EncodeSendTo returns the arguments of api.MethodSendTo.
func EncodeSendTo(name string, payload []byte) []byte {
	return marshal(&wirepb.SendToArgs{Name: valid(name), Payload: payload})
}

// DecodeSendTo reads the arguments of api.MethodSendTo.
func DecodeSendTo(b []byte) (name string, payload []byte, err error) {
	var m wirepb.SendToArgs
	err = unmarshal(b, &m)
	return m.Name, m.Payload, err
}

// EncodeRename returns the arguments of api.MethodRename.
func EncodeRename(name string) []byte { return marshal(&wirepb.RenameArgs{Name: valid(name)}) }

// DecodeRename reads the arguments of api.MethodRename.
func DecodeRename(b []byte) (string, error) {
	var m wirepb.RenameArgs
	err := unmarshal(b, &m)
	return m.Name, err
}

// EncodeCloseWith returns the arguments of api.MethodCloseWith.
func EncodeCloseWith(reason api.Reason, note string) []byte {
	return marshal(&wirepb.CloseWithArgs{Reason: uint32(reason), Note: valid(note)})
}

// DecodeCloseWith reads the arguments of api.MethodCloseWith.
func DecodeCloseWith(b []byte) (api.Reason, string, error) {
	var m wirepb.CloseWithArgs
	err := unmarshal(b, &m)
	return api.Reason(m.Reason), m.Note, err
}

// EncodeWho returns the arguments of api.MethodWho; an empty room stands for all.
func EncodeWho(room string) []byte { return marshal(&wirepb.WhoArgs{Room: valid(room)}) }

// DecodeWho reads the arguments of api.MethodWho.
func DecodeWho(b []byte) (room string, err error) {
	var m wirepb.WhoArgs
	err = unmarshal(b, &m)
	return m.Room, err
}

// EncodeSeats returns the result of api.MethodWho.
func EncodeSeats(seats []api.Seat) []byte {
	m := &wirepb.WhoResult{}
	for _, s := range seats {
		m.Seats = append(m.Seats, &wirepb.Seat{
			Room: s.Room, Name: s.Name, Handle: uint32(s.Handle), Session: uint32(s.Session),
			Uid: s.Identity.UID, Gid: s.Identity.GID, Pid: s.Identity.PID, Subject: valid(s.Identity.Subject), Local: s.Identity.Local,
			SinceNs: s.Since.UnixNano(), Queued: uint32(s.Queued), QueuedBytes: uint64(s.QueuedBytes),
			Awaited: s.Awaited, Parked: uint32(s.Parked), SendOnly: s.SendOnly, Container: valid(s.Identity.Container),
		})
	}
	return marshal(m)
}

// DecodeSeats reads the result of api.MethodWho.
func DecodeSeats(b []byte) ([]api.Seat, error) {
	var m wirepb.WhoResult
	if err := unmarshal(b, &m); err != nil {
		return nil, err
	}
	var seats []api.Seat
	for _, s := range m.Seats {
		seats = append(seats, api.Seat{
			Room: s.Room, Name: s.Name, Handle: api.Handle(s.Handle), Session: api.SessionID(s.Session),
			Identity: api.Identity{UID: s.Uid, GID: s.Gid, PID: s.Pid, Subject: s.Subject, Local: s.Local, Container: s.Container},
			Since:    time.Unix(0, s.SinceNs).UTC(), Queued: int(s.Queued), QueuedBytes: int64(s.QueuedBytes),
			Awaited: s.Awaited, Parked: int(s.Parked), SendOnly: s.SendOnly,
		})
	}
	return seats, nil
}

// EncodeRooms returns the result of api.MethodRooms.
func EncodeRooms(rooms []api.RoomInfo) []byte {
	m := &wirepb.RoomsResult{}
	for _, r := range rooms {
		m.Rooms = append(m.Rooms, &wirepb.Room{Name: r.Name, Members: uint32(r.Members), Seq: uint64(r.Seq)})
	}
	return marshal(m)
}

// DecodeRooms reads the result of api.MethodRooms.
func DecodeRooms(b []byte) ([]api.RoomInfo, error) {
	var m wirepb.RoomsResult
	if err := unmarshal(b, &m); err != nil {
		return nil, err
	}
	var rooms []api.RoomInfo
	for _, r := range m.Rooms {
		rooms = append(rooms, api.RoomInfo{Name: r.Name, Members: int(r.Members), Seq: api.Seq(r.Seq)})
	}
	return rooms, nil
}

// EncodeMembers returns the result of api.MethodMembers.
func EncodeMembers(members []api.Member) []byte {
	return marshal(&wirepb.MembersResult{Members: membersToProto(members)})
}

// DecodeMembers reads the result of api.MethodMembers.
func DecodeMembers(b []byte) ([]api.Member, error) {
	var m wirepb.MembersResult
	err := unmarshal(b, &m)
	return membersFromProto(m.Members), err
}

func membersToProto(members []api.Member) []*wirepb.Member {
	var list []*wirepb.Member
	for _, m := range members {
		list = append(list, &wirepb.Member{Name: m.Name, Uid: m.UID, SinceNs: m.Since.UnixNano()})
	}
	return list
}

func membersFromProto(list []*wirepb.Member) []api.Member {
	var members []api.Member
	for _, m := range list {
		members = append(members, api.Member{Name: m.Name, UID: m.Uid, Since: time.Unix(0, m.SinceNs).UTC()})
	}
	return members
}

func marshal(m proto.Message) []byte {
	b, err := proto.Marshal(m)
	if err != nil {
		panic(fmt.Sprintf("wire: %v", err)) // our own message; only invalid UTF-8 can do this
	}
	return b
}

func unmarshal(b []byte, m proto.Message) error {
	if err := proto.Unmarshal(b, m); err != nil {
		return fmt.Errorf("malformed arguments: %w", err)
	}
	return nil
}
