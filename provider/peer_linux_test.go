package provider

import (
	"testing"

	"golang.org/x/sys/unix"

	"crier.local/api"
)

// TestDeadParentOfLivingChild: a child that inherited the socket must not keep
// its parent alive.
func TestDeadParentOfLivingChild(t *testing.T) {
	if !hasPeerPidfd(t) {
		t.Skip("this kernel has no SO_PEERPIDFD")
	}
	_, w, e := listening(t, Options{})
	parent := play(t, "bequeath", api.EnvAddress+"="+e.String())
	parent.expect("idle")
	receive(t, "the session", w.opened)
	parent.kill()
	if reason := receive(t, "the end of the session", w.closed); reason != api.ReasonDied {
		t.Errorf("the session ended because of %v, want %v", reason, api.ReasonDied)
	}
}

func hasPeerPidfd(t *testing.T) bool {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[1])
	defer unix.Close(fds[0])
	pidfd, err := unix.GetsockoptInt(fds[0], unix.SOL_SOCKET, unix.SO_PEERPIDFD)
	if err == nil {
		unix.Close(pidfd)
	}
	return err == nil
}
