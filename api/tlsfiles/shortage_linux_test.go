package tlsfiles

import (
	"errors"
	"os"
	"syscall"
	"testing"

	"crier.local/api/tlstest"
)

// A certificate that is renewed while there is no descriptor to read it with is
// read as soon as there is one, and the log is not filled meanwhile.
func TestStoreWithoutDescriptors(t *testing.T) {
	a, f := issue(t)
	var reports []error
	s, err := Open(f, func(err error) { reports = append(reports, err) })
	if err != nil {
		t.Fatal(err)
	}
	first := s.Current()
	if _, err := a.Issue("name", tlstest.Pair{}); err != nil {
		t.Fatal(err)
	}
	restore := useUpDescriptors(t)
	for range 3 {
		if s.Current() != first {
			t.Error("what was read before is not in use any more")
		}
	}
	restore()
	if len(reports) != 1 || !errors.Is(reports[0], syscall.EMFILE) {
		t.Errorf("reports %v, want one about descriptors", reports)
	}
	if s.Current() == first || len(reports) != 2 || reports[1] != nil {
		t.Errorf("the files are not read again: reports %v", reports)
	}
}

// useUpDescriptors leaves this process none to open; restore lifts that.
func useUpDescriptors(t *testing.T) (restore func()) {
	t.Helper()
	next, err := os.Open(os.DevNull) // has the lowest number that is free
	if err != nil {
		t.Fatal(err)
	}
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	none := syscall.Rlimit{Cur: uint64(next.Fd()), Max: before.Max}
	next.Close()
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
			t.Fatal(err)
		}
	}
}
