package provider

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"crier.local/api"
)

// CheckLabel returns the rule that text breaks as the name or a tag of a provider,
// nil if it breaks none: 1 to [api.MaxName] bytes of UTF-8 without slashes,
// controls, format characters, and spaces at either end.
func CheckLabel(text string) error {
	unfit := func(r rune) bool { return unicode.In(r, unicode.Cc, unicode.Cf) }
	switch {
	case text == "":
		return errors.New("is empty")
	case len(text) > api.MaxName:
		return fmt.Errorf("is too long, %d bytes at most", api.MaxName)
	case !utf8.ValidString(text):
		return errors.New("is not valid UTF-8")
	case strings.ContainsFunc(text, unfit):
		return errors.New("has a control or format character")
	case strings.Contains(text, "/"):
		return errors.New("has a slash")
	case strings.TrimSpace(text) != text:
		return errors.New("starts or ends with a space")
	}
	return nil
}

// DefaultEndpoint returns where a provider called name listens if nobody says
// otherwise: NAME.sock in runDir or, if that is empty, in the first directory of
// [api.RunDirs] in which this process may write, or that it may make; Listen does
// make it. The error tells what is wrong with each.
func DefaultEndpoint(name, runDir string) (api.Endpoint, error) {
	if err := CheckLabel(name); err != nil {
		return api.Endpoint{}, fmt.Errorf("provider name %q %w; give an address", name, err)
	}
	if runDir == "" {
		var err error
		if runDir, err = chooseRunDir(api.RunDirs()); err != nil {
			return api.Endpoint{}, err
		}
	}
	dir, err := filepath.Abs(runDir)
	if err != nil {
		return api.Endpoint{}, err
	}
	e := api.UnixEndpoint(filepath.Join(dir, name+".sock"))
	return e, e.Validate()
}

// chooseRunDir returns the first of dirs that serves.
func chooseRunDir(dirs []string) (string, error) {
	failures := []error{errors.New("no run directory; set CRIER_RUN_DIR or give an address")}
	for _, dir := range dirs {
		err := usableRunDir(dir)
		if err == nil {
			return dir, nil
		}
		failures = append(failures, err)
	}
	return "", errors.Join(failures...)
}

// usableRunDir returns nil if a provider can be in dir, or can make it. Below a
// directory in which everybody may write, dir has to be this user's own.
func usableRunDir(dir string) error {
	parent, err := os.Stat(filepath.Dir(dir))
	if err != nil {
		return err
	}
	written := dir
	switch _, err := os.Stat(dir); {
	case errors.Is(err, fs.ErrNotExist):
		written = filepath.Dir(dir)
	case err != nil:
		return err
	case parent.Mode().Perm()&0o002 != 0:
		if err := ownDir(dir); err != nil {
			return err
		}
	}
	if err := unix.Access(written, unix.W_OK|unix.X_OK); err != nil {
		return &fs.PathError{Op: "write in", Path: written, Err: err}
	}
	return nil
}

// ownDir returns an error unless dir is a directory of this user's, mode 0700.
func ownDir(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.IsDir() || int(stat.Uid) != os.Geteuid() || info.Mode().Perm() != 0o700 {
		return fmt.Errorf("%s is not this user's own, mode 0700", dir)
	}
	return nil
}

// makeRunDir makes dir, and what is missing above it, unless it is there: then
// whoever prepared it decided who gets in. A new one is for this user alone, or
// for the first of gids too; the socket in it is reached by whom dir lets in.
func makeRunDir(dir string, gids []uint32) error {
	if info, err := os.Stat(dir); err == nil {
		if !info.IsDir() {
			return fmt.Errorf("%s is not a directory", dir)
		}
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	switch err := os.Mkdir(dir, 0o700); {
	case errors.Is(err, fs.ErrExist): // another provider was faster
		return nil
	case err != nil:
		return err
	case len(gids) == 0:
		return os.Chmod(dir, 0o700) // whatever the umask took
	}
	if err := os.Chown(dir, -1, int(gids[0])); err != nil {
		return fmt.Errorf("give the directory to the admitted group: %w", err)
	}
	return os.Chmod(dir, 0o750|fs.ModeSetgid)
}

// groupOf returns the group of a file; -1, which means to leave it, if it is not told.
func groupOf(file fs.FileInfo) int {
	if stat, ok := file.Sys().(*syscall.Stat_t); ok {
		return int(stat.Gid)
	}
	return -1
}

// ownerOf returns the owner of a file; -1 if it is not told.
func ownerOf(file fs.FileInfo) int {
	if stat, ok := file.Sys().(*syscall.Stat_t); ok {
		return int(stat.Uid)
	}
	return -1
}
