package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"crier.local/client"
)

const checkDirectory = "directory"

// directory is a run directory as this user sees it.
type directory struct {
	path   string
	origin string // who says that it is one
	info   fs.FileInfo
	link   string // what a symbolic link leads to
	enter  bool
	read   bool
	write  bool
}

// inspect looks at a directory, which need not be one, or be there.
func inspect(path, origin string) (*directory, error) {
	dir := &directory{path: path, origin: origin}
	var err error
	if dir.info, err = os.Stat(path); err != nil {
		return dir, err
	}
	if to, err := os.Readlink(path); err == nil {
		dir.link = to
	}
	dir.enter = unix.Access(path, unix.X_OK) == nil
	dir.read = unix.Access(path, unix.R_OK) == nil
	dir.write = unix.Access(path, unix.W_OK) == nil
	return dir, nil
}

// directories tells of each place in which discovery looks or, if an address is
// given, of the directory of its socket.
func (d *doctor) directories() {
	if d.asked == "" {
		for i, place := range d.places {
			d.directory(place, d.dirOrigin(i), d.where != "")
		}
		return
	}
	switch asked := d.r.address.Endpoint; {
	case asked.Network == "tcp":
		d.skip(checkDirectory, "none is looked into, since %s gives an address of TCP", d.asked)
	case asked.Validate() != nil:
		d.skip(checkDirectory, "none is looked into, since %s gives an address that cannot be used", d.asked)
	default:
		d.directory(client.Place{Dir: filepath.Dir(asked.Address)}, string(d.asked), true)
	}
}

// dirOrigin says why the directory with number i is looked into.
func (d *doctor) dirOrigin(i int) string {
	switch {
	case d.where != "":
		return string(d.where)
	case d.places[i].Dir == "/run/crier":
		return "everybody's"
	case strings.HasPrefix(d.places[i].Dir, os.TempDir()+"/") && i == len(d.places)-1:
		return "below $TMPDIR"
	default:
		return "below $XDG_RUNTIME_DIR"
	}
}

// directory tells of one place; named tells that somebody chose it.
func (d *doctor) directory(place client.Place, origin string, named bool) {
	dir, err := inspect(place.Dir, origin)
	more := dir.details(place)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !named:
		d.tell(finding{Check: checkDirectory, Status: statusSkip, Detail: more, Found: dir.String() + ": there is none"})
	case errors.Is(err, fs.ErrNotExist):
		d.fail(checkDirectory, exitUnavailable, absentAdvice(place.Dir), more, "%s: there is no such directory", dir)
	case err != nil && errors.Is(err, fs.ErrPermission):
		d.grave(checkDirectory, exitDenied, barredAdvice(barrier(place.Dir)), more,
			"%s: this user may not enter %s", dir, modeOf(barrier(place.Dir)))
	case err != nil:
		d.grave(checkDirectory, exitConfig, "name a directory that can be used (--run-dir)", more, "%s: %v", dir, err)
	case !dir.info.IsDir():
		d.grave(checkDirectory, exitConfig, "name a directory (--run-dir), or remove what is there", more, "%s is no directory", dir)
	default:
		d.existing(dir, place, more)
	}
	for _, err := range place.Unusable {
		fix := "have its provider started again, or remove the file if it has none"
		if errors.Is(err, fs.ErrPermission) {
			fix = "let this user read it: providers make it 0644"
		}
		d.warn(checkDirectory, fix, nil, "an announcement is left out: %v", err)
	}
}

// existing tells of a directory that is there.
func (d *doctor) existing(dir *directory, place client.Place, more details) {
	switch {
	case errors.Is(place.Err, client.ErrUntrusted):
		d.grave(checkDirectory, exitDenied,
			"chmod 0700 it, if it is yours; else have the provider use a directory that not everybody could have made",
			more, "%s; it is passed over: everybody may write in %s, so it would have to be uid %d's own with mode 0700",
			dir.described(), filepath.Dir(dir.path), os.Getuid())
	case !dir.enter:
		d.grave(checkDirectory, exitDenied, barredAdvice(dir.path), more, "%s; nothing in it can be reached without entering", dir.described())
	case !dir.read && d.asked == "":
		d.grave(checkDirectory, exitDenied, "let this user read it, or give the provider's address (--address)",
			more, "%s; it may be entered but not read, so that nothing can be found in it", dir.described())
	case place.Err != nil:
		d.grave(checkDirectory, exitConfig, "name a directory that can be used (--run-dir)", more, "%s: %v", dir, place.Err)
	default:
		d.ok(checkDirectory, more, "%s; %s", dir.described(), d.contents(place))
	}
}

// contents says what is announced in a place, if it was looked into.
func (d *doctor) contents(place client.Place) string {
	switch n := len(place.Found); {
	case d.asked != "":
		return "that of the socket"
	case n == 0:
		return "nothing is announced"
	default:
		return count(n, "announcement")
	}
}

func (dir *directory) String() string { return fmt.Sprintf("%s (%s)", dir.path, dir.origin) }

// described says what there is: owner, mode, and what this user may do.
func (dir *directory) described() string {
	text := dir.String()
	if dir.link != "" {
		text += " -> " + dir.link
	}
	return fmt.Sprintf("%s: %s, this user may %s", text, modeText(dir.info), dir.rights())
}

func (dir *directory) rights() string {
	var list []string
	for _, right := range []struct {
		has  bool
		word string
	}{{dir.enter, "enter"}, {dir.read, "read"}, {dir.write, "write"}} {
		if right.has {
			list = append(list, right.word)
		}
	}
	if list == nil {
		return "do nothing"
	}
	return strings.Join(list, ", ")
}

func (dir *directory) details(place client.Place) details {
	more := details{"path": dir.path, "origin": dir.origin, "exists": dir.info != nil, "announcements": len(place.Found)}
	if dir.info == nil {
		return more
	}
	uid, gid := ownersOf(dir.info)
	more["uid"], more["gid"], more["mode"] = uid, gid, fmt.Sprintf("%04o", octal(dir.info.Mode()))
	more["enter"], more["read"], more["write"] = dir.enter, dir.read, dir.write
	more["trusted"] = !errors.Is(place.Err, client.ErrUntrusted)
	return more
}

// ownersOf returns whose a file is.
func ownersOf(info fs.FileInfo) (uid, gid uint32) {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return stat.Uid, stat.Gid
	}
	return unknownID, unknownID
}

// modeText is owner and mode of a file, as in uid 0, gid 0, mode 2770.
func modeText(info fs.FileInfo) string {
	uid, gid := ownersOf(info)
	return fmt.Sprintf("uid %d, gid %d, mode %04o", uid, gid, octal(info.Mode()))
}

// octal returns a mode as chmod(1) has it.
func octal(mode fs.FileMode) uint32 {
	n := uint32(mode.Perm())
	for _, bit := range []struct {
		mode fs.FileMode
		n    uint32
	}{{fs.ModeSetuid, 0o4000}, {fs.ModeSetgid, 0o2000}, {fs.ModeSticky, 0o1000}} {
		if mode&bit.mode != 0 {
			n |= bit.n
		}
	}
	return n
}

// modeOf names a path with its owner and mode, if these can be seen.
func modeOf(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return path
	}
	return fmt.Sprintf("%s (%s)", path, modeText(info))
}

// barrier returns the first directory on the way to path that this user may not
// enter; path if there is none.
func barrier(path string) string {
	for at := "/"; at != path; {
		if unix.Access(at, unix.X_OK) != nil {
			return at
		}
		rest := strings.TrimPrefix(strings.TrimPrefix(path, at), "/")
		next, _, _ := strings.Cut(rest, "/")
		at = filepath.Join(at, next)
	}
	return path
}

func barredAdvice(dir string) string {
	return fmt.Sprintf("whoever runs the provider can let this user into %s: a shared group (crier serve --allow-gid, mode 2750), or another directory", dir)
}

// absentAdvice says what to do about a directory that somebody named and that is
// not there.
func absentAdvice(dir string) string {
	return fmt.Sprintf("if the provider is in another container or on the host, mount its run directory on %s; else check the name, or start a provider there", dir)
}

// flat returns an error of several lines on one.
func flat(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// kindOf names the kind of a file.
func kindOf(info fs.FileInfo) string {
	switch info.Mode().Type() {
	case 0:
		return "a regular file"
	case fs.ModeDir:
		return "a directory"
	case fs.ModeSocket:
		return "a socket"
	case fs.ModeSymlink:
		return "a symbolic link"
	case fs.ModeNamedPipe:
		return "a pipe"
	default:
		return "a device"
	}
}
