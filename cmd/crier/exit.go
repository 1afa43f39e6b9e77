package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strings"
	"syscall"

	"crier.local/api"
	"crier.local/client"
)

// The exit codes, those of sysexits.h where it has one.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitUnavailable = 69
	exitTryAgain    = 75
	exitMismatch    = 76
	exitDenied      = 77
	exitConfig      = 78
	exitTimeout     = 124
	exitSignal      = 128 // plus the signal's number
)

// codedError is an error that knows its exit code, with a hint for the person
// who reads it.
type codedError struct {
	error
	code int
	hint string
}

func (e *codedError) Unwrap() error { return e.error }

// usage marks err as a wrong use of the command line.
func usage(err error, hint string) error {
	if e, ok := errors.AsType[*codedError](err); ok {
		return e
	}
	return &codedError{err, exitUsage, hint}
}

// misconfigured marks err as one that the operator has to mend.
func misconfigured(err error, hint string) error { return &codedError{err, exitConfig, hint} }

// interrupted is why a context ended that a signal ended.
type interrupted struct{ signal syscall.Signal }

func (e interrupted) Error() string { return "interrupted by " + e.signal.String() }

// errOutputClosed is why a command ended whose output nobody reads any more.
var errOutputClosed = errors.New("output closed")

// endless returns err, of a command that has no end of its own. For the first process
// of a container SIGTERM, by which containers are stopped, is the end that was meant.
func endless(err error) error {
	if e, ok := errors.AsType[interrupted](err); ok && e.signal == syscall.SIGTERM && os.Getpid() == 1 {
		return nil
	}
	return err
}

// causeOf returns why ctx ended in place of an err that only tells that it did.
func causeOf(ctx context.Context, err error) error {
	if ctx.Err() != nil && isAny(err, context.Canceled, context.DeadlineExceeded, api.ErrOutcomeUnknown) {
		return context.Cause(ctx)
	}
	return err
}

// exitCode maps err to the exit code that scripts rely on.
func exitCode(err error) int {
	if e, ok := errors.AsType[*codedError](err); ok {
		return e.code
	}
	if e, ok := errors.AsType[interrupted](err); ok {
		return exitSignal + int(e.signal)
	}
	switch {
	case err == nil, errors.Is(err, errOutputClosed):
		return exitDone
	case isAny(err, client.ErrConfiguration):
		return exitConfig
	case isAny(err, api.ErrDenied): // before what it may be besides, of directories that nobody may enter
		return exitDenied
	case isAny(err, api.ErrNoProvider, api.ErrGone):
		return exitUnavailable
	case isAny(err, api.ErrVersion, api.ErrAmbiguous):
		return exitMismatch
	case isAny(err, api.ErrFull, api.ErrTooMany, api.ErrClosed, api.ErrDisconnected, api.ErrEvicted, api.ErrOutcomeUnknown):
		return exitTryAgain
	default:
		return exitFailed
	}
}

func isAny(err error, targets ...error) bool {
	for _, target := range targets {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

// report tells a person what went wrong and, on the next line, what to do.
// Interrupts and closed outputs are nobody's fault and not reported.
func (p *program) report(err error) {
	if _, ok := errors.AsType[interrupted](err); ok || err == nil || errors.Is(err, errOutputClosed) {
		return
	}
	text, hint := splitHint(err.Error())
	for i, line := range strings.Split(text, "\n") {
		if i == 0 {
			line = "crier: " + line
		}
		p.note("%s", line)
	}
	if own := hintFor(err); own != "" {
		hint = own
	}
	if hint != "" {
		p.note("%s", hint)
	}
}

// splitHint parts an error's text from the advice that follows the last semicolon
// of its first line. What is in quotes is somebody's words and no advice.
func splitHint(text string) (what, hint string) {
	end := strings.IndexByte(text+"\n", '\n')
	i := strings.LastIndex(text[:end], "; ")
	if i < 0 || strings.Contains(text[i:end], `"`) {
		return text, ""
	}
	return text[:i] + text[end:], text[i+len("; ") : end]
}

// note writes a line to standard error, fit for a terminal.
func (p *program) note(format string, args ...any) {
	fmt.Fprintln(p.stderr, sanitize([]byte(fmt.Sprintf(format, args...))))
}

// unknownID is the uid of whoever has none here; no provider admits it by number.
const unknownID = 65534

// refusedUID finds whom a provider refused in its words. In another user namespace it
// sees another uid than this process has.
var refusedUID = regexp.MustCompile(`does not admit uid (\d+) `)

// admission says how a provider that refused this user in those words can admit it.
func admission(words string) string {
	uid := refusedUID.FindStringSubmatch(words)
	if uid == nil || uid[1] == fmt.Sprint(unknownID) {
		return ""
	}
	return "whoever runs the provider can admit you: crier serve --allow-uid " + uid[1]
}

func hintFor(err error) string {
	if e, ok := errors.AsType[*codedError](err); ok {
		return e.hint
	}
	switch {
	case isAny(err, client.ErrCertificate, client.ErrConfiguration):
		return "" // their words say it
	case errors.Is(err, api.ErrDenied) && errors.Is(err, fs.ErrPermission): // by a directory
		return "whoever runs the provider can admit you: a directory that you may enter, or crier serve --allow-gid"
	case errors.Is(err, api.ErrDenied):
		return admission(err.Error())
	case errors.Is(err, api.ErrNameTaken):
		return "choose another --name; 'crier who' shows which are taken"
	case errors.Is(err, api.ErrAmbiguous):
		return "choose one with --address; 'crier providers' lists them"
	case errors.Is(err, api.ErrFull):
		return "a receiver is slow; 'crier who' shows which one is awaited"
	default:
		return ""
	}
}
