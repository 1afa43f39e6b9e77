package provider

import (
	"encoding/json"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/gofrs/flock"

	"crier.local/api"
)

// announce writes the announcement of the provider into every directory in which
// it listens, beside the socket and named after the first one there. It logs
// what goes wrong: the provider can be reached by its address all the same.
func (f *front) announce() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.shut {
		return
	}
	for _, s := range f.sockets {
		dir := filepath.Dir(s.path)
		if f.papers[dir] == "" {
			f.sweep(dir)
			f.papers[dir] = s.path + api.AnnouncementSuffix
		}
	}
	for dir, path := range f.papers {
		if err := writeAnnouncement(path, f.announcement(dir)); err != nil {
			f.p.log.Warn("cannot announce the provider", "file", path, "error", err)
		}
	}
}

// retract removes the announcements. The caller holds the lock.
func (f *front) retract() {
	for _, path := range f.papers {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			f.p.log.Warn("cannot remove the announcement", "file", path, "error", err)
		}
	}
}

// announcement returns what is announced in dir. The caller holds the lock.
func (f *front) announcement(dir string) api.Announcement {
	a := f.p.announcement()
	for _, s := range f.sockets {
		path := s.path
		if filepath.Dir(path) == dir {
			path = filepath.Base(path)
		}
		a.Addresses = append(a.Addresses, api.UnixEndpoint(path).String())
	}
	return a
}

// announcement returns what p tells about itself, but for its addresses.
func (p *Provider) announcement() api.Announcement {
	a := api.Announcement{
		Name: p.options.Name, Version: p.options.Version, Epoch: p.epoch.String(), Tags: p.options.Tags,
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.services {
		a.Services = append(a.Services, api.AnnouncedService{
			UUID: s.selector.UUID, Major: s.selector.Major, Minor: s.selector.Minor, Priority: s.priority, Tags: s.tags,
		})
	}
	return a
}

// writeAnnouncement writes a beside path and renames it, so that nobody reads half.
func writeAnnouncement(path string, a api.Announcement) error {
	text, err := json.MarshalIndent(a, "", "  ")
	if err != nil {
		return err
	}
	file, err := os.CreateTemp(filepath.Dir(path), ".announcement-*")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name()) // nothing is there any more if all goes well
	_, err = file.Write(append(text, '\n'))
	if err := errors.Join(err, file.Chmod(0o644), file.Close()); err != nil {
		return err
	}
	return os.Rename(file.Name(), path)
}

// sweep removes the announcements, of providers of this user, that providers
// left in dir which were killed.
func (f *front) sweep(dir string) {
	files, err := filepath.Glob(filepath.Join(dir, "*"+api.AnnouncementSuffix))
	if err != nil {
		return
	}
	for _, file := range files {
		if _, own := ownFile(file, 0); own && removeDead(file) {
			f.p.log.Info("removed an announcement that is malformed or of a dead provider", "file", file)
		}
	}
}

// ownFile reports whether path is a file of the given type (0 is a regular one)
// that belongs to this user.
func ownFile(path string, kind fs.FileMode) (fs.FileInfo, bool) {
	info, err := os.Lstat(path)
	if err != nil || info.Mode().Type() != kind {
		return nil, false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return info, ok && int(stat.Uid) == os.Geteuid()
}

// removeDead removes an announcement beside its socket if nobody listens there.
// The socket's lock keeps a provider from starting meanwhile.
func removeDead(file string) bool {
	path := strings.TrimSuffix(file, api.AnnouncementSuffix)
	lock := flock.New(path+".lock", flock.SetFlag(os.O_RDONLY|syscall.O_NOFOLLOW))
	if locked, err := lock.TryLock(); !locked && !errors.Is(err, fs.ErrNotExist) {
		return false
	}
	defer lock.Unlock()
	return abandoned(path) && os.Remove(file) == nil
}

// abandoned reports whether nobody listens on the socket at path.
func abandoned(path string) bool {
	conn, err := net.Dial("unix", path)
	if err == nil {
		conn.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist)
}
