package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"crier.local/api"
	"crier.local/client"
	"crier.local/provider"
)

const (
	checkSocket = "socket"
	// connectTime is how long an address may take to show that somebody listens.
	connectTime = time.Second
	// longPath is from how many bytes on the path of a socket is near the limit.
	longPath = api.MaxSocketPath - 7
)

// socketState is an address at which there may be a provider, and what is there.
type socketState struct {
	endpoint  api.Endpoint
	asked     bool          // the address was given
	announced *client.Found // nil if it is not

	info     fs.FileInfo   // of the file; nil for TCP, and if it cannot be seen
	err      error         // of looking at the file, or else of connecting
	mount    mountPoint    // the socket file is one
	listener *api.Identity // who listens, if the kernel tells
	knocked  bool          // somebody tried to connect
}

// mountPoint is what a file that is mounted by itself comes from.
type mountPoint struct {
	is      bool
	deleted bool // it is not there any more
}

// gather returns the addresses to be looked at: what was asked for, what is
// announced and, if clients find nobody by that, the sockets that nobody announces.
func (d *doctor) gather() []*socketState {
	var list []*socketState
	asked := d.r.address.Endpoint
	if d.asked != "" && asked != (api.Endpoint{}) {
		list = append(list, &socketState{endpoint: asked, asked: true})
	}
	for _, place := range d.places {
		for i := range place.Found {
			f := &place.Found[i]
			if list != nil && list[0].asked && f.Address == asked {
				list[0].announced = f
				continue
			}
			list = append(list, &socketState{endpoint: f.Address, announced: f})
		}
	}
	if d.asked == "" && errors.Is(d.findErr, api.ErrNoProvider) {
		for _, place := range d.places {
			for _, path := range place.Silent {
				list = append(list, &socketState{endpoint: api.UnixEndpoint(path)})
			}
		}
	}
	return list
}

// examineSockets tells of each socket, and of its lock. The time that hosts take which
// do not answer does not add up.
func (d *doctor) examineSockets(ctx context.Context) {
	mounts := fileMounts()
	var waiting sync.WaitGroup
	for _, s := range d.sockets {
		if s.endpoint.Network == "unix" {
			s.examine(ctx, mounts)
			continue
		}
		waiting.Go(func() { s.knock(ctx) })
	}
	waiting.Wait()
	for _, s := range d.sockets {
		d.socket(s)
	}
	if len(d.sockets) == 0 {
		d.skip(checkSocket, "there is none to look at")
	}
	d.locks()
}

// examine looks at the file of a unix socket and connects, as a client has done that
// looked for a provider: who is started by that has been started then.
func (s *socketState) examine(ctx context.Context, mounts map[string]mountPoint) {
	s.mount = mounts[s.endpoint.Address]
	if s.err = s.endpoint.Validate(); s.err != nil {
		return
	}
	if s.info, s.err = os.Stat(s.endpoint.Address); s.err != nil || s.info.Mode().Type() != fs.ModeSocket {
		return
	}
	if stat, ok := s.info.Sys().(*syscall.Stat_t); ok && stat.Nlink == 0 {
		s.mount.deleted = true
	}
	s.knock(ctx)
}

// knock connects, asks the kernel who listens, and hangs up.
func (s *socketState) knock(ctx context.Context) {
	s.knocked = true
	dialer := net.Dialer{Timeout: connectTime}
	conn, err := dialer.DialContext(ctx, s.endpoint.Network, s.endpoint.Address)
	if s.err = err; err != nil {
		return
	}
	defer conn.Close()
	if c, ok := conn.(*net.UnixConn); ok {
		if id, err := provider.PeerIdentity(c); err == nil {
			s.listener = &id
		}
	}
}

// live reports whether somebody listens.
func (s *socketState) live() bool { return s.knocked && (s.err == nil || s.busy()) }

// busy reports whether somebody listens who does not keep up with those who come.
func (s *socketState) busy() bool { return errors.Is(s.err, syscall.EAGAIN) }

// dead reports whether nobody listens.
func (s *socketState) dead() bool {
	return s.knocked && errors.Is(s.err, syscall.ECONNREFUSED) || errors.Is(s.err, fs.ErrNotExist)
}

// socket tells of one address.
func (d *doctor) socket(s *socketState) {
	more := s.details()
	switch {
	case s.endpoint.Network != "unix":
		d.port(s, more)
	case errors.Is(s.err, fs.ErrPermission):
		d.closedSocket(s, more)
	case errors.Is(s.err, fs.ErrNotExist):
		d.absentSocket(s, more)
	case s.info == nil:
		what, fix := splitHint(s.err.Error())
		d.troubled(s, exitConfig, fix, more, "%s", what)
	case s.info.Mode().Type() != fs.ModeSocket:
		d.noSocket(s, more)
	case errors.Is(s.err, syscall.ECONNREFUSED):
		d.deadSocket(s, more)
	case s.busy():
		d.troubled(s, exitTryAgain, "see what keeps the provider: it may be stopped (SIGSTOP, docker pause)", more,
			"%s: somebody listens, but so many wait there that nobody else gets in", s)
	case s.err != nil:
		d.troubled(s, exitUnavailable, "start its provider again", more, "%s: %v", s, s.err)
	default:
		d.liveSocket(s, more)
	}
}

// troubled is a failure if the address was asked for, or nothing else serves.
func (d *doctor) troubled(s *socketState, code int, fix string, more details, format string, args ...any) {
	if s.asked {
		d.fail(checkSocket, code, fix, more, format, args...)
		return
	}
	d.warn(checkSocket, fix, more, format, args...)
}

func (d *doctor) liveSocket(s *socketState, more details) {
	found := fmt.Sprintf("%s: %s, mode %04o", s, s.who(), octal(s.info.Mode()))
	switch n := len(s.endpoint.Address); {
	case !s.asked && s.announced == nil:
		d.warn(checkSocket, fmt.Sprintf("see in the log of its service why it does not start, or may not write in the directory; or give its address: CRIER_ADDRESS=%s", shellWord(s.endpoint.String())), more,
			"%s; it has not announced itself, so that clients do not find it", found)
	case s.mount.is:
		d.warn(checkSocket, mountAdvice(s.endpoint.Address), more,
			"%s; the socket file itself is mounted here, and will be a dead one when its provider starts again", found)
	case n > longPath:
		d.warn(checkSocket, "choose a shorter directory before its name, or where it is mounted, gets longer", more,
			"%s; its path has %d of the %d bytes that the kernel takes", found, n, api.MaxSocketPath)
	default:
		d.ok(checkSocket, more, "%s", found)
	}
}

func (d *doctor) deadSocket(s *socketState, more details) {
	switch {
	case s.mount.is || s.mount.deleted:
		d.troubled(s, exitUnavailable, mountAdvice(s.endpoint.Address), more,
			"%s: nobody listens: the socket file itself is mounted here, and its provider has ended or made a new one since", s)
	case !s.asked:
		d.warn(checkSocket, leftoverAdvice(s), more, "%s: nobody listens; its provider was killed, and has left this behind", s)
	default:
		d.troubled(s, exitUnavailable, "start a provider there, which replaces the file: "+serveLine(s.endpoint), more,
			"%s: nobody listens; its provider was killed, or is in the middle of its start", s)
	}
}

func (d *doctor) absentSocket(s *socketState, more details) {
	switch {
	case !s.asked:
		d.warn(checkSocket, "remove the announcement, unless its provider is about to start: rm "+s.file(), more,
			"%s: announced, but there is no such file", s)
	default:
		d.fail(checkSocket, exitUnavailable,
			"start a provider there ("+serveLine(s.endpoint)+"); if there is one elsewhere, mount the directory of its socket here",
			more, "%s: there is no such file", s)
	}
}

// closedSocket tells of one that this user may not reach.
func (d *doctor) closedSocket(s *socketState, more details) {
	path := s.endpoint.Address
	switch at := barrier(filepath.Dir(path)); {
	case s.info == nil:
		d.denied(s, barredAdvice(at), more, "%s: this user may not enter %s", s, modeOf(at))
	default:
		d.denied(s, "have the provider started again, which makes it 0666, or for systemd's set SocketMode=0666: who gets in is for its directory and its rules to say",
			more, "%s: this user may not connect to it: %s", s, modeText(s.info))
	}
}

// denied is a failure, unless another provider was reached.
func (d *doctor) denied(s *socketState, fix string, more details, format string, args ...any) {
	if s.asked {
		d.fail(checkSocket, exitDenied, fix, more, format, args...)
		return
	}
	d.grave(checkSocket, exitDenied, fix, more, format, args...)
}

// noSocket tells of something else in the place of a socket.
func (d *doctor) noSocket(s *socketState, more details) {
	fix := "give the path of the socket (--address), or of its directory (--run-dir)"
	if s.info.IsDir() {
		fix = "a container engine makes a directory where a file to be mounted is missing: mount the socket's directory, not the socket; else give its path"
	}
	d.troubled(s, exitConfig, fix, more, "%s: it is %s, not a socket", s, kindOf(s.info))
}

// port tells of an address of TCP.
func (d *doctor) port(s *socketState, more details) {
	dns := &net.DNSError{}
	switch {
	case s.err == nil:
		d.ok(checkSocket, more, "%s: somebody listens", s)
	case errors.As(s.err, &dns):
		d.troubled(s, exitUnavailable, "check the name, and who resolves it here (/etc/hosts, /etc/resolv.conf)", more, "%s: %v", s, dns)
	case errors.Is(s.err, syscall.ECONNREFUSED):
		d.troubled(s, exitUnavailable, "start a provider there, or check the port; in a container, 127.0.0.1 is the container", more,
			"%s: nobody listens", s)
	default:
		d.troubled(s, exitUnavailable, "check the address, the network and the firewalls between", more, "%s: %v", s, s.err)
	}
}

// String names s, with whom it is of.
func (s *socketState) String() string {
	if s.announced == nil {
		return s.endpoint.String()
	}
	return fmt.Sprintf("%s of %s@%s", s.endpoint, s.announced.Name, s.announced.Version)
}

// file returns the announcement of s, fit for a shell.
func (s *socketState) file() string { return shellWord(s.announced.File) }

func (s *socketState) details() details {
	more := details{"address": s.endpoint.String(), "asked": s.asked, "announced": s.announced != nil}
	if s.knocked {
		more["live"] = s.live()
	}
	if s.info != nil {
		uid, gid := ownersOf(s.info)
		more["uid"], more["gid"], more["mode"] = uid, gid, fmt.Sprintf("%04o", octal(s.info.Mode()))
		more["mounted"] = s.mount.is
		more["path_bytes"] = len(s.endpoint.Address)
	}
	if s.listener != nil {
		more["listener_pid"], more["listener_uid"] = s.listener.PID, s.listener.UID
	}
	return more
}

// who says who listens.
func (s *socketState) who() string {
	switch {
	case s.listener == nil:
		return "somebody listens"
	case s.listener.PID == 0:
		return fmt.Sprintf("a process of another pid namespace listens, uid %s", userText(s.listener.UID))
	default:
		return fmt.Sprintf("pid %d%s listens, uid %s", s.listener.PID, commandText(s.listener.PID), userText(s.listener.UID))
	}
}

func userText(uid uint32) string {
	if uid == unknownID {
		return "65534 (one that has no number here)"
	}
	return fmt.Sprint(uid)
}

// commandText returns the name of a process in brackets, if it can be read.
func commandText(pid int32) string {
	switch name := commandOf(pid); name {
	case "":
		return ""
	case "systemd":
		return " (systemd, socket activation)"
	default:
		return " (" + name + ")"
	}
}

// commandOf returns the name of a process, empty if it cannot be read.
func commandOf(pid int32) string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

func mountAdvice(path string) string {
	return fmt.Sprintf("mount the directory of the socket on %s, not the socket file", filepath.Dir(path))
}

func leftoverAdvice(s *socketState) string {
	if s.announced == nil {
		return "a provider that starts there replaces it; or, if none is to come back: rm " + shellWord(s.endpoint.Address)
	}
	return fmt.Sprintf("a provider of uid %d that starts in the directory clears it; or, if it is not to come back: rm %s", s.owner(), s.file())
}

func (s *socketState) owner() uint32 {
	uid, _ := ownersOf(s.info)
	return uid
}

func serveLine(e api.Endpoint) string { return "crier serve --address " + shellWord(e.String()) }

// shellWord returns text as one word of a shell's.
func shellWord(text string) string {
	if strings.ContainsAny(text, " \t\n'\"\\$`*?[]()<>|&;~#!{}") {
		return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
	}
	return text
}
