package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// house is where everything lives that a run starts: a temporary directory, and
// the processes.
type house struct {
	*launcher
	ctx      context.Context
	dir      string
	profiles string // the directory of CPU profiles; empty for none
	window   uint64 // how many bytes a publisher may be ahead
	doing    string // what is measured now
	made     int    // names that scratch has made
	binaries map[string]string
}

func newHouse(ctx context.Context, o options) (*house, error) {
	dir, err := os.MkdirTemp("", "peerbench-")
	if err != nil {
		return nil, err
	}
	return &house{
		launcher: newLauncher(), ctx: ctx, dir: dir,
		profiles: o.profiles, window: o.window, binaries: o.binaries,
	}, nil
}

// close removes what is left.
func (h *house) close() error {
	h.launcher.close()
	return os.RemoveAll(h.dir)
}

// scratch returns a new directory.
func (h *house) scratch() string {
	h.made++
	dir := filepath.Join(h.dir, strconv.Itoa(h.made))
	if err := os.Mkdir(dir, 0o700); err != nil {
		panic(fmt.Sprintf("peerbench: in its own directory: %v", err))
	}
	return dir
}

// build builds a program, in the directory of the module that says which versions it
// is made of, unless it was given.
func (h *house) build(name, dir, pkg string) error {
	if h.binaries[name] != "" {
		return nil
	}
	path := filepath.Join(h.dir, name)
	cmd := exec.CommandContext(h.ctx, "go", "build", "-trimpath", "-o", path, pkg)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", pkg, err, out)
	}
	h.binaries[name] = path
	return nil
}

// moduleDir returns where the source of a module is.
func (h *house) moduleDir(module string) (string, error) {
	out, err := exec.CommandContext(h.ctx, "go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		return "", fmt.Errorf("%s is not found from here (run this in cmd/peerbench): %w", module, err)
	}
	return strings.TrimSpace(string(out)), nil
}

// binary returns the path of a program that build has built.
func (h *house) binary(name string) string { return h.binaries[name] }

// profile returns the file for the CPU profile of a process; empty if none is wanted.
func (h *house) profile(name string) string {
	if h.profiles == "" {
		return ""
	}
	return filepath.Join(h.profiles, strings.ReplaceAll(h.doing+" "+name, " ", "-")+".pprof")
}
