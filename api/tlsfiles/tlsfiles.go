// Package tlsfiles reads the files of [api.TLSFiles], and reads them again when
// they have changed. It is for the two sides of a connection; programs give the
// names of the files to package provider or client.
package tlsfiles

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"syscall"

	"crier.local/api"
)

// ErrUnusable is what is wrong with files that cannot be read, are not what they
// should be, or do not belong together. Whoever configured them has to mend it.
var ErrUnusable = errors.New("tls files")

// Credentials are what the files hold.
type Credentials struct {
	// Pair is a certificate with its key.
	Pair tls.Certificate
	// Authorities are those that the other side's certificate must come from.
	Authorities *x509.CertPool
}

// Load reads the files. Its errors are [ErrUnusable].
func Load(f api.TLSFiles) (*Credentials, error) {
	if missing := f.Missing(); len(missing) > 0 {
		return nil, fmt.Errorf("%w: not given: %s", ErrUnusable, strings.Join(missing, ", "))
	}
	authorities, err := os.ReadFile(f.CA)
	if err != nil {
		return nil, fmt.Errorf("%w: ca: %w", ErrUnusable, err)
	}
	c := &Credentials{Authorities: x509.NewCertPool()}
	if !c.Authorities.AppendCertsFromPEM(authorities) {
		return nil, fmt.Errorf("%w: ca: %s holds no certificate in PEM", ErrUnusable, f.CA)
	}
	if c.Pair, err = tls.LoadX509KeyPair(f.Cert, f.Key); err != nil {
		return nil, fmt.Errorf("%w: %s with %s: %w", ErrUnusable, f.Cert, f.Key, err)
	}
	return c, nil
}

// Store keeps the credentials of files that may be replaced while it is in use.
// It is safe for concurrent use.
type Store struct {
	files  api.TLSFiles
	report func(error)

	mu      sync.Mutex
	current *Credentials
	seen    sight
	short   bool // the system could not read what has changed since
}

// Open reads the files for the first time, with the errors of [Load]. report
// hears of every change: nil if the files were read again, else why those read
// before stay in use.
func Open(f api.TLSFiles, report func(error)) (*Store, error) {
	s := &Store{files: f, report: report, seen: look(f)}
	var err error
	s.current, err = Load(f)
	return s, err
}

// Current returns the credentials, from the files if they have changed. It waits
// for nothing but the files.
func (s *Store) Current() *Credentials {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := look(s.files) // before reading: what changes meanwhile is seen next time
	if now.same(s.seen) {
		return s.current
	}
	c, err := Load(s.files)
	if shortage(err) { // the files may be as they should: they are read again
		if !s.short {
			s.report(err)
		}
		s.short = true
		return s.current
	}
	s.seen, s.short = now, false
	if err == nil {
		s.current = c
	}
	s.report(err)
	return s.current
}

// shortage reports whether err is the system's fault, and not the files'.
func shortage(err error) bool {
	for _, errno := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EIO} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// sight is what the files look like from outside; nil for one that is not there.
type sight [3]fs.FileInfo

func look(f api.TLSFiles) (s sight) {
	for i, path := range []string{f.CA, f.Cert, f.Key} {
		if info, err := os.Stat(path); err == nil {
			s[i] = info
		}
	}
	return s
}

func (s sight) same(other sight) bool {
	for i, a := range s {
		b := other[i]
		switch {
		case a == nil && b == nil:
		case a == nil || b == nil, !os.SameFile(a, b), a.Size() != b.Size(), !a.ModTime().Equal(b.ModTime()):
			return false
		}
	}
	return true
}
