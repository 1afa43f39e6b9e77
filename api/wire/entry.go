// Package wire carries Crier's protocol: its entries as Go values, their
// encoding, the streams that carry batches of them, and the shapes of the
// notification service. Only packages provider and client, and those below
// them, import it; PROTOCOL.md in package api explains it.
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

// ClientKind is the kind of an entry that a client writes: its field number in
// wirepb.ClientEntry.
type ClientKind protowire.Number

// The entries of a client.
const (
	Hello         ClientKind = 1
	Open          ClientKind = 2
	Invoke        ClientKind = 3
	Cancel        ClientKind = 4
	GrantCredit   ClientKind = 5
	CloseResource ClientKind = 6
	CloseSession  ClientKind = 7
	Flush         ClientKind = 8
	Ping          ClientKind = 9
)

// ClientEntry is one entry of a client's batch. Kind says which fields mean
// something; Args points into the batch it was read from.
type ClientEntry struct {
	Kind     ClientKind
	Call     uint32         // Open, Invoke, Cancel, CloseResource, CloseSession, Ping
	Session  api.SessionID  // Invoke, CloseResource, CloseSession
	Method   api.Method     // Invoke
	Handle   api.Handle     // Invoke, GrantCredit, CloseResource, Flush
	Bytes    uint32         // GrantCredit
	Args     []byte         // Invoke
	Timeout  time.Duration  // Invoke; 0 for none
	Version  uint32         // Hello: the wire version
	Instance api.InstanceID // Hello
	Selector api.Selector   // Open
}

// ProviderKind is the kind of an entry that a provider writes: its field number
// in wirepb.ProviderEntry.
type ProviderKind protowire.Number

// The entries of a provider.
const (
	Welcome      ProviderKind = 1
	Opened       ProviderKind = 2
	Reply        ProviderKind = 3
	Notification ProviderKind = 4
	Closed       ProviderKind = 5
	ReturnCredit ProviderKind = 6
	Posted       ProviderKind = 7
	Farewell     ProviderKind = 8
)

// ProviderEntry is one entry of a provider's batch. Kind says which fields mean
// something; Body and Bodies point into the batch it was read from.
type ProviderEntry struct {
	Kind          ProviderKind
	Call          uint32        // Opened, Reply
	Session       api.SessionID // Opened
	Provided      api.Selector  // Opened
	Handle        api.Handle    // Reply, Closed, ReturnCredit, Posted
	Handles       []api.Handle  // Notification
	Bodies        Bodies        // Notification
	Body          []byte        // Reply: the result; Closed: the last notification, nil for none
	SendWindow    uint32        // Reply
	ReceiveWindow uint32        // Reply
	Bytes         uint32        // ReturnCredit, Posted
	Ended         uint32        // Posted
	Refused       uint32        // Posted
	Reason        api.Reason    // Closed, Farewell
	Note          string        // Closed
	Final         bool          // Farewell
	Failure       api.Failure   // Reply, Posted, Farewell
	Welcome       Terms         // Welcome
}

// Terms is what a provider states in its welcome.
type Terms struct {
	WireVersion  uint32
	Epoch        api.Epoch
	Name         string
	Version      api.Version
	Tags         []string
	MaxMessage   int // bytes; larger is refused
	HardTop      int // bytes; larger ends the stream
	MaxResources int // per process
}

// AppendClient appends e to a batch and returns the extended batch.
func AppendClient(b []byte, e *ClientEntry) []byte {
	switch e.Kind {
	case Invoke:
		return appendInvoke(b, e)
	case GrantCredit:
		return appendCredit(b, protowire.Number(e.Kind), e.Handle, e.Bytes)
	default:
		return appendMessage(b, clientToProto(e))
	}
}

// AppendProvider appends e to a batch and returns the extended batch. A
// notification is appended by [AppendNotification] too, without an entry.
func AppendProvider(b []byte, e *ProviderEntry) []byte {
	switch e.Kind {
	case Notification:
		return append(AppendNotification(b, e.Handles, len(e.Bodies)), e.Bodies...)
	case ReturnCredit:
		return appendCredit(b, protowire.Number(e.Kind), e.Handle, e.Bytes)
	case Reply:
		if e.Failure.Code == api.CodeNone {
			return appendReply(b, e)
		}
	}
	return appendMessage(b, providerToProto(e))
}

// Bodies are the bodies of notifications in a row, as an entry has them: what is
// sent to many is encoded once.
type Bodies []byte

// BodyOverhead bounds the bytes that Append adds to a body.
const BodyOverhead = 1 + 5

const bodyTag = 2<<3 | 2

// Append appends a body.
func (b Bodies) Append(body []byte) Bodies { return append(b.AppendHead(len(body)), body...) }

// AppendHead appends what comes before a body of so many bytes, which has to
// follow at once.
func (b Bodies) AppendHead(size int) Bodies {
	return protowire.AppendVarint(append(b, bodyTag), uint64(size))
}

// Next removes the first body and returns it; false if there is none. Those of an
// entry that was read are well formed.
func (b *Bodies) Next() (body []byte, ok bool) {
	body, n := lengthPrefixed(*b, 2)
	if n == 0 {
		return nil, false
	}
	*b = (*b)[n:]
	return body, true
}

// AppendNotification appends what comes before the bodies, of so many bytes
// together, of a notification to handles. They have to follow at once.
func AppendNotification(b []byte, handles []api.Handle, bodies int) []byte {
	packed := 0
	for _, h := range handles {
		packed += protowire.SizeVarint(uint64(h))
	}
	b = appendHeader(b, protowire.Number(Notification), 1+protowire.SizeBytes(packed)+bodies)
	b = append(b, 1<<3|2)
	b = binary.AppendUvarint(b, uint64(packed))
	for _, h := range handles {
		b = binary.AppendUvarint(b, uint64(h))
	}
	return b
}

// NotificationOverhead bounds the bytes that AppendNotification adds for n handles.
func NotificationOverhead(n int) int { return 20 + 5*n }

func appendInvoke(b []byte, e *ClientEntry) []byte {
	inner := sizeField(uint64(e.Call)) + sizeField(uint64(e.Session)) + sizeField(uint64(e.Method)) +
		sizeField(uint64(e.Handle)) + sizeField(uint64(e.Timeout))
	if len(e.Args) > 0 {
		inner += 1 + protowire.SizeBytes(len(e.Args))
	}
	b = appendHeader(b, protowire.Number(Invoke), inner)
	b = appendField(b, 1, uint64(e.Call))
	b = appendField(b, 2, uint64(e.Session))
	b = appendField(b, 3, uint64(e.Method))
	b = appendField(b, 4, uint64(e.Handle))
	if len(e.Args) > 0 {
		b = append(b, 5<<3|2)
		b = protowire.AppendBytes(b, e.Args)
	}
	return appendField(b, 6, uint64(e.Timeout))
}

func appendReply(b []byte, e *ProviderEntry) []byte {
	inner := sizeField(uint64(e.Call)) + sizeField(uint64(e.Handle)) +
		sizeField(uint64(e.SendWindow)) + sizeField(uint64(e.ReceiveWindow))
	if len(e.Body) > 0 {
		inner += 1 + protowire.SizeBytes(len(e.Body))
	}
	b = appendHeader(b, protowire.Number(Reply), inner)
	b = appendField(b, 1, uint64(e.Call))
	if len(e.Body) > 0 {
		b = append(b, 2<<3|2)
		b = protowire.AppendBytes(b, e.Body)
	}
	b = appendField(b, 3, uint64(e.Handle))
	b = appendField(b, 5, uint64(e.SendWindow))
	return appendField(b, 6, uint64(e.ReceiveWindow))
}

func appendCredit(b []byte, kind protowire.Number, h api.Handle, bytes uint32) []byte {
	b = appendHeader(b, kind, sizeField(uint64(h))+sizeField(uint64(bytes)))
	b = appendField(b, 1, uint64(h))
	return appendField(b, 2, uint64(bytes))
}

// appendHeader starts an entry of the given kind whose message has inner bytes.
func appendHeader(b []byte, kind protowire.Number, inner int) []byte {
	b = append(b, 1<<3|2)
	b = protowire.AppendVarint(b, uint64(1+protowire.SizeBytes(inner)))
	b = append(b, byte(kind)<<3|2)
	return protowire.AppendVarint(b, uint64(inner))
}

func sizeField(v uint64) int {
	if v == 0 {
		return 0
	}
	return 1 + protowire.SizeVarint(v)
}

func appendField(b []byte, number byte, v uint64) []byte {
	if v == 0 {
		return b
	}
	return protowire.AppendVarint(append(b, number<<3), v)
}

func appendMessage(b []byte, m proto.Message) []byte {
	size := proto.Size(m)
	b = append(b, 1<<3|2)
	b = protowire.AppendVarint(b, uint64(size))
	b, err := proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(b, m)
	if err != nil {
		panic(fmt.Sprintf("wire: %v", err)) // our own message; only invalid UTF-8 can do this
	}
	return b
}

// Reader reads the entries of a batch, one after the other. It accepts any legal
// protobuf encoding; what this package writes is read without protobuf's help.
type Reader struct {
	rest []byte
}

// NewReader returns a reader of batch.
func NewReader(batch []byte) Reader { return Reader{rest: batch} }

// next returns the bytes of the next entry; nil, nil at the end.
func (r *Reader) next() ([]byte, error) {
	for len(r.rest) > 0 {
		if entry, n := lengthPrefixed(r.rest, 1); n > 0 {
			r.rest = r.rest[n:]
			return entry, nil
		}
		number, kind, n := protowire.ConsumeTag(r.rest)
		if n < 0 {
			return nil, fmt.Errorf("malformed batch: %w", protowire.ParseError(n))
		}
		if entry, m := protowire.ConsumeBytes(r.rest[n:]); m > 0 && number == 1 && kind == protowire.BytesType {
			r.rest = r.rest[n+m:] // its tag was longer than it need be
			return entry, nil
		}
		m := protowire.ConsumeFieldValue(number, kind, r.rest[n:])
		if m < 0 {
			return nil, fmt.Errorf("malformed batch: %w", protowire.ParseError(m))
		}
		r.rest = r.rest[n+m:]
	}
	return nil, nil
}

// NextClient reads the next entry into e and reports whether there was one. An
// entry of a kind that this version does not know is an error.
func (r *Reader) NextClient(e *ClientEntry) (bool, error) {
	entry, err := r.next()
	if entry == nil || err != nil {
		return false, err
	}
	*e = ClientEntry{}
	if readInvoke(entry, e) || readCredit(entry, byte(GrantCredit), &e.Handle, &e.Bytes) {
		if e.Kind == 0 {
			e.Kind = GrantCredit
		}
		return true, nil
	}
	*e = ClientEntry{}
	var m wirepb.ClientEntry
	if err := proto.Unmarshal(entry, &m); err != nil {
		return false, fmt.Errorf("malformed entry: %w", err)
	}
	return true, clientFromProto(&m, e)
}

// NextProvider reads the next entry into e and reports whether there was one.
// The handles of e are overwritten by the next call. An entry of a kind that
// this version does not know has Kind 0 and is to be ignored.
func (r *Reader) NextProvider(e *ProviderEntry) (bool, error) {
	entry, err := r.next()
	if entry == nil || err != nil {
		return false, err
	}
	handles := e.Handles[:0]
	e.Kind, e.Handles, e.Bodies = 0, handles, nil
	if readNotification(entry, e) {
		return true, nil
	}
	*e = ProviderEntry{Handles: handles}
	if readReply(entry, e) || readCredit(entry, byte(ReturnCredit), &e.Handle, &e.Bytes) {
		if e.Kind == 0 {
			e.Kind = ReturnCredit
		}
		return true, nil
	}
	*e = ProviderEntry{Handles: handles}
	var m wirepb.ProviderEntry
	if err := proto.Unmarshal(entry, &m); err != nil {
		return false, fmt.Errorf("malformed entry: %w", err)
	}
	return true, providerFromProto(&m, e)
}

// The readers below accept just what this package writes: fields in order, none
// twice, nothing unknown. They return false for everything else, which protobuf
// then reads.

func readInvoke(b []byte, e *ClientEntry) bool {
	b, ok := message(b, byte(Invoke))
	if !ok {
		return false
	}
	e.Kind = Invoke
	var call, session, method, handle, timeout uint64
	if !number(&b, 1, &call) || !number(&b, 2, &session) || !number(&b, 3, &method) ||
		!number(&b, 4, &handle) || !bytesField(&b, 5, &e.Args) || !number(&b, 6, &timeout) || len(b) > 0 {
		return false
	}
	e.Call, e.Session, e.Method = uint32(call), api.SessionID(session), api.Method(method)
	e.Handle, e.Timeout = api.Handle(handle), time.Duration(timeout)
	return e.Timeout >= 0
}

func readReply(b []byte, e *ProviderEntry) bool {
	b, ok := message(b, byte(Reply))
	if !ok {
		return false
	}
	e.Kind = Reply
	var call, handle, send, receive uint64
	if !number(&b, 1, &call) || !bytesField(&b, 2, &e.Body) || !number(&b, 3, &handle) ||
		!number(&b, 5, &send) || !number(&b, 6, &receive) || len(b) > 0 {
		return false
	}
	e.Call, e.Handle = uint32(call), api.Handle(handle)
	e.SendWindow, e.ReceiveWindow = uint32(send), uint32(receive)
	return true
}

func readNotification(b []byte, e *ProviderEntry) bool {
	b, ok := message(b, byte(Notification))
	if !ok {
		return false
	}
	e.Kind = Notification
	var packed []byte
	if !bytesField(&b, 1, &packed) {
		return false
	}
	e.Bodies = b
	for rest := e.Bodies; len(rest) > 0; {
		if _, ok := rest.Next(); !ok {
			return false
		}
	}
	for len(packed) > 0 {
		h, n := varint(packed)
		if n <= 0 {
			return false
		}
		e.Handles = append(e.Handles, api.Handle(h))
		packed = packed[n:]
	}
	return true
}

func readCredit(b []byte, kind byte, h *api.Handle, bytes *uint32) bool {
	b, ok := message(b, kind)
	var handle, amount uint64
	if !ok || !number(&b, 1, &handle) || !number(&b, 2, &amount) || len(b) > 0 {
		return false
	}
	*h, *bytes = api.Handle(handle), uint32(amount)
	return true
}

// message returns the content of b, if b is one message field of that number.
func message(b []byte, field byte) ([]byte, bool) {
	content, n := lengthPrefixed(b, field)
	return content, n > 0 && n == len(b)
}

// lengthPrefixed reads a field of bytes with that number from the front of b, and
// returns its size with tag and length; 0 if there is none.
func lengthPrefixed(b []byte, field byte) (content []byte, size int) {
	if len(b) < 2 || b[0] != field<<3|2 {
		return nil, 0
	}
	length, n := uint64(b[1]), 1
	if length >= 0x80 {
		if length, n = binary.Uvarint(b[1:]); n <= 0 {
			return nil, 0
		}
	}
	if length > uint64(len(b)-1-n) {
		return nil, 0
	}
	size = 1 + n + int(length)
	return b[1+n : size : size], size
}

// number reads an optional varint field from the front of b.
func number(b *[]byte, field byte, v *uint64) bool {
	if len(*b) == 0 || (*b)[0] != field<<3 {
		return true
	}
	value, n := binary.Uvarint((*b)[1:])
	if n <= 0 {
		return false
	}
	*v, *b = value, (*b)[1+n:]
	return true
}

// bytesField reads an optional bytes field from the front of b.
func bytesField(b *[]byte, field byte, v *[]byte) bool {
	if len(*b) == 0 || (*b)[0] != field<<3|2 {
		return true
	}
	value, size := lengthPrefixed(*b, field)
	if size == 0 {
		return false
	}
	*v, *b = value, (*b)[size:]
	return true
}

// varint reads a varint, most of which are one byte long, from the front of b.
func varint(b []byte) (uint64, int) {
	if len(b) > 0 && b[0] < 0x80 {
		return uint64(b[0]), 1
	}
	return protowire.ConsumeVarint(b)
}
