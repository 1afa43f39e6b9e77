package api

import (
	"context"
	"errors"
	"fmt"
	"math"
	"testing"
)

// Numbers on the wire never change; a new one is appended here too.
func pinnedCodes() map[Code]error {
	return map[Code]error{
		2: ErrNoProvider, 3: ErrAmbiguous, 4: ErrVersion, 5: ErrClosed, 6: ErrDisconnected, 7: ErrGone,
		8: ErrUnknownHandle, 9: ErrNoMethod, 10: ErrNotNotifiable, 11: ErrFull, 12: ErrTooMany, 13: ErrTooLarge,
		14: ErrNameTaken, 15: ErrBadName, 16: ErrDenied, 17: ErrOutcomeUnknown, 18: ErrEvicted,
		19: context.DeadlineExceeded, 20: context.Canceled,
	}
}

func TestCodesArePinned(t *testing.T) {
	pinned := pinnedCodes()
	for code, err := range pinned {
		if got := CodeOf(err); got != code {
			t.Errorf("%v has code %d, want %d", err, got, code)
		}
	}
	for code, err := range codes {
		if pinned[Code(code)] != err {
			t.Errorf("code %d is %v, pinned is %v", code, err, pinned[Code(code)])
		}
	}
	if CodeNone != 0 || CodeCall != 1 {
		t.Errorf("none is %d and call is %d, want 0 and 1", CodeNone, CodeCall)
	}
}

func TestCodeOfOthers(t *testing.T) {
	for name, tc := range map[string]struct {
		err  error
		want Code
	}{
		"nil":        {nil, CodeNone},
		"foreign":    {errors.New("x"), CodeCall},
		"call error": {&CallError{Text: "x", AppCode: 3}, CodeCall},
		"version":    {&VersionError{}, 4},
		"evicted":    {&EvictedError{}, 18},
		"wrapped":    {fmt.Errorf("x: %w", fmt.Errorf("y: %w", ErrFull)), 11},
	} {
		if got := CodeOf(tc.err); got != tc.want {
			t.Errorf("%s: code %d, want %d", name, got, tc.want)
		}
	}
}

// overTheWire returns err as the other side has it.
func overTheWire(err error) error { return FailureOf(err).Err() }

func TestSentinelsRoundTrip(t *testing.T) {
	for code, sentinel := range pinnedCodes() {
		bare := overTheWire(sentinel)
		if !errors.Is(bare, sentinel) || FailureOf(bare).Code != code {
			t.Errorf("%v arrives as %v", sentinel, bare)
		}
		for other, wrong := range pinnedCodes() {
			if other != code && errors.Is(bare, wrong) {
				t.Errorf("%v arrives as %v too", sentinel, wrong)
			}
		}
		wrapped := fmt.Errorf("room 5: %w: what else there is to say", sentinel)
		got := overTheWire(overTheWire(wrapped)) // a gateway passes it on
		if !errors.Is(got, sentinel) {
			t.Errorf("%v arrives as %v", wrapped, got)
		}
		if sentinel != ErrEvicted && got.Error() != wrapped.Error() {
			t.Errorf("the text %q arrives as %q", wrapped, got)
		}
	}
}

func TestCallErrorRoundTrip(t *testing.T) {
	for _, sent := range []error{
		&CallError{Text: "no means no", AppCode: 7},
		&CallError{Text: "below zero", AppCode: math.MinInt32},
		&CallError{},
		fmt.Errorf("wrapped: %w", &CallError{Text: "inner", AppCode: 1}),
		errors.New("plain"),
	} {
		got, ok := errors.AsType[*CallError](overTheWire(sent))
		want, is := errors.AsType[*CallError](sent)
		if !is {
			want = &CallError{Text: sent.Error()}
		}
		if !ok || *got != *want {
			t.Errorf("%v arrives as %+v, want %+v", sent, got, want)
		}
	}
}

func TestVersionErrorRoundTrip(t *testing.T) {
	log := Selector{UUID: "log", Major: 1, Minor: 2}
	for name, tc := range map[string]struct {
		err  VersionError
		text string
	}{
		"older major": {VersionError{"service:log@1.2.5", Selector{"log", 0, 2}, log},
			"service:log@1.2.5 does not provide service:log@0.x, but @1.2"},
		"newer major": {VersionError{"service:log@1.2.5", Selector{"log", 2, 0}, log},
			"service:log@1.2.5 does not provide service:log@2.x, but @1.2"},
		"newer minor": {VersionError{"service:log@1.2.5", Selector{"log", 1, 3}, log},
			"service:log@1.2.5 does not provide service:log@1.3.x, but @1.2"},
		"nothing": {VersionError{"service:log@1.2.5", Selector{"logs", 1, 2}, Selector{}},
			"service:log@1.2.5 does not provide service:logs"},
	} {
		t.Run(name, func(t *testing.T) {
			err := overTheWire(fmt.Errorf("open: %w", &tc.err))
			got, ok := errors.AsType[*VersionError](err)
			if !ok || *got != tc.err || !errors.Is(err, ErrVersion) {
				t.Errorf("arrives as %#v, want %#v", err, tc.err)
			}
			if err.Error() != tc.text {
				t.Errorf("text %q, want %q", err, tc.text)
			}
		})
	}
}

func TestEvictedErrorRoundTrip(t *testing.T) {
	for _, tc := range []struct {
		err  EvictedError
		text string
	}{
		{EvictedError{Reason: ReasonSlow}, "evicted: slow"},
		{EvictedError{Reason: ReasonLimit, Note: "too much"}, "evicted: limit: too much"},
		{EvictedError{Reason: 99}, "evicted: reason 99"},
	} {
		err := overTheWire(&tc.err)
		got, ok := errors.AsType[*EvictedError](err)
		if !ok || *got != tc.err || !errors.Is(err, ErrEvicted) || err.Error() != tc.text {
			t.Errorf("%+v arrives as %#v: %v, want %s", tc.err, err, err, tc.text)
		}
	}
}

func TestFailureErr(t *testing.T) {
	if err := FailureOf(nil); err != (Failure{}) {
		t.Errorf("the failure of nil is %+v", err)
	}
	if err := (Failure{Text: "words without a code"}).Err(); err != nil {
		t.Errorf("code 0 is %v", err)
	}
	for _, code := range []Code{1, Code(len(codes)), 1000, math.MaxInt32, math.MaxUint32} {
		err := Failure{Code: code, Text: "from a newer provider", AppCode: 5}.Err()
		if call, ok := errors.AsType[*CallError](err); !ok || *call != (CallError{"from a newer provider", 5}) {
			t.Errorf("code %d is %#v", code, err)
		}
	}
	if err := (Failure{Code: 11}).Err(); err != ErrFull {
		t.Errorf("code 11 without text is %#v", err)
	}
	if err := (Failure{Code: 4, Text: "no selectors came with it"}).Err(); !errors.Is(err, ErrVersion) {
		t.Errorf("code 4 without selectors is %#v", err)
	}
}

func TestReasonsArePinned(t *testing.T) {
	for reason, want := range map[Reason]string{
		0: "reason 0", 1: "closed", 2: "died", 3: "unreachable", 4: "slow", 5: "limit", 6: "replaced", 7: "going_away",
		8: "reason 8", math.MaxUint32: "reason 4294967295",
	} {
		if got := reason.String(); got != want {
			t.Errorf("reason %d is %q, want %q", uint32(reason), got, want)
		}
	}
}
