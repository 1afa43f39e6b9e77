package provider

import (
	"testing"

	"golang.org/x/sys/unix"
)

// adoptOrphans makes this process the parent of those whose parent dies.
func adoptOrphans(t *testing.T) {
	t.Helper()
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0) })
}

// expectExit waits for an orphan and fails the test unless it ends with status.
func expectExit(t *testing.T, pid, status int) {
	t.Helper()
	ended := make(chan struct{})
	defer watchProcess(pid, func() { close(ended) })()
	receive(t, "the orphan's end", ended)
	var how unix.WaitStatus
	if _, err := unix.Wait4(pid, &how, 0, nil); err != nil {
		t.Fatal(err)
	}
	if !how.Exited() || how.ExitStatus() != status {
		t.Errorf("the process ended with %#x, want exit status %d", how, status)
	}
}
