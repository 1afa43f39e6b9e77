package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"crier.local/api"
	"crier.local/provider"
)

const checkStart = "start"

// start tells where a provider started here would listen, and what keeps it from it.
func (d *doctor) start() {
	listens, err := listenAddresses()
	if err == nil && listens == nil {
		var e api.Endpoint
		e, err = provider.DefaultEndpoint("crier", d.serveDir())
		listens = []api.Endpoint{e}
	}
	if err != nil {
		d.cannotStart(placeAdvice(), "%s", flat(err))
		return
	}
	for _, e := range listens {
		switch obstacle, fix := d.obstacle(e); {
		case d.occupied(e):
			d.ok(checkStart, details{"address": e.String()}, "a provider listens on %s, where one started here would", e)
		case obstacle != "":
			d.cannotStart(fix, "a provider started here could not listen on %s: %s", e, obstacle)
		default:
			d.ok(checkStart, details{"address": e.String()}, "a provider started here would listen on %s", e)
		}
	}
}

// placeAdvice says what makes a run directory for a provider.
func placeAdvice() string {
	return fmt.Sprintf("have a directory that uid %d may write in, such as a volume that is given to it, and name it (CRIER_RUN_DIR or --run-dir)", os.Getuid())
}

// serveDir returns the run directory that is given, in which a provider would be too.
func (d *doctor) serveDir() string {
	if dirs, err := d.r.runDirs(); err == nil && dirs != nil {
		return dirs[0]
	}
	return ""
}

// cannotStart is a failure where a provider is meant to be, and nothing to be
// mended where clients have theirs: they need no directory that they may write in.
func (d *doctor) cannotStart(fix, format string, args ...any) {
	switch {
	case os.Getenv("CRIER_LISTEN") != "":
		d.fail(checkStart, exitConfig, fix, nil, format, args...)
	case d.reached():
		d.skip(checkStart, format, args...)
	default:
		d.warn(checkStart, fix, nil, format, args...)
	}
}

// obstacle says what keeps a provider from listening on e, and how to mend it.
func (d *doctor) obstacle(e api.Endpoint) (what, fix string) {
	if err := e.Validate(); err != nil {
		return splitHint(err.Error())
	}
	if e.Network != "unix" {
		return "", ""
	}
	if info, err := os.Lstat(e.Address); err == nil && info.Mode().Type() != fs.ModeSocket {
		return fmt.Sprintf("what is there is %s, not a socket", kindOf(info)), "remove it, or choose another address"
	}
	if lock := e.Address + ".lock"; errors.Is(unix.Access(lock, unix.R_OK), fs.ErrPermission) {
		return fmt.Sprintf("uid %d may not open the lock %s", os.Getuid(), modeOf(lock)),
			"choose another name (crier serve --name) or address, or have whoever made the lock remove it once no provider is there"
	}
	dir := filepath.Dir(e.Address)
	for {
		info, err := os.Stat(dir)
		switch {
		case errors.Is(err, fs.ErrNotExist) && dir != "/": // it would be made
			dir = filepath.Dir(dir)
			continue
		case err != nil:
			return err.Error(), "choose another directory (--run-dir)"
		case !info.IsDir():
			return dir + " is no directory", "choose another one (--run-dir)"
		case unix.Access(dir, unix.W_OK|unix.X_OK) != nil:
			return fmt.Sprintf("uid %d may not write in %s", os.Getuid(), modeOf(dir)), writeAdvice(dir)
		}
		return "", ""
	}
}

// writeAdvice says what lets a provider write in a directory.
func writeAdvice(dir string) string {
	if unix.Access(dir, unix.W_OK) == unix.EROFS {
		return "the file system is read-only: mount a volume or a tmpfs on the run directory"
	}
	return "give the directory to that user, or choose another one (--run-dir)"
}

// occupied reports whether somebody listens on e already.
func (d *doctor) occupied(e api.Endpoint) bool {
	return slices.ContainsFunc(d.sockets, func(s *socketState) bool { return s.endpoint == e && s.live() })
}
