package provider

import (
	"errors"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"

	"crier.local/api"
)

// How often a keeper looks by itself. While all is well and the kernel tells of
// changes it never does.
const (
	// hurry is the first wait while something is not in order; it doubles up to calm.
	hurry = 50 * time.Millisecond
	calm  = 5 * time.Second
	// slowLook is the period where the kernel does not tell of changes.
	slowLook = 10 * time.Second
)

// keeper heals the front when something happens to the files by which clients
// find the provider: a cleaner of temporary files removes the socket, somebody
// renames the directory. It hears of what happens in the sockets' directories
// and to them; not of a directory above that is renamed, or of one that is
// mounted over.
type keeper struct {
	front   *front
	more    chan struct{} // holds one: there may be more to watch
	over    chan struct{}
	watcher *fsnotify.Watcher // nil if there is none
	blind   string            // why not all is watched
}

// keepLocked starts the keeper, or makes it look.
func (f *front) keepLocked() {
	switch {
	case len(f.sockets) == 0:
		return
	case f.keeper == nil:
		f.keeper = &keeper{front: f, more: make(chan struct{}, 1), over: make(chan struct{})}
		f.serving.Go(f.keeper.run)
		return
	}
	select {
	case f.keeper.more <- struct{}{}:
	default: // it will
	}
}

func (f *front) unkeepLocked() {
	if f.keeper != nil {
		close(f.keeper.over)
	}
}

// premises returns the directories in which the front has files, and everything
// there of which it has to hear.
func (f *front) premises() (dirs []string, files map[string]bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	files = map[string]bool{}
	for _, s := range f.sockets {
		dir, path := filepath.Dir(s.path), filepath.Clean(s.path)
		if !files[dir] {
			dirs = append(dirs, dir)
		}
		files[dir], files[path], files[path+".lock"], files[path+api.AnnouncementSuffix] = true, true, true, true
	}
	return dirs, files
}

// run heals until it is over.
func (k *keeper) run() {
	defer k.unwatch()
	var delay time.Duration
	for {
		dirs, files := k.front.premises()
		k.watch(dirs) // before it looks, so that nothing happens in between
		changed, settled := k.front.heal()
		switch {
		case changed:
			delay = 0 // there may be a new directory to watch
		case settled:
			delay = k.rest()
		default:
			delay = min(max(2*delay, hurry), calm)
		}
		heard, over := k.await(files, delay)
		if over {
			return
		}
		if heard {
			delay = 0
		}
	}
}

// rest is how long to wait while all is well; -1 for ever.
func (k *keeper) rest() time.Duration {
	if k.blind != "" || !kernelTells {
		return slowLook
	}
	return -1
}

// await returns when something has happened to one of the files, or after a delay.
func (k *keeper) await(files map[string]bool, delay time.Duration) (heard, over bool) {
	var late <-chan time.Time
	if delay >= 0 {
		late = time.After(delay)
	}
	var events chan fsnotify.Event
	var lost chan error
	if k.watcher != nil {
		events, lost = k.watcher.Events, k.watcher.Errors
	}
	for {
		select {
		case e := <-events:
			if files[filepath.Clean(e.Name)] {
				return true, false
			}
		case err := <-lost: // some events
			k.front.p.log.Debug("not all is told of the directories of the sockets", "error", err)
			return true, false
		case <-k.more:
			return true, false
		case <-late:
			return false, false
		case <-k.over:
			return false, true
		}
	}
}

// watch lets the kernel tell of what happens to the directories, and in them. It
// may be repeated, and has to be when a directory was made anew.
func (k *keeper) watch(dirs []string) {
	var err error
	if k.watcher == nil {
		k.watcher, err = fsnotify.NewWatcher()
	}
	for _, dir := range dirs {
		if err == nil {
			if err = k.watcher.Add(dir); errors.Is(err, fs.ErrNotExist) {
				err = nil // healing is what makes it
			}
		}
	}
	k.report(err)
}

// report logs that the keeper is blind, and that it is not any more.
func (k *keeper) report(err error) {
	log, before := k.front.p.log, k.blind
	if k.blind = ""; err != nil {
		k.blind = err.Error()
	}
	switch {
	case k.blind == before:
	case err == nil:
		log.Info("the directories of the sockets are watched again")
	default:
		log.Warn("cannot watch the directories of the sockets: that one is removed or replaced is noticed late",
			"error", err, "looks_every", slowLook,
			"hint", "raise fs.inotify.max_user_instances and max_user_watches by sysctl, or the limit of open files")
	}
}

func (k *keeper) unwatch() {
	if k.watcher != nil {
		k.watcher.Close()
	}
}
