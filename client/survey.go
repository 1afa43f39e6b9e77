package client

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"crier.local/api"
)

// ErrUntrusted is what is wrong with a run directory that discovery passes over
// on purpose: below a directory in which everybody may write, it is not this
// user's own with mode 0700.
var ErrUntrusted = errUntrusted

// Place is a run directory as discovery sees it.
type Place struct {
	// Dir is its absolute path.
	Dir string
	// Err is why discovery reads nothing there: it wraps [fs.ErrNotExist],
	// [fs.ErrPermission] or [ErrUntrusted] where it is that. Nil if it was read.
	Err error
	// Found are the announcements in it. Nobody was asked yet whether they live:
	// Live is false in all of them.
	Found []Found
	// Unusable tells of each announcement that is left out, by its path.
	Unusable []error
	// Silent are the paths of the sockets of which no announcement tells. Somebody
	// may listen there on behalf of a provider that has not been started.
	Silent []string
}

// Places looks into the directories in which discovery would look for a
// provider, with runDirs as in [Options]. Unlike [Providers] it tells of each
// what is there or why nothing can be seen, and it connects to nobody. It may be
// called concurrently.
func Places(runDirs []string) []Place {
	s := newScan(runDirs, nil)
	places := make([]Place, len(s.dirs))
	for i, dir := range s.dirs {
		places[i] = s.place(dir)
	}
	return places
}

func (s *scan) place(dir string) Place {
	dir, err := filepath.Abs(dir)
	p := Place{Dir: dir, Err: err}
	if err == nil && !s.named {
		p.Err = trusted(dir)
	}
	if p.Err != nil {
		return p
	}
	entries, err := os.ReadDir(dir)
	p.Err = err
	for _, entry := range entries {
		if strings.HasSuffix(entry.Name(), api.AnnouncementSuffix) {
			p.read(filepath.Join(dir, entry.Name()))
		}
	}
	p.Silent = slices.DeleteFunc(unannounced(dir, entries), func(path string) bool { return tellOf(p.Found, path) })
	return p
}

// read adds the announcement in file. One that is gone by now is not missed.
func (p *Place) read(file string) {
	switch f, err := readAnnouncement(file); {
	case err == nil:
		p.Found = append(p.Found, f)
	case !errors.Is(err, fs.ErrNotExist):
		p.Unusable = append(p.Unusable, fmt.Errorf("%s: %w", file, err))
	}
}

// Find returns the address that [Dial] would attach to, and waits for a provider
// to appear as Dial does. It attaches to nobody; to see who lives it connects,
// and hangs up.
//
// Errors: [api.ErrNoProvider], [api.ErrAmbiguous], [*api.VersionError], or ctx's.
func Find(ctx context.Context, o Options) (api.Endpoint, error) { return find(ctx, o) }
