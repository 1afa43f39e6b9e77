package api

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// The notification service: rooms whose connections hear each other.
//
// A connection is a resource of the service; its handle is what Connect
// returns. Everything a room does is an event with a sequence number, and all
// its members see its events in the same order. Numbers rise for each
// connection but are not contiguous (nobody hears what it sent, and not
// everybody asked for presence), so only a gap means loss.
//
// Arguments, results and events travel in the shapes of
// wire/wirepb/notification.proto.

// NotificationUUID identifies the notification service.
const NotificationUUID = "crier.local/notification"

// NotificationSelector is the notification service as this module provides it.
// Version 1.0 has Connect and Send; a client that asks for it gets one room, no
// names and no presence.
var NotificationSelector = Selector{UUID: NotificationUUID, Major: 1, Minor: 1}

// The methods of the notification service. Those after MethodSend need 1.1.
const (
	// MethodConnect takes ConnectArgs and returns ConnectResult with a handle.
	MethodConnect Method = 0
	// MethodSend is called on a connection's handle, takes the payload as it is
	// and returns a Receipt. Without a reply asked for it is a post.
	MethodSend Method = 1
	// MethodSendTo is called on a handle, takes SendToArgs and returns a Receipt.
	MethodSendTo Method = 2
	// MethodRename is called on a handle and takes RenameArgs.
	MethodRename Method = 3
	// MethodWho takes WhoArgs and returns the connections there are.
	MethodWho Method = 4
	// MethodRooms returns the rooms there are.
	MethodRooms Method = 5
	// MethodMembers is called on a handle and returns the room's members.
	MethodMembers Method = 6
	// MethodCloseWith is called on a handle, takes CloseWithArgs and closes it.
	MethodCloseWith Method = 7
)

// Limits and defaults of the notification service.
const (
	// DefaultRoom is where a connection goes that names no room.
	DefaultRoom = "lobby"
	// MaxRoomName and MaxName are in bytes.
	MaxRoomName = 128
	MaxName     = 64
	// ReservedPrefix starts the names the provider gives to unnamed
	// connections; nobody can ask for one.
	ReservedPrefix = "client-"
)

// Overflow is what happens when a receiver's queue is full.
type Overflow uint32

const (
	// OverflowWait makes senders wait, and evicts a receiver that makes them wait
	// for the stall deadline. The default.
	OverflowWait Overflow = 0
	// OverflowGap drops the oldest messages; a gap tells which.
	OverflowGap Overflow = 1
)

// Connect says what a connection should be.
type Connect struct {
	// Room is the room's name; empty means [DefaultRoom].
	Room string
	// Name is the connection's name, unique in its room; empty for none.
	Name string
	// SendOnly makes a connection that hears nothing and is neither listed nor
	// announced.
	SendOnly bool
	// Overflow is the policy of its queue.
	Overflow Overflow
	// Echo returns to the connection what it sends itself.
	Echo bool
	// Presence asks for joined, left and renamed, and for the members there are.
	Presence bool
	// Window is how many bytes may be on their way to the connection before it
	// takes them, 64 for each event included, and how many it may have sent that
	// still wait for a receiver; 0 means 1 MiB, which is also the most.
	Window uint32
}

// Receipt says what became of a message.
type Receipt struct {
	// Room is where it was sent.
	Room string
	// Seq is its number in the room.
	Seq Seq
	// Receivers counts the connections it was queued for; 0 is no error.
	Receivers int
}

// Kind is the kind of an event.
type Kind uint32

// The kinds of events. Numbers are only ever appended.
const (
	KindMessage     Kind = 1 // From sent Payload
	KindJoined      Kind = 2 // From came
	KindLeft        Kind = 3 // From went, because of Reason
	KindRenamed     Kind = 4 // From is now To
	KindGap         Kind = 5 // Count events of First to Last were dropped
	KindMembers     Kind = 6 // Members are there now: what was known before no longer holds
	KindReconnected Kind = 7 // the same provider run again; First to Last may have been missed
	KindRestarted   Kind = 8 // another provider run, Epoch; numbers start anew
)

var kinds = [...]string{
	KindMessage:     "message",
	KindJoined:      "joined",
	KindLeft:        "left",
	KindRenamed:     "renamed",
	KindGap:         "gap",
	KindMembers:     "members",
	KindReconnected: "reconnected",
	KindRestarted:   "restarted",
}

// String returns the word for k that the command line and JSON use.
func (k Kind) String() string {
	if int64(k) < int64(len(kinds)) && kinds[k] != "" {
		return kinds[k]
	}
	return fmt.Sprintf("kind %d", uint32(k))
}

// Event is what a connection receives. The provider stamps From, UID, Seq and
// Time; nothing in them is the sender's claim.
type Event struct {
	Kind Kind
	// Seq numbers the event in its room; 0 for gap, members, reconnected and
	// restarted.
	Seq Seq
	// Time is when the provider admitted it, to the nanosecond, UTC.
	Time time.Time
	// From is the connection it is about, as the room knows it.
	From string
	// UID is the user of From's process.
	UID uint32
	// Payload is the message: 0 bytes or more. It may be kept for as long as one
	// likes, but not changed: connections of one process share it.
	Payload []byte
	// To is the new name (renamed), or set when the message was for this
	// connection alone (its own name).
	To string
	// Reason, and Note in words, say why From left. By is set when a gateway
	// said so of a connection of its own: the identity of the gateway.
	Reason Reason
	Note   string
	By     string
	// First, Last and Count describe what is missing (gap), or may have been
	// missed (reconnected, where Count is 0).
	First, Last Seq
	Count       uint64
	// Members are those in the room, oneself included.
	Members []Member
	// Epoch is the new run (restarted).
	Epoch Epoch
}

// Member is a connection of a room, as others see it.
type Member struct {
	Name  string
	UID   uint32
	Since time.Time
}

// Seat is a connection as an operator sees it.
type Seat struct {
	Room, Name string
	Handle     Handle
	Session    SessionID
	Identity   Identity
	Since      time.Time
	// Queued and QueuedBytes are the events the provider holds for it.
	Queued      int
	QueuedBytes int64
	// Awaited is true while senders wait for it, Parked counts its own sends that wait.
	Awaited bool
	Parked  int
	// SendOnly is true for one that does not receive.
	SendOnly bool
}

// RoomInfo describes a room.
type RoomInfo struct {
	Name    string
	Members int
	Seq     Seq
}

// CheckRoom returns [ErrBadName] with the rule that name breaks as a room's
// name, or nil.
func CheckRoom(name string) error { return checkText("room", name, MaxRoomName) }

// CheckName returns [ErrBadName] with the rule that name breaks as the name of a
// connection, or nil.
func CheckName(name string) error {
	if strings.HasPrefix(FoldName(name), FoldName(ReservedPrefix)) {
		return fmt.Errorf("%w %q: names that start with %s are the provider's", ErrBadName, name, ReservedPrefix)
	}
	return checkText("name", name, MaxName)
}

func checkText(noun, text string, limit int) error {
	broken := func(rule string) error { return fmt.Errorf("%w: %s %q %s", ErrBadName, noun, text, rule) }
	switch {
	case text == "":
		return broken("is empty")
	case len(text) > limit:
		return fmt.Errorf("%w: %s of %d bytes is too long, %d at most", ErrBadName, noun, len(text), limit)
	case !utf8.ValidString(text):
		return broken("is not valid UTF-8")
	}
	for _, r := range text {
		if unicode.In(r, unicode.Cc, unicode.Cf) {
			return broken("has a control or format character")
		}
	}
	if first, _ := utf8.DecodeRuneInString(text); unicode.IsSpace(first) {
		return broken("starts with a space")
	}
	if last, _ := utf8.DecodeLastRuneInString(text); unicode.IsSpace(last) {
		return broken("ends with a space")
	}
	return nil
}

// FoldName returns the form of name under which names are compared: two names
// that differ only by simple case folding have the same one.
func FoldName(name string) string {
	return strings.Map(func(r rune) rune {
		least := r
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			least = min(least, f)
		}
		return least
	}, name)
}
