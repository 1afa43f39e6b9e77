package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"crier.local/api"
)

func TestSanitize(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", ""},
		{"plain, grüße 👋 日本", "plain, grüße 👋 日本"},
		{"a\nb\r\tc", `a\nb\r\tc`},
		{"\x1b[31m\x00\x07\x7f", `\x1b[31m\x00\x07\x7f`},
		{"\u009b\u0085", `\u009b\u0085`},
		{"\u202e\u2066\u200f\u061c", `\u202e\u2066\u200f\u061c`},
		{"\u2028\u2029", `\u2028\u2029`},
		{"\xff\xc3", `\xff\xc3`},
		{"\ufffd", "\ufffd"},
		{`back\slash`, `back\slash`},
	} {
		if got := sanitize([]byte(c.text)); got != c.want {
			t.Errorf("sanitize(%q) = %q, want %q", c.text, got, c.want)
		}
	}
}

func FuzzSanitize(f *testing.F) {
	f.Add([]byte("a\n\x1b[0m\u202e\xff"))
	f.Fuzz(func(t *testing.T, text []byte) {
		got := sanitize(text)
		if !utf8.ValidString(got) || strings.ContainsFunc(got, hostile) {
			t.Errorf("sanitize(%q) = %q", text, got)
		}
		if again := sanitize([]byte(got)); again != got {
			t.Errorf("sanitize(%q) = %q, not itself", got, again)
		}
	})
}

func FuzzEscapeJSON(f *testing.F) {
	f.Add("a\n\u202e\u009b\u007f")
	f.Fuzz(func(t *testing.T, text string) {
		if !utf8.ValidString(text) {
			return
		}
		plain, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		escaped := escapeJSON(plain)
		var got string
		if err := json.Unmarshal(escaped, &got); err != nil || got != text {
			t.Errorf("%q became %s, read as %q (%v)", text, escaped, got, err)
		}
		if strings.ContainsFunc(string(escaped), hostile) {
			t.Errorf("%q became %q", text, escaped)
		}
	})
}

func TestInterval(t *testing.T) {
	for _, c := range []struct {
		text        string
		least, most time.Duration // 0 for an error
	}{
		{"1s-3s", time.Second, 3 * time.Second},
		{"250ms", 250 * time.Millisecond, 250 * time.Millisecond},
		{"1s-1s", time.Second, time.Second},
		{"3s-1s", 0, 0},
		{"0s", 0, 0},
		{"-1s", 0, 0},
		{"1s-", 0, 0},
		{"1-3", 0, 0},
		{"", 0, 0},
	} {
		var got interval
		err := got.Set(c.text)
		if got != (interval{c.least, c.most}) || (err != nil) != (c.least == 0) {
			t.Errorf("%q: %v, %v", c.text, got, err)
		}
		if err != nil {
			continue
		}
		var again interval
		if err := again.Set(got.String()); err != nil || again != got {
			t.Errorf("%q is written %q", c.text, got.String())
		}
		if p := got.pick(); p < got.least || p > got.most {
			t.Errorf("%v picked %v", got, p)
		}
	}
}

func TestPriority(t *testing.T) {
	for text, want := range map[string]api.Priority{
		"normal": api.PriorityNormal, "preferred-strongly": api.PriorityPreferredStrongly, "1": 1, "0x80": api.PriorityNormal,
		"0": 0, "256": 0, "": 0, "high": 0, "-1": 0,
	} {
		var got priorityFlag
		if err := got.Set(text); (err != nil) != (want == 0) || api.Priority(got) != want {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
}

func TestLines(t *testing.T) {
	for _, c := range []struct {
		input string
		want  []string
		err   error
	}{
		{"", nil, nil},
		{"\n", []string{""}, nil},
		{"a\n\nb", []string{"a", "", "b"}, nil},
		{"a\r\nb\n", []string{"a\r", "b"}, nil},
		{"12345678\n", []string{"12345678"}, nil},
		{"12345678", []string{"12345678"}, nil},
		{"a\n123456789\nb", []string{"a"}, api.ErrTooLarge},
		{"123456789", nil, api.ErrTooLarge},
	} {
		var got []string
		err := forEachLine(t.Context(), strings.NewReader(c.input), 8, func(n int, line []byte) error {
			got = append(got, string(line))
			if n != len(got) {
				t.Errorf("%q: line %d counted as %d", c.input, len(got), n)
			}
			return nil
		})
		if !slices.Equal(got, c.want) || !errors.Is(err, c.err) {
			t.Errorf("%q: %q, %v", c.input, got, err)
		}
	}
}

func TestExitCode(t *testing.T) {
	canceled, cancel := context.WithCancelCause(context.Background())
	cancel(interrupted{syscall.SIGTERM})
	for _, c := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{errOutputClosed, 0},
		{errors.New("any"), 1},
		{api.ErrNameTaken, 1}, {api.ErrBadName, 1}, {api.ErrTooLarge, 1},
		{usage(errors.New("any"), ""), 2},
		{api.ErrNoProvider, 69}, {api.ErrGone, 69},
		{api.ErrFull, 75}, {api.ErrTooMany, 75}, {api.ErrClosed, 75}, {api.ErrOutcomeUnknown, 75},
		{api.ErrDisconnected, 75}, {&api.EvictedError{Reason: api.ReasonSlow}, 75},
		{&api.VersionError{}, 76}, {api.ErrAmbiguous, 76},
		{api.ErrDenied, 77},
		{misconfigured(errors.New("any"), ""), 78},
		{causeOf(canceled, context.Canceled), 143},
		{causeOf(canceled, api.ErrOutcomeUnknown), 143},
		{causeOf(canceled, api.ErrDenied), 77},
		{interrupted{syscall.SIGINT}, 130},
	} {
		if got := exitCode(c.err); got != c.want {
			t.Errorf("%v: %d, want %d", c.err, got, c.want)
		}
		if c.err == nil {
			continue
		}
		if got := exitCode(fmt.Errorf("wrapped: %w", c.err)); got != c.want {
			t.Errorf("wrapped %v: %d, want %d", c.err, got, c.want)
		}
	}
}

func TestSplitHint(t *testing.T) {
	for _, c := range []struct{ text, what, hint string }{
		{"it broke", "it broke", ""},
		{"it broke; mend it", "it broke", "mend it"},
		{"this; that; mend it", "this; that", "mend it"},
		{"it broke; mend it\nhere; and there", "it broke\nhere; and there", "mend it"},
		{"it broke\nhere; and there", "it broke\nhere; and there", ""},
		{`bad name "a; b"`, `bad name "a; b"`, ""},
	} {
		if what, hint := splitHint(c.text); what != c.what || hint != c.hint {
			t.Errorf("%q: %q, %q", c.text, what, hint)
		}
	}
}
