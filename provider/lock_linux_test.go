package provider

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"crier.local/api"
)

// TestLockModes: whoever may write in the directory may take a lock that was left
// there, and nobody else may.
func TestLockModes(t *testing.T) {
	for dirMode, want := range map[fs.FileMode]fs.FileMode{
		0o700: 0o600, 0o750: 0o600, 0o755: 0o600, 0o770: 0o640, 0o775: 0o640, 0o777: 0o644,
		0o777 | fs.ModeSticky: 0o600, 0o770 | fs.ModeSetgid: 0o640,
	} {
		dir := t.TempDir()
		if err := os.Chmod(dir, dirMode); err != nil {
			t.Fatal(err)
		}
		if got := lockMode(dir); got != want {
			t.Errorf("in a directory of mode %v: %v, want %v", dirMode, got, want)
		}
	}
}

// TestTakeOverBetweenUsers is of two users in a directory of their group: the second
// is told of the first, and has the path when the first is dead.
func TestTakeOverBetweenUsers(t *testing.T) {
	needRoot(t)
	const group = 4242
	dir := filepath.Join(publicDir(t), "run")
	if err := errors.Join(os.Mkdir(dir, 0o700), os.Chown(dir, -1, group), os.Chmod(dir, 0o770|fs.ModeSetgid)); err != nil {
		t.Fatal(err)
	}
	binary := publicCopy(t)
	address := api.EnvAddress + "=" + api.UnixEndpoint(filepath.Join(dir, "crier.sock")).String()
	first := playIn(t, binary, 1000, []uint32{1000, group}, nil, "listen", "UMASK=022", address)
	first.expect("listening")
	second := playIn(t, binary, 1001, []uint32{1001, group}, nil, "listen", "UMASK=022", address)
	if said := second.line(); !strings.Contains(said, "another provider listens there") {
		t.Errorf("while the first lives: %q", said)
	}
	first.kill()
	first.cmd.Wait()
	playIn(t, binary, 1001, []uint32{1001, group}, nil, "listen", "UMASK=022", address).expect("listening")
}
