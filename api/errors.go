package api

import (
	"context"
	"errors"
	"fmt"
)

// The errors of Crier. Each has its own code on the wire ([CodeOf]) and is the
// same value on both sides under [errors.Is].
var (
	// ErrNoProvider: no provider of the service was found, or none answers.
	ErrNoProvider = errors.New("cannot find service")
	// ErrAmbiguous: several providers fit equally well.
	ErrAmbiguous = errors.New("cannot disambiguate")
	// ErrVersion: the provider has another version; a [*VersionError] tells which.
	ErrVersion = errors.New("version not provided")
	// ErrClosed: the client, session, resource or connection was closed, or the
	// provider is going away.
	ErrClosed = errors.New("closed")
	// ErrDisconnected: the link to the provider broke; what was opened over it is gone.
	ErrDisconnected = errors.New("disconnected")
	// ErrGone: the provider said farewell, or the time to find it again is over.
	ErrGone = errors.New("provider gone")
	// ErrUnknownHandle: the handle is unknown, closed, another session's or
	// another kind's; which of them is not told.
	ErrUnknownHandle = errors.New("unknown handle")
	// ErrNoMethod: the service, in the version asked for, has no such method.
	ErrNoMethod = errors.New("no such method")
	// ErrNotNotifiable: the resource was made without notifications.
	ErrNotNotifiable = errors.New("resource not notifiable")
	// ErrFull: a queue has no room for it. Nobody got it.
	ErrFull = errors.New("queue full")
	// ErrTooMany: too many calls at once, or too many resources.
	ErrTooMany = errors.New("too many requests")
	// ErrTooLarge: over the provider's limit for messages. Nobody got it.
	ErrTooLarge = errors.New("message too large")
	// ErrNameTaken: another connection in the room has the name.
	ErrNameTaken = errors.New("name taken")
	// ErrBadName: the name of a room or connection breaks a rule; the text says which.
	ErrBadName = errors.New("bad name")
	// ErrDenied: the provider's rules do not admit this process.
	ErrDenied = errors.New("denied")
	// ErrOutcomeUnknown: the link or the context ended while the answer was
	// outstanding. It may or may not have happened; Crier does not repeat it.
	ErrOutcomeUnknown = errors.New("outcome unknown")
	// ErrEvicted: the provider ended the connection; an [*EvictedError] tells why.
	ErrEvicted = errors.New("evicted")
)

// Code stands for an error on the wire. Codes are only ever appended.
type Code uint32

// CodeNone is no error, CodeCall an error of the service's own ([*CallError]).
const (
	CodeNone Code = 0
	CodeCall Code = 1
)

// codes is the one table between errors and their numbers.
var codes = [...]error{
	2:  ErrNoProvider,
	3:  ErrAmbiguous,
	4:  ErrVersion,
	5:  ErrClosed,
	6:  ErrDisconnected,
	7:  ErrGone,
	8:  ErrUnknownHandle,
	9:  ErrNoMethod,
	10: ErrNotNotifiable,
	11: ErrFull,
	12: ErrTooMany,
	13: ErrTooLarge,
	14: ErrNameTaken,
	15: ErrBadName,
	16: ErrDenied,
	17: ErrOutcomeUnknown,
	18: ErrEvicted,
	19: context.DeadlineExceeded,
	20: context.Canceled,
}

// CodeOf returns the code of the sentinel that err wraps; CodeNone for nil, and
// CodeCall for an error that is none of Crier's.
func CodeOf(err error) Code {
	if err == nil {
		return CodeNone
	}
	for code, sentinel := range codes {
		if sentinel != nil && errors.Is(err, sentinel) {
			return Code(code)
		}
	}
	return CodeCall
}

// Failure is an error as it travels.
type Failure struct {
	Code Code
	// Text is the error's whole text.
	Text string
	// AppCode is the service's own number, with CodeCall.
	AppCode int32
	// Reason is why a connection was evicted, with the code of [ErrEvicted].
	Reason Reason
	// Asked and Provided are the versions, with the code of [ErrVersion].
	Asked, Provided Selector
	// Provider is who refused, with the code of [ErrVersion].
	Provider string
}

// FailureOf returns err as it travels; the zero Failure for nil.
func FailureOf(err error) Failure {
	if err == nil {
		return Failure{}
	}
	f := Failure{Code: CodeOf(err), Text: err.Error()}
	if e, ok := errors.AsType[*CallError](err); ok {
		f.Text, f.AppCode = e.Text, e.AppCode
	}
	if e, ok := errors.AsType[*EvictedError](err); ok {
		f.Reason, f.Text = e.Reason, e.Note
	}
	if e, ok := errors.AsType[*VersionError](err); ok {
		f.Asked, f.Provided, f.Provider = e.Asked, e.Provided, e.Provider
	}
	return f
}

// Err returns the error that f stands for; nil for the zero Failure. A code from
// a newer provider becomes a [*CallError] with the text it came with.
func (f Failure) Err() error {
	if f.Code == CodeNone {
		return nil
	}
	var sentinel error
	if int64(f.Code) < int64(len(codes)) {
		sentinel = codes[f.Code]
	}
	switch {
	case sentinel == nil:
		return &CallError{Text: f.Text, AppCode: f.AppCode}
	case errors.Is(sentinel, ErrVersion) && f.Asked.UUID != "":
		return &VersionError{Provider: f.Provider, Asked: f.Asked, Provided: f.Provided}
	case errors.Is(sentinel, ErrEvicted):
		return &EvictedError{Reason: f.Reason, Note: f.Text}
	case f.Text == "" || f.Text == sentinel.Error():
		return sentinel
	default:
		return &remoteError{sentinel: sentinel, text: f.Text}
	}
}

// remoteError is a sentinel with the words the other side put around it.
type remoteError struct {
	sentinel error
	text     string
}

func (e *remoteError) Error() string { return e.text }
func (e *remoteError) Unwrap() error { return e.sentinel }

// CallError is an error that the code of a service returned: the call arrived,
// and the answer is no.
type CallError struct {
	// Text is the error's text.
	Text string
	// AppCode is a number of the service's own choosing, 0 if it chose none.
	AppCode int32
}

func (e *CallError) Error() string { return e.Text }

// VersionError is [ErrVersion] with the versions.
type VersionError struct {
	// Provider names the provider, as in service:log@1.2.5.
	Provider string
	// Asked is what the client wanted; Provided is what there is, its uuid empty
	// if the provider has nothing under that uuid.
	Asked, Provided Selector
}

func (e *VersionError) Error() string {
	if e.Provided.UUID == "" {
		return fmt.Sprintf("%s does not provide service:%s", e.Provider, e.Asked.UUID)
	}
	asked := fmt.Sprintf("%d.x", e.Asked.Major)
	if e.Asked.Major == e.Provided.Major {
		asked = fmt.Sprintf("%d.%d.x", e.Asked.Major, e.Asked.Minor)
	}
	return fmt.Sprintf("%s does not provide service:%s@%s, but @%d.%d",
		e.Provider, e.Asked.UUID, asked, e.Provided.Major, e.Provided.Minor)
}

// Is makes a VersionError an [ErrVersion].
func (e *VersionError) Is(target error) bool { return target == ErrVersion }

// EvictedError is [ErrEvicted] with the reason.
type EvictedError struct {
	Reason Reason
	// Note says it in words; may be empty.
	Note string
}

func (e *EvictedError) Error() string {
	if e.Note == "" {
		return "evicted: " + e.Reason.String()
	}
	return "evicted: " + e.Reason.String() + ": " + e.Note
}

// Is makes an EvictedError an [ErrEvicted].
func (e *EvictedError) Is(target error) bool { return target == ErrEvicted }
