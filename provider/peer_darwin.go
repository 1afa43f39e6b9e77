package provider

import (
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"crier.local/api"
)

// peerIdentity returns what the kernel recorded about the process that called
// connect(2) for the other end of c.
func peerIdentity(c *net.UnixConn) (api.Identity, error) {
	var id api.Identity
	err := onSocket(c, func(fd int) error {
		cred, err := unix.GetsockoptXucred(fd, unix.SOL_LOCAL, unix.LOCAL_PEERCRED)
		if err != nil {
			return err
		}
		id.UID, id.Groups = cred.Uid, append(id.Groups, cred.Groups[:min(int(cred.Ngroups), len(cred.Groups))]...)
		if len(id.Groups) > 0 {
			id.GID = id.Groups[0]
		}
		pid, err := unix.GetsockoptInt(fd, unix.SOL_LOCAL, unix.LOCAL_PEERPID)
		id.PID = int32(pid)
		return err
	})
	if err != nil {
		return api.Identity{}, fmt.Errorf("peer credentials: %w", err)
	}
	return id, nil
}

// watchPeer watches nothing: what there is here says which process connected,
// not when it ends. The end of the socket has to do.
func watchPeer(*vigil, *net.UnixConn, func()) (stop func(), err error) { return func() {}, nil }

// watchProcess calls died once pid, the parent of this process, has ended. stop
// ends the watch; died is not running any more then.
func watchProcess(pid int, died func()) (stop func()) {
	over, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for os.Getppid() == pid {
			select {
			case <-over:
				return
			case <-tick.C:
			}
		}
		died()
	}()
	return func() {
		close(over)
		<-done
	}
}

// fullIdentityMap reports whether this process sees every user as it is.
func fullIdentityMap() bool { return true }
