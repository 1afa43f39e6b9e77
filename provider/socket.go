package provider

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/gofrs/flock"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
)

// socket is a unix socket that a provider listens on. Nobody else can take it
// from the provider but by force, and then the provider takes it back: the
// listener behind the path is replaced, and the server above does not notice.
// One that somebody else opened is never replaced, nor is its file touched.
type socket struct {
	front   *front
	door    doorman
	path    string
	over    chan struct{}
	closing sync.Once
	adopted bool // somebody else opened it

	// The front's lock guards what follows; they change while the socket is mended.
	lock    *flock.Flock // on path + ".lock"; nil for a socket that go-plugin made, or somebody else opened
	server  *grpc.Server // for a socket that go-plugin made, else nil
	dir     fs.FileInfo  // of the path's directory, as it was at the start
	trouble trouble
	// other is what was last seen in the place of the socket, and since when.
	other      fs.FileInfo
	otherSince time.Time

	mu       sync.Mutex
	listener *net.UnixListener // nil while it is go-plugin's
	file     fs.FileInfo       // of path, to know our own
	shut     bool
	closeErr error
}

// openSocket takes path, in a directory that it makes if need be.
func openSocket(path string, gids []uint32) (*socket, error) {
	if err := makeRunDir(filepath.Dir(path), gids); err != nil {
		return nil, err
	}
	dir, err := os.Stat(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	lock, err := takeLock(path)
	if err != nil {
		return nil, err
	}
	listener, file, err := bindSocket(path, func(fs.FileInfo) bool { return true })
	if err != nil {
		lock.Unlock()
		return nil, err
	}
	return &socket{path: path, over: make(chan struct{}), lock: lock, dir: dir, listener: listener, file: file}, nil
}

// takeLock takes the lock of path. The file stays for ever, since it cannot be
// removed without a race; somebody may do so all the same, and then a lock that
// was taken on what is not there any more is worth nothing.
func takeLock(path string) (*flock.Flock, error) {
	mode := lockMode(filepath.Dir(path))
	for {
		lock := flock.New(path+".lock", flock.SetFlag(os.O_CREATE|os.O_RDONLY|syscall.O_NOFOLLOW), flock.SetPermissions(mode))
		locked, err := lock.TryLock()
		switch {
		case err != nil:
			return nil, fmt.Errorf("lock: %w%s", err, lockAdvice(path, err))
		case !locked:
			return nil, fmt.Errorf("another provider listens there; it holds %s.lock", path)
		case inPlace(lock):
			return lock, nil
		}
		lock.Unlock()
	}
}

// lockAdvice says what lets this user have the lock of path, for which it got err.
func lockAdvice(path string, err error) string {
	dir := filepath.Dir(path)
	in, statErr := os.Stat(dir)
	if !errors.Is(err, fs.ErrPermission) || statErr != nil {
		return ""
	}
	if lock, err := os.Lstat(path + ".lock"); err == nil {
		return fmt.Sprintf("; choose another address, or have uid %d remove the lock once no provider is there", ownerOf(lock))
	}
	return fmt.Sprintf("; let uid %d write in %s (uid %d, gid %d, mode %04o), or choose another address",
		os.Geteuid(), dir, ownerOf(in), groupOf(in), in.Mode().Perm())
}

// lockMode returns the mode of a new lock file in dir. A user who may write there, and
// so could replace it, may take the lock when this provider is dead. Nobody else may
// open it, and so keep this user's providers from starting.
func lockMode(dir string) fs.FileMode {
	const own = 0o600
	info, err := os.Stat(dir)
	if err != nil || info.Mode()&fs.ModeSticky != 0 {
		return own
	}
	return own | info.Mode().Perm()&0o022<<1
}

// inPlace reports whether the file that is locked is still the one at its path.
func inPlace(lock *flock.Flock) bool {
	held, err := lock.Stat()
	return err == nil && isAt(held, lock.Path())
}

// isAt reports whether the file at path is file. It must be one that is open
// somewhere, or bound: the kernel gives the number of another to the next.
func isAt(file fs.FileInfo, path string) bool {
	there, err := os.Lstat(path)
	return err == nil && os.SameFile(there, file)
}

// bindSocket binds path, whose lock the caller holds. A socket that nobody listens
// on gives way if abandoned says so too.
func bindSocket(path string, abandoned func(fs.FileInfo) bool) (*net.UnixListener, fs.FileInfo, error) {
	if err := removeStale(path, abandoned); err != nil {
		return nil, nil, err
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, nil, err
	}
	listener.SetUnlinkOnClose(false)
	// Whoever reaches the directory may connect: the credentials decide then.
	err = admitAll(path)
	file, statErr := os.Lstat(path)
	if err = errors.Join(err, statErr); err == nil && file.Mode().Type() != fs.ModeSocket {
		err = errReplaced
	}
	if err != nil {
		listener.Close()
		return nil, nil, err
	}
	return listener, file, nil
}

// admitAll gives the socket at path mode 0666. What somebody else may have put there
// in the meantime is left alone: a link would lead to any file of this user's.
func admitAll(path string) error {
	err := unix.Fchmodat(unix.AT_FDCWD, path, 0o666, unix.AT_SYMLINK_NOFOLLOW)
	if err != unix.EOPNOTSUPP { // by Linux before 6.6
		return err
	}
	if file, err := os.Lstat(path); err != nil || file.Mode().Type() != fs.ModeSocket {
		return errReplaced
	}
	return os.Chmod(path, 0o666)
}

// errReplaced is for a socket that somebody else replaced at once.
var errReplaced = errors.New("it was made, and replaced at once by something else")

// isOwn reports whether it is this process that listens at path.
func isOwn(path string) bool {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return false
	}
	defer conn.Close()
	id, err := peerIdentity(conn)
	return err == nil && int(id.PID) == os.Getpid()
}

// removeStale removes the socket file at path, if nobody listens on it and it is
// abandoned.
func removeStale(path string, abandoned func(fs.FileInfo) bool) error {
	file, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case file.Mode().Type() != fs.ModeSocket:
		return errors.New("the file there is not a socket; remove it or choose another address")
	}
	conn, err := net.Dial("unix", path)
	switch {
	case err == nil:
		conn.Close()
		return errors.New("another program listens there, and it does not hold the lock that providers take")
	case errors.Is(err, syscall.ECONNREFUSED) && !abandoned(file):
		return errStarting
	case errors.Is(err, syscall.ECONNREFUSED):
		return syscall.Unlink(path) // not a directory, should one have come meanwhile
	default: // somebody else's, or busy: whatever it is, it is not ours to remove
		return fmt.Errorf("the socket there does not look abandoned: %w", err)
	}
}

// occupant says who listens at path, as far as the kernel tells.
func occupant(path string) string {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return "nobody answers there"
	}
	defer conn.Close()
	id, err := peerIdentity(conn)
	switch {
	case err != nil:
		return "unknown"
	case id.PID == 0:
		return fmt.Sprintf("a process of uid %d in another pid namespace", id.UID)
	}
	return fmt.Sprintf("pid %d of uid %d", id.PID, id.UID)
}

// belong makes f the front of s.
func (s *socket) belong(f *front) {
	s.front = f
	s.door = doorman{front: f, hall: &f.gate.local, address: s.path, over: s.over}
}

// Accept returns the next connection as a *link.
func (s *socket) Accept() (net.Conn, error) { return s.door.accept(s.next) }

// next returns the next connection; [net.ErrClosed] when s is closed, and
// errNobody when the listener was replaced.
func (s *socket) next() (net.Conn, error) {
	conn, err := s.current().AcceptUnix()
	switch {
	case errors.Is(err, net.ErrClosed) && !s.closed():
		return nil, errNobody
	case err != nil:
		return nil, err
	}
	l, err := newLink(conn, &s.front.gate, s.front.p.authorize)
	if err != nil {
		conn.Close()
		return nil, err
	}
	if l.refused != nil {
		s.front.logRefused(l, s.path)
	}
	return l, nil
}

func (s *socket) current() *net.UnixListener {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.listener
}

func (s *socket) closed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.shut
}

// Addr returns the address, as which it is known to gRPC.
func (s *socket) Addr() net.Addr { return &net.UnixAddr{Name: s.path, Net: "unix"} }

// announced reports whether clients are to find s by an announcement. A host tells
// of the socket that go-plugin made to whom it likes.
func (s *socket) announced() bool { return s.server == nil }

// Close ends the listening, and removes the file at the path if it is ours still.
func (s *socket) Close() error {
	s.closing.Do(func() {
		close(s.over)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.shut = true
		if s.listener != nil {
			s.closeErr = s.listener.Close()
		}
		if !s.adopted && isAt(s.file, s.path) {
			os.Remove(s.path)
		}
	})
	return s.closeErr
}

// unlock lets another provider have the path.
func (s *socket) unlock() {
	if s.lock != nil {
		s.lock.Unlock()
	}
}
