package wire

import (
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"crier.local/api"
	"crier.local/api/wire/wirepb"
)

// Converters between entries and the messages that protobuf generates.

func clientToProto(e *ClientEntry) proto.Message {
	m := &wirepb.ClientEntry{}
	switch e.Kind {
	case Hello:
		m.Entry = &wirepb.ClientEntry_Hello{Hello: &wirepb.Hello{WireVersion: e.Version, Instance: e.Instance[:]}}
	case Open:
		m.Entry = &wirepb.ClientEntry_Open{Open: &wirepb.Open{Call: e.Call, Selector: selectorToProto(e.Selector)}}
	case Cancel:
		m.Entry = &wirepb.ClientEntry_Cancel{Cancel: &wirepb.Cancel{Call: e.Call}}
	case CloseResource:
		m.Entry = &wirepb.ClientEntry_CloseResource{CloseResource: &wirepb.CloseResource{
			Call: e.Call, Session: uint32(e.Session), Handle: uint32(e.Handle)}}
	case CloseSession:
		m.Entry = &wirepb.ClientEntry_CloseSession{CloseSession: &wirepb.CloseSession{Call: e.Call, Session: uint32(e.Session)}}
	case Flush:
		m.Entry = &wirepb.ClientEntry_Flush{Flush: &wirepb.Flush{Handle: uint32(e.Handle)}}
	case Ping:
		m.Entry = &wirepb.ClientEntry_Ping{Ping: &wirepb.Ping{Call: e.Call}}
	default:
		panic(fmt.Sprintf("wire: client entry of kind %d", e.Kind))
	}
	return m
}

func clientFromProto(m *wirepb.ClientEntry, e *ClientEntry) error {
	switch v := m.Entry.(type) {
	case *wirepb.ClientEntry_Hello:
		e.Kind, e.Version = Hello, v.Hello.WireVersion
		if copy(e.Instance[:], v.Hello.Instance) != len(e.Instance) || len(v.Hello.Instance) != len(e.Instance) {
			return fmt.Errorf("hello: instance of %d bytes, want %d", len(v.Hello.Instance), len(e.Instance))
		}
	case *wirepb.ClientEntry_Open:
		e.Kind, e.Call, e.Selector = Open, v.Open.Call, selectorFromProto(v.Open.Selector)
	case *wirepb.ClientEntry_Invoke:
		e.Kind, e.Call, e.Session = Invoke, v.Invoke.Call, api.SessionID(v.Invoke.Session)
		e.Method, e.Handle, e.Args = api.Method(v.Invoke.Method), api.Handle(v.Invoke.Handle), v.Invoke.Args
		e.Timeout = max(0, time.Duration(v.Invoke.TimeoutNs))
	case *wirepb.ClientEntry_Cancel:
		e.Kind, e.Call = Cancel, v.Cancel.Call
	case *wirepb.ClientEntry_Credit:
		e.Kind, e.Handle, e.Bytes = GrantCredit, api.Handle(v.Credit.Handle), v.Credit.Bytes
	case *wirepb.ClientEntry_CloseResource:
		e.Kind, e.Call = CloseResource, v.CloseResource.Call
		e.Session, e.Handle = api.SessionID(v.CloseResource.Session), api.Handle(v.CloseResource.Handle)
	case *wirepb.ClientEntry_CloseSession:
		e.Kind, e.Call, e.Session = CloseSession, v.CloseSession.Call, api.SessionID(v.CloseSession.Session)
	case *wirepb.ClientEntry_Flush:
		e.Kind, e.Handle = Flush, api.Handle(v.Flush.Handle)
	case *wirepb.ClientEntry_Ping:
		e.Kind, e.Call = Ping, v.Ping.Call
	default:
		return errors.New("entry of an unknown kind")
	}
	return nil
}

func providerToProto(e *ProviderEntry) proto.Message {
	m := &wirepb.ProviderEntry{}
	switch e.Kind {
	case Welcome:
		m.Entry = &wirepb.ProviderEntry_Welcome{Welcome: termsToProto(&e.Welcome)}
	case Opened:
		m.Entry = &wirepb.ProviderEntry_Opened{Opened: &wirepb.Opened{
			Call: e.Call, Session: uint32(e.Session), Provided: selectorToProto(e.Provided)}}
	case Reply:
		m.Entry = &wirepb.ProviderEntry_Reply{Reply: &wirepb.Reply{Call: e.Call, Failure: failureToProto(e.Failure)}}
	case Closed:
		m.Entry = &wirepb.ProviderEntry_Closed{Closed: &wirepb.Closed{
			Handle: uint32(e.Handle), Reason: uint32(e.Reason), Body: e.Body, Note: valid(e.Note)}}
	case Posted:
		m.Entry = &wirepb.ProviderEntry_Posted{Posted: &wirepb.Posted{Handle: uint32(e.Handle), Ended: e.Ended,
			Refused: e.Refused, Failure: failureToProto(e.Failure), Bytes: e.Bytes}}
	case Farewell:
		m.Entry = &wirepb.ProviderEntry_Farewell{Farewell: &wirepb.Farewell{
			Failure: failureToProto(e.Failure), Reason: uint32(e.Reason), Final: e.Final}}
	default:
		panic(fmt.Sprintf("wire: provider entry of kind %d", e.Kind))
	}
	return m
}

func providerFromProto(m *wirepb.ProviderEntry, e *ProviderEntry) error {
	switch v := m.Entry.(type) {
	case *wirepb.ProviderEntry_Welcome:
		e.Kind = Welcome
		return termsFromProto(v.Welcome, &e.Welcome)
	case *wirepb.ProviderEntry_Opened:
		e.Kind, e.Call = Opened, v.Opened.Call
		e.Session, e.Provided = api.SessionID(v.Opened.Session), selectorFromProto(v.Opened.Provided)
	case *wirepb.ProviderEntry_Reply:
		e.Kind, e.Call, e.Body = Reply, v.Reply.Call, v.Reply.Result
		e.Handle, e.Failure = api.Handle(v.Reply.Handle), failureFromProto(v.Reply.Failure)
		e.SendWindow, e.ReceiveWindow = v.Reply.SendWindow, v.Reply.ReceiveWindow
	case *wirepb.ProviderEntry_Notification:
		e.Kind = Notification
		for _, body := range v.Notification.Bodies {
			e.Bodies = e.Bodies.Append(body)
		}
		for _, h := range v.Notification.Handles {
			e.Handles = append(e.Handles, api.Handle(h))
		}
	case *wirepb.ProviderEntry_Closed:
		e.Kind, e.Handle, e.Reason = Closed, api.Handle(v.Closed.Handle), api.Reason(v.Closed.Reason)
		e.Body, e.Note = v.Closed.Body, v.Closed.Note
	case *wirepb.ProviderEntry_Credit:
		e.Kind, e.Handle, e.Bytes = ReturnCredit, api.Handle(v.Credit.Handle), v.Credit.Bytes
	case *wirepb.ProviderEntry_Posted:
		e.Kind, e.Handle, e.Bytes = Posted, api.Handle(v.Posted.Handle), v.Posted.Bytes
		e.Ended, e.Refused, e.Failure = v.Posted.Ended, v.Posted.Refused, failureFromProto(v.Posted.Failure)
	case *wirepb.ProviderEntry_Farewell:
		e.Kind, e.Reason, e.Final = Farewell, api.Reason(v.Farewell.Reason), v.Farewell.Final
		e.Failure = failureFromProto(v.Farewell.Failure)
	}
	return nil
}

func termsToProto(t *Terms) *wirepb.Welcome {
	var tags []string
	for _, tag := range t.Tags {
		tags = append(tags, valid(tag))
	}
	return &wirepb.Welcome{
		WireVersion: t.WireVersion, Epoch: t.Epoch[:], Name: valid(t.Name),
		Version:    &wirepb.Version{Major: t.Version.Major, Minor: t.Version.Minor, Patch: t.Version.Patch},
		Tags:       tags,
		MaxMessage: uint32(t.MaxMessage), HardTop: uint32(t.HardTop), MaxResources: uint32(t.MaxResources),
	}
}

func termsFromProto(m *wirepb.Welcome, t *Terms) error {
	if len(m.Epoch) != len(t.Epoch) {
		return fmt.Errorf("welcome: epoch of %d bytes, want %d", len(m.Epoch), len(t.Epoch))
	}
	copy(t.Epoch[:], m.Epoch)
	t.WireVersion, t.Name, t.Tags = m.WireVersion, m.Name, m.Tags
	t.Version = api.Version{Major: m.Version.GetMajor(), Minor: m.Version.GetMinor(), Patch: m.Version.GetPatch()}
	t.MaxMessage, t.HardTop, t.MaxResources = int(m.MaxMessage), int(m.HardTop), int(m.MaxResources)
	return nil
}

func selectorToProto(s api.Selector) *wirepb.Selector {
	if s == (api.Selector{}) {
		return nil
	}
	return &wirepb.Selector{Uuid: valid(s.UUID), Major: s.Major, Minor: s.Minor}
}

func selectorFromProto(m *wirepb.Selector) api.Selector {
	return api.Selector{UUID: m.GetUuid(), Major: m.GetMajor(), Minor: m.GetMinor()}
}

func failureToProto(f api.Failure) *wirepb.Failure {
	if f.Code == api.CodeNone {
		return nil
	}
	return &wirepb.Failure{
		Code: uint32(f.Code), Text: valid(f.Text), AppCode: f.AppCode, Reason: uint32(f.Reason),
		Asked: selectorToProto(f.Asked), Provided: selectorToProto(f.Provided), Provider: valid(f.Provider),
	}
}

func failureFromProto(m *wirepb.Failure) api.Failure {
	if m == nil {
		return api.Failure{}
	}
	return api.Failure{
		Code: api.Code(m.Code), Text: m.Text, AppCode: m.AppCode, Reason: api.Reason(m.Reason),
		Asked: selectorFromProto(m.Asked), Provided: selectorFromProto(m.Provided), Provider: m.Provider,
	}
}
