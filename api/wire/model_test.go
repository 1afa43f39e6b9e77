package wire_test

import (
	"bytes"
	"math"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"crier.local/api"
	"crier.local/api/wire"
	"crier.local/api/wire/wirepb"
)

// What the messages that protobuf generates mean, written once more: the tests
// hold what package wire reads against it.

// clientModel returns the entry that m stands for; false for one that has to be
// refused.
func clientModel(m *wirepb.ClientEntry) (wire.ClientEntry, bool) {
	e := wire.ClientEntry{}
	switch m := m.Entry.(type) {
	case *wirepb.ClientEntry_Hello:
		e = wire.ClientEntry{Kind: wire.Hello, Version: m.Hello.WireVersion}
		copy(e.Instance[:], m.Hello.Instance)
		return e, len(m.Hello.Instance) == 16
	case *wirepb.ClientEntry_Open:
		e = wire.ClientEntry{Kind: wire.Open, Call: m.Open.Call, Selector: selectorModel(m.Open.Selector)}
	case *wirepb.ClientEntry_Invoke:
		e = invokeModel(m.Invoke)
	case *wirepb.ClientEntry_Cancel:
		e = wire.ClientEntry{Kind: wire.Cancel, Call: m.Cancel.Call}
	case *wirepb.ClientEntry_Credit:
		e = wire.ClientEntry{Kind: wire.GrantCredit, Handle: api.Handle(m.Credit.Handle), Bytes: m.Credit.Bytes}
	case *wirepb.ClientEntry_CloseResource:
		e = wire.ClientEntry{Kind: wire.CloseResource, Call: m.CloseResource.Call,
			Session: api.SessionID(m.CloseResource.Session), Handle: api.Handle(m.CloseResource.Handle)}
	case *wirepb.ClientEntry_CloseSession:
		e = wire.ClientEntry{Kind: wire.CloseSession, Call: m.CloseSession.Call, Session: api.SessionID(m.CloseSession.Session)}
	case *wirepb.ClientEntry_Flush:
		e = wire.ClientEntry{Kind: wire.Flush, Handle: api.Handle(m.Flush.Handle)}
	case *wirepb.ClientEntry_Ping:
		e = wire.ClientEntry{Kind: wire.Ping, Call: m.Ping.Call}
	}
	return e, e.Kind != 0
}

func invokeModel(m *wirepb.Invoke) wire.ClientEntry {
	e := wire.ClientEntry{
		Kind: wire.Invoke, Call: m.Call, Session: api.SessionID(m.Session), Method: api.Method(m.Method),
		Handle: api.Handle(m.Handle), Args: m.Args,
	}
	if m.TimeoutNs <= math.MaxInt64 { // more is for ever
		e.Timeout = time.Duration(m.TimeoutNs)
	}
	return e
}

// providerModel returns the entry that m stands for, of kind 0 for one that is to
// be ignored; false for one that has to be refused.
func providerModel(m *wirepb.ProviderEntry) (wire.ProviderEntry, bool) {
	switch m := m.Entry.(type) {
	case *wirepb.ProviderEntry_Welcome:
		return wire.ProviderEntry{Kind: wire.Welcome, Welcome: termsModel(m.Welcome)}, len(m.Welcome.Epoch) == 16
	case *wirepb.ProviderEntry_Opened:
		return wire.ProviderEntry{Kind: wire.Opened, Call: m.Opened.Call,
			Session: api.SessionID(m.Opened.Session), Provided: selectorModel(m.Opened.Provided)}, true
	case *wirepb.ProviderEntry_Reply:
		return wire.ProviderEntry{Kind: wire.Reply, Call: m.Reply.Call, Body: m.Reply.Result,
			Handle: api.Handle(m.Reply.Handle), Failure: failureModel(m.Reply.Failure),
			SendWindow: m.Reply.SendWindow, ReceiveWindow: m.Reply.ReceiveWindow}, true
	case *wirepb.ProviderEntry_Notification:
		e := wire.ProviderEntry{Kind: wire.Notification}
		for _, body := range m.Notification.Bodies {
			e.Bodies = e.Bodies.Append(body)
		}
		for _, h := range m.Notification.Handles {
			e.Handles = append(e.Handles, api.Handle(h))
		}
		return e, true
	case *wirepb.ProviderEntry_Closed:
		return wire.ProviderEntry{Kind: wire.Closed, Handle: api.Handle(m.Closed.Handle),
			Reason: api.Reason(m.Closed.Reason), Body: m.Closed.Body, Note: m.Closed.Note}, true
	case *wirepb.ProviderEntry_Credit:
		return wire.ProviderEntry{Kind: wire.ReturnCredit, Handle: api.Handle(m.Credit.Handle), Bytes: m.Credit.Bytes}, true
	case *wirepb.ProviderEntry_Posted:
		return wire.ProviderEntry{Kind: wire.Posted, Handle: api.Handle(m.Posted.Handle), Bytes: m.Posted.Bytes,
			Ended: m.Posted.Ended, Refused: m.Posted.Refused, Failure: failureModel(m.Posted.Failure)}, true
	case *wirepb.ProviderEntry_Farewell:
		return wire.ProviderEntry{Kind: wire.Farewell, Failure: failureModel(m.Farewell.Failure),
			Reason: api.Reason(m.Farewell.Reason), Final: m.Farewell.Final}, true
	}
	return wire.ProviderEntry{}, true
}

func termsModel(m *wirepb.Welcome) wire.Terms {
	t := wire.Terms{
		WireVersion: m.WireVersion, Name: m.Name, Tags: m.Tags,
		Version:    api.Version{Major: m.GetVersion().GetMajor(), Minor: m.GetVersion().GetMinor(), Patch: m.GetVersion().GetPatch()},
		MaxMessage: int(m.MaxMessage), HardTop: int(m.HardTop), MaxResources: int(m.MaxResources),
	}
	copy(t.Epoch[:], m.Epoch)
	return t
}

func selectorModel(m *wirepb.Selector) api.Selector {
	return api.Selector{UUID: m.GetUuid(), Major: m.GetMajor(), Minor: m.GetMinor()}
}

func failureModel(m *wirepb.Failure) api.Failure {
	return api.Failure{
		Code: api.Code(m.GetCode()), Text: m.GetText(), AppCode: m.GetAppCode(), Reason: api.Reason(m.GetReason()),
		Asked: selectorModel(m.GetAsked()), Provided: selectorModel(m.GetProvided()), Provider: m.GetProvider(),
	}
}

// eventModel returns the event that m stands for.
func eventModel(m *wirepb.Event) wire.Event {
	e := wire.Event{More: m.More, Event: api.Event{
		Kind: api.Kind(m.Kind), Seq: api.Seq(m.Seq), From: m.From, UID: m.Uid, Payload: m.Payload, To: m.To,
		Reason: api.Reason(m.Reason), Note: m.Note, By: m.By,
		First: api.Seq(m.First), Last: api.Seq(m.Last), Count: m.Count,
	}}
	if m.TimeNs != 0 {
		e.Time = time.Unix(0, m.TimeNs).UTC()
	}
	for _, member := range m.Members {
		e.Members = append(e.Members, api.Member{Name: member.Name, UID: member.Uid, Since: time.Unix(0, member.SinceNs).UTC()})
	}
	for _, d := range m.Departures {
		e.Departures = append(e.Departures, wire.Departure{Name: d.Name, UID: d.Uid})
	}
	return e
}

// eventOf returns the event that a message is.
func eventOf(m *wire.Message) wire.Event {
	return wire.Event{Event: api.Event{Kind: api.KindMessage, Seq: m.Seq, Time: m.Time(), UID: m.UID,
		From: string(m.From), Payload: m.Payload, To: string(m.To)}}
}

// same reports a difference between what was read and what was meant. Nothing
// and empty are the same, as on the wire; bodies are, however long their lengths are.
func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty(), quick(), oneByOne()); diff != "" {
		t.Errorf("%s (- want, + got):\n%s", what, diff)
	}
}

// bodiesOf returns bodies as an entry has them, listOf one by one.
func bodiesOf(list ...string) (b wire.Bodies) {
	for _, body := range list {
		b = b.Append([]byte(body))
	}
	return b
}

func listOf(b wire.Bodies) (list [][]byte) {
	for body, ok := b.Next(); ok; body, ok = b.Next() {
		list = append(list, body)
	}
	if len(b) > 0 {
		panic("bodies that are malformed")
	}
	return list
}

// quick compares many bytes at once, which cmp does one by one.
func quick() cmp.Option {
	many := func(a, b []byte) bool { return len(a) > 1000 && len(b) > 1000 }
	return cmp.FilterPath(isOf[[]byte], cmp.FilterValues(many, cmp.Comparer(bytes.Equal)))
}

// oneByOne compares the bodies of entries, and not how they are encoded.
func oneByOne() cmp.Option {
	some := func(a, b wire.Bodies) bool { return len(a)+len(b) > 0 }
	return cmp.FilterPath(isOf[wire.Bodies], cmp.FilterValues(some, cmp.Transformer("bodies", listOf)))
}

func isOf[T any](p cmp.Path) bool { return p.Last().Type() == reflect.TypeFor[T]() }

// readClient returns the entries of a client's batch.
func readClient(batch []byte) ([]wire.ClientEntry, error) {
	reader := wire.NewReader(batch)
	var entries []wire.ClientEntry
	for {
		var e wire.ClientEntry
		more, err := reader.NextClient(&e)
		if !more || err != nil {
			return entries, err
		}
		entries = append(entries, e)
	}
}

// readProvider returns the entries of a provider's batch.
func readProvider(batch []byte) ([]wire.ProviderEntry, error) {
	reader := wire.NewReader(batch)
	var entries []wire.ProviderEntry
	for {
		var e wire.ProviderEntry
		more, err := reader.NextProvider(&e)
		if !more || err != nil {
			return entries, err
		}
		entries = append(entries, e)
	}
}
