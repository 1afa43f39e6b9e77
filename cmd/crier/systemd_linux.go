package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"crier.local/api"
)

// supervisor is the service manager that started this process, such as systemd, and
// what it passed on. Without one the zero value tells nobody anything.
type supervisor struct {
	// listeners are sockets that it has opened, for this process to serve.
	listeners []net.Listener
	// patience is how long it waits for a sign of life; 0 if it wants none.
	patience time.Duration
	// socket is where it wants to hear of this process; "" if it does not.
	socket string
}

// variables are those by which a service manager speaks to the process that it starts.
// They mean that process alone.
var variables = []string{
	"LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PID", "LISTEN_PIDFDID",
	notifyVariable, "WATCHDOG_PID", "WATCHDOG_USEC",
}

const notifyVariable = "NOTIFY_SOCKET"

// takeSupervisor returns who started this process, and removes from the environment
// what it said there: whatever this process starts is none of its business.
func takeSupervisor() (*supervisor, error) {
	defer func() {
		for _, name := range variables {
			os.Unsetenv(name)
		}
	}()
	s := &supervisor{socket: os.Getenv(notifyVariable)}
	var err error
	if s.patience, err = daemon.SdWatchdogEnabled(false); err != nil {
		return nil, fmt.Errorf("environment: WATCHDOG_USEC=%q, WATCHDOG_PID=%q: %w",
			os.Getenv("WATCHDOG_USEC"), os.Getenv("WATCHDOG_PID"), err)
	}
	switch {
	case s.socket == "":
		s.patience = 0
	case s.patience > 0 && s.patience < leastPatience:
		return nil, fmt.Errorf("environment: WATCHDOG_USEC=%q is too short to ask the provider in; have WatchdogSec= at least %s",
			os.Getenv("WATCHDOG_USEC"), leastPatience)
	}
	for i, file := range activation.Files(false) {
		l, err := passedListener(file)
		file.Close()
		if err != nil {
			return nil, fmt.Errorf("descriptor %d (%s), which the service manager passed on: %w", firstPassed+i, file.Name(), err)
		}
		s.listeners = append(s.listeners, l)
	}
	return s, nil
}

// leastPatience is the shortest time within which a sign of life can be given: there
// is a fourth of it for an answer, on a machine that may be busy.
const leastPatience = 100 * time.Millisecond

// firstPassed is the number of the first descriptor that a service manager passes on.
const firstPassed = 3

// passedListener returns the listener that file is, if it is one to which clients connect.
func passedListener(file *os.File) (net.Listener, error) {
	raw, err := file.SyscallConn()
	if err != nil {
		return nil, err
	}
	var kind, listens int
	var kindErr, listensErr error
	if err := raw.Control(func(fd uintptr) {
		kind, kindErr = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TYPE)
		listens, listensErr = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	}); err != nil {
		return nil, err
	}
	switch {
	case kindErr == unix.ENOTSOCK:
		return nil, errors.New("is not a socket; " + wantedSocket)
	case kindErr != nil || listensErr != nil:
		return nil, errors.Join(kindErr, listensErr)
	case kind != unix.SOCK_STREAM:
		return nil, errors.New("is not a stream socket; " + wantedSocket)
	case listens == 0:
		return nil, errors.New("does not listen; " + wantedSocket)
	}
	return net.FileListener(file)
}

const wantedSocket = "pass on sockets of ListenStream= alone, without Accept=yes"

// ready tells that everything listens.
func (s *supervisor) ready(addresses []api.Endpoint) error {
	texts := make([]string, len(addresses))
	for i, a := range addresses {
		texts[i] = string(sanitize([]byte(a.String())))
	}
	return s.tell(daemon.SdNotifyReady + "\nSTATUS=listening on " + strings.Join(texts, ", "))
}

// stopping tells that the end has begun.
func (s *supervisor) stopping() error {
	return s.tell(daemon.SdNotifyStopping + "\nSTATUS=closing")
}

// alive is the sign of life.
func (s *supervisor) alive() error { return s.tell(daemon.SdNotifyWatchdog) }

// tell sends a state. The library takes the address from the environment alone, so
// it is there for as long as that takes.
func (s *supervisor) tell(state string) error {
	if s.socket == "" {
		return nil
	}
	if err := os.Setenv(notifyVariable, s.socket); err != nil {
		return err
	}
	if _, err := daemon.SdNotify(true, state); err != nil {
		return fmt.Errorf("tell the service manager: %w", err)
	}
	return nil
}

// warnUnheard logs that the service manager could not be told something. It draws its
// own conclusions.
func warnUnheard(logger hclog.Logger, err error) {
	if err != nil {
		logger.Warn("the service manager does not hear of the provider", "error", err)
	}
}
