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

// paper is the announcement in one directory.
type paper struct {
	path   string
	beside *socket     // by whose name it goes
	file   fs.FileInfo // as it was written; nil before
	failed string      // the error that was logged last
}

// intact reports whether what is there is what was written. A file's number
// alone does not tell: the next file can have it.
func (p *paper) intact() bool {
	there, err := os.Lstat(p.path)
	return err == nil && p.file != nil && os.SameFile(there, p.file) && there.ModTime().Equal(p.file.ModTime())
}

// announce writes the announcement of the provider into every directory in which
// it listens, beside the socket and named after the first one there, and keeps
// an eye on them from now on. It logs what goes wrong: the provider can be
// reached by its address all the same.
func (f *front) announce() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.shut {
		return
	}
	for _, s := range f.sockets {
		if dir := filepath.Dir(s.path); f.papers[dir] == nil && s.announced() {
			f.sweep(dir)
			f.papers[dir] = &paper{path: s.path + api.AnnouncementSuffix, beside: s}
		}
	}
	for dir, paper := range f.papers {
		f.writeLocked(dir, paper)
	}
	f.keepLocked()
}

// writeLocked writes an announcement, unless another provider's may be there.
func (f *front) writeLocked(dir string, paper *paper) bool {
	if paper.beside.trouble.text != "" {
		return false
	}
	file, err := writeAnnouncement(paper.path, f.announcement(dir))
	if err == nil {
		paper.file, paper.failed = file, ""
		return true
	}
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		err = errno // without the name of a file that has another one at each try
	}
	if err.Error() != paper.failed {
		paper.failed = err.Error()
		f.p.log.Warn("cannot announce the provider", "file", paper.path, "error", err)
	}
	return false
}

// renewPapersLocked writes the announcements that are gone. ok tells that all
// are there.
func (f *front) renewPapersLocked() (written, ok bool) {
	ok = true
	for dir, paper := range f.papers {
		if paper.intact() {
			continue
		}
		again := f.writeLocked(dir, paper)
		if again {
			f.p.log.Warn("the announcement of the provider was gone; it is announced again", "file", paper.path)
		}
		written, ok = written || again, ok && again
	}
	return written, ok
}

// retract removes the announcements, as far as they are this provider's still,
// and ends the eye that is kept on them. The caller holds the lock.
func (f *front) retract() {
	f.unkeepLocked()
	for _, paper := range f.papers {
		if !f.announcedIn(paper.path) {
			continue
		}
		if err := os.Remove(paper.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			f.p.log.Warn("cannot remove the announcement", "file", paper.path, "error", err)
		}
	}
}

// announcedIn reports whether the announcement at path is of this run.
func (f *front) announcedIn(path string) bool {
	var a api.Announcement
	text, err := os.ReadFile(path)
	return err == nil && json.Unmarshal(text, &a) == nil && a.Epoch == f.p.epoch.String()
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
	for _, p := range f.ports {
		a.Addresses = append(a.Addresses, p.endpoint.String())
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
func writeAnnouncement(path string, a api.Announcement) (fs.FileInfo, error) {
	text, err := json.MarshalIndent(a, "", "  ")
	if err != nil {
		return nil, err
	}
	file, err := os.CreateTemp(filepath.Dir(path), ".announcement-*")
	if err != nil {
		return nil, err
	}
	defer os.Remove(file.Name()) // nothing is there any more if all goes well
	_, err = file.Write(append(text, '\n'))
	chmodErr := file.Chmod(0o644)
	info, statErr := file.Stat()
	if err := errors.Join(err, chmodErr, statErr, file.Close()); err != nil {
		return nil, err
	}
	return info, os.Rename(file.Name(), path)
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
