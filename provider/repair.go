package provider

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc"
)

// trouble is what keeps a socket from being mended.
type trouble struct {
	text string
	told bool
}

// heal sees to it that clients find the provider at its sockets: what others
// have removed is made anew, and what others have taken is taken back once they
// leave it. Attached processes notice nothing. changed tells that something was
// made, settled that nothing is left to be done.
func (f *front) heal() (changed, settled bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.shut {
		return false, true
	}
	settled = true
	for _, s := range f.sockets {
		wrong, err := s.mend(f.p.options.AllowGIDs)
		changed = changed || wrong != "" && err == nil
		settled = settled && err == nil
		f.reportLocked(s, wrong, err)
	}
	written, ok := f.renewPapersLocked()
	return changed || written, settled && ok
}

// reportLocked logs what was wrong with a socket. What another one keeps from
// being mended is told once, and only when it is so twice in a row: a provider
// that starts takes the lock for an instant, and sees that the path is taken.
func (f *front) reportLocked(s *socket, wrong string, err error) {
	switch {
	case err == nil && wrong != "":
		f.p.log.Warn(wrong+"; the provider has taken its place there again", "address", s.path)
		s.trouble = trouble{}
	case err == nil:
		s.trouble = trouble{}
	case err.Error() != s.trouble.text:
		s.trouble = trouble{text: err.Error()}
	case !s.trouble.told:
		s.trouble.told = true
		f.p.log.Error(wrong+"; the provider serves those attached, and "+s.prospect(),
			"address", s.path, "error", err, "listening", occupant(s.path))
	}
}

// prospect says how clients may come to find s again.
func (s *socket) prospect() string {
	if s.adopted {
		return "nobody else finds it: " + reopen
	}
	return "goes on trying to take its place there again"
}

// adopt keeps an eye on the socket at path that go-plugin made for server. Its
// name is its own, so nobody takes a lock for it.
func (f *front) adopt(path string, server *grpc.Server) error {
	dir, dirErr := os.Stat(filepath.Dir(path))
	file, err := os.Lstat(path)
	if err := errors.Join(dirErr, err); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.shut {
		return errGoingAway
	}
	s := &socket{path: path, over: make(chan struct{}), server: server, dir: dir, file: file}
	s.belong(f)
	f.sockets = append(f.sockets, s)
	f.keepLocked()
	return nil
}

// mend makes s be found at its path, and nobody else be able to take it. It
// returns what was wrong, "" for nothing, and an error if it is so still.
func (s *socket) mend(gids []uint32) (wrong string, err error) {
	if wrong = s.wrong(); wrong == "" {
		return "", nil
	}
	if s.adopted {
		return wrong, errNotOurs
	}
	if err := s.remakeDir(gids); err != nil {
		return wrong, err
	}
	if err := s.checkDir(); err != nil {
		return wrong, err
	}
	if err := s.relock(); err != nil {
		return wrong, err
	}
	if isAt(s.file, s.path) {
		return wrong, nil
	}
	listener, file, err := bindSocket(s.path, s.hasStayed)
	if err != nil {
		return wrong, err
	}
	if !isOwn(s.path) || !isAt(file, s.path) { // else it would be taken for ours
		listener.Close()
		return wrong, errReplaced
	}
	if err := s.checkDir(); err != nil { // another one has come meanwhile
		listener.Close()
		if isAt(file, s.path) {
			os.Remove(s.path)
		}
		return wrong, err
	}
	if s.server != nil { // go-plugin's; the host may have chosen a group for it
		err = imitate(s.path, s.file)
	}
	s.replace(listener, file)
	return wrong, err
}

// startTime is how long a program may take from bind(2) to listen(2). Until then its
// socket looks like one that was abandoned.
const startTime = time.Second

var errStarting = errors.New("another program's socket, which may be about to listen there")

// hasStayed reports whether another program's socket has been in the place of s for
// so long that nobody is about to listen on it.
func (s *socket) hasStayed(there fs.FileInfo) bool {
	if s.other == nil || !os.SameFile(s.other, there) || !s.other.ModTime().Equal(there.ModTime()) {
		s.other, s.otherSince = there, time.Now()
	}
	return time.Since(s.otherSince) >= startTime
}

// wrong says why nobody finds s, or why others could take its path; "" for no reason.
func (s *socket) wrong() string {
	switch _, err := os.Lstat(s.path); {
	case err == nil && !isAt(s.file, s.path):
		return "something else is in the place of the socket"
	case err != nil:
		if _, err := os.Stat(filepath.Dir(s.path)); err != nil {
			return "the directory of the socket is gone"
		}
		return "the socket file is gone"
	case s.lock != nil && !inPlace(s.lock):
		return "the lock file of the socket is gone or replaced"
	}
	return ""
}

// relock takes the lock at the path, unless it is held already.
func (s *socket) relock() error {
	if s.lock == nil || inPlace(s.lock) {
		return nil
	}
	lock, err := takeLock(s.path)
	if err != nil {
		return err
	}
	s.lock.Unlock()
	s.lock = lock
	return nil
}

// replace makes s accept from another listener, and then closes the former one.
// For a socket of go-plugin's, which listens by itself until now, serving begins.
func (s *socket) replace(listener *net.UnixListener, file fs.FileInfo) {
	s.mu.Lock()
	former := s.listener
	s.listener, s.file = listener, file
	s.mu.Unlock()
	if former != nil {
		former.Close()
		return
	}
	s.front.serving.Go(func() { s.server.Serve(s) })
}

// remakeDir makes the directory of s again, if it is gone, as it was: whoever
// prepared it decided who gets in.
func (s *socket) remakeDir(gids []uint32) error {
	dir := filepath.Dir(s.path)
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := makeRunDir(dir, gids); err != nil {
		return err
	}
	if err := imitate(dir, s.dir); err != nil {
		s.front.p.log.Warn("the directory of the socket had to be made again, and cannot be made for the group that it was for",
			"directory", dir, "error", err)
	}
	return nil
}

// checkDir returns an error if the directory belongs to a stranger, who could
// decide there who gets in, and put in the place of any file what he likes.
func (s *socket) checkDir() error {
	there, err := os.Stat(filepath.Dir(s.path))
	if err != nil {
		return err
	}
	if owner := ownerOf(there); owner != ownerOf(s.dir) && owner != 0 && owner != os.Geteuid() {
		return fmt.Errorf("its directory belongs to uid %d now", owner)
	}
	return nil
}

// imitate gives the file at path the group and the mode of like.
func imitate(path string, like fs.FileInfo) error {
	there, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if group := groupOf(like); group != groupOf(there) {
		if err := os.Lchown(path, -1, group); err != nil {
			return err
		}
	}
	return os.Chmod(path, like.Mode())
}
