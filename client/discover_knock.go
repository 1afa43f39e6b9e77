package client

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"crier.local/api"
)

// socketSuffix ends the names of providers' sockets.
const socketSuffix = ".sock"

// unannounced returns the sockets in dir beside which there is no announcement.
// Somebody may listen there on behalf of a provider that has not been started, as
// service managers do: the first who connects makes them start it.
func unannounced(dir string, entries []fs.DirEntry) (paths []string) {
	for _, entry := range entries {
		name := entry.Name()
		if entry.Type() != fs.ModeSocket || !strings.HasSuffix(name, socketSuffix) {
			continue
		}
		if _, announced := slices.BinarySearchFunc(entries, name+api.AnnouncementSuffix, func(e fs.DirEntry, name string) int {
			return strings.Compare(e.Name(), name)
		}); !announced {
			paths = append(paths, filepath.Join(dir, name))
		}
	}
	return paths
}

// tellOf reports whether one of the announcements tells of the socket at path.
func tellOf(announcements []Found, path string) bool {
	return slices.ContainsFunc(announcements, func(f Found) bool {
		return slices.ContainsFunc(f.Addresses, func(text string) bool {
			e, err := announcedAddress(filepath.Dir(f.File), text)
			return err == nil && e == api.UnixEndpoint(path)
		})
	})
}

// knock connects to each socket without an announcement beside it, until somebody has
// listened there once in the life of a scan, and says nothing: whoever is woken by that
// will announce itself. It notes where somebody listened of whom nobody knows.
func (s *scan) knock(ctx context.Context) {
	for _, path := range s.mute {
		if !s.woken[path] {
			err := probe(ctx, api.UnixEndpoint(path))
			if ctx.Err() != nil {
				return
			}
			if errors.Is(err, fs.ErrPermission) {
				s.places = append(s.places, fmt.Sprintf("%s (%v)", path, err))
				s.locked = append(s.locked, path)
			}
			s.woken[path] = err == nil
		}
		if s.woken[path] && !tellOf(s.known, path) {
			s.silent = append(s.silent, path)
			s.places = append(s.places, path+" listens but has not announced itself")
		}
	}
}
