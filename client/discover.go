package client

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"

	"crier.local/api"
)

const (
	// defaultWait is how long a provider may take to appear.
	defaultWait = 100 * time.Millisecond
	// probeTime is how long an address on another host may take to show that
	// somebody listens there.
	probeTime = time.Second
	// maxAnnouncement is the size in bytes of the largest announcement that is read.
	maxAnnouncement = 64 << 10
)

// Found is a provider that has announced itself.
type Found struct {
	api.Announcement
	// Address is where it can be reached; File is the announcement.
	Address api.Endpoint
	File    string
	// Live tells whether somebody listens there.
	Live bool
}

// String names the provider as errors do.
func (f *Found) String() string { return fmt.Sprintf("service:%s@%s", f.Name, f.Version) }

// Providers returns the providers announced in runDirs, or if that is nil in
// $CRIER_RUN_DIR, or else in [api.RunDirs]; by name, the dead ones too. It does
// not wait for any to appear. A file that cannot be read is left out.
//
// The error is ctx's; or it tells which directories are there but cannot be
// read, and comes with the providers in the others.
func Providers(ctx context.Context, runDirs []string) ([]Found, error) {
	s := newScan(runDirs, nil)
	found := s.read()
	errs := probeAll(ctx, found)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	for i := range found {
		found[i].Live = errs[i] == nil
	}
	slices.SortStableFunc(found, func(a, b Found) int { return cmp.Compare(a.Name, b.Name) })
	return found, errors.Join(s.unread...)
}

// find returns where the provider is: as given, or else as the environment says,
// or else as discovery shows, which waits o.Wait for one to appear.
//
// Errors: [api.ErrNoProvider], which is [api.ErrDenied] too if this user may not look
// where one could be, [api.ErrAmbiguous], [*api.VersionError], or ctx's.
func find(ctx context.Context, o Options) (api.Endpoint, error) {
	given, err := givenAddress(o)
	if err != nil {
		return api.Endpoint{}, err
	}
	if given.Network == "tcp" && o.Wait < 0 {
		return given, nil // to connect once is enough
	}
	if given != (api.Endpoint{}) {
		return await(ctx, o.Wait, func() (api.Endpoint, error) {
			if err := probe(ctx, given); absent(err) {
				return api.Endpoint{}, nobody(given, err)
			}
			return given, nil
		})
	}
	wanted := o.Find
	if wanted == nil {
		wanted = api.NotificationSelector.Restrict()
	}
	if err := wanted.Err(); err != nil {
		return api.Endpoint{}, err
	}
	s := newScan(o.RunDirs, o.Logger)
	return await(ctx, o.Wait, func() (api.Endpoint, error) { return s.choose(ctx, wanted) })
}

// givenAddress returns the address that the options or the environment give; the
// zero one if neither does.
func givenAddress(o Options) (api.Endpoint, error) {
	if o.Address != (api.Endpoint{}) {
		return o.Address, o.Address.Validate()
	}
	text := os.Getenv(api.EnvAddress)
	if text == "" {
		return api.Endpoint{}, nil
	}
	e, err := api.ParseEndpoint(text)
	if err != nil {
		return api.Endpoint{}, fmt.Errorf("%s: %w", api.EnvAddress, err)
	}
	return e, nil
}

// await tries until there is a provider, or wait is over. It polls, because
// what can be watched of directories runs out.
func await(ctx context.Context, wait time.Duration, try func() (api.Endpoint, error)) (api.Endpoint, error) {
	if wait == 0 {
		wait = defaultWait
	}
	last := time.Now().Add(wait)
	for {
		e, err := try()
		if !errors.Is(err, api.ErrNoProvider) || !time.Now().Before(last) {
			return e, err
		}
		if !sleep(ctx, pollInterval) {
			return api.Endpoint{}, context.Cause(ctx)
		}
	}
}

// probe returns nil if somebody listens on e.
func probe(ctx context.Context, e api.Endpoint) error {
	d := net.Dialer{Timeout: probeTime}
	conn, err := d.DialContext(ctx, e.Network, e.Address)
	switch {
	case err == nil:
		conn.Close()
	case errors.Is(err, syscall.EAGAIN): // somebody does, but is busy
		return nil
	}
	return err
}

// probeAll probes where each of found is, and returns what came of it. The time that
// hosts take which do not answer does not add up.
func probeAll(ctx context.Context, found []Found) []error {
	errs := make([]error, len(found))
	var probes sync.WaitGroup
	for i, f := range found {
		if f.Address.Network == "unix" {
			errs[i] = probe(ctx, f.Address) // which waits for nothing
			continue
		}
		probes.Go(func() { errs[i] = probe(ctx, f.Address) })
	}
	probes.Wait()
	return errs
}

// absent reports whether err, of a probe, says that nobody listens.
func absent(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist)
}

// scan looks through run directories.
type scan struct {
	dirs   []string
	named  bool // by somebody, who knows whose they are
	logger hclog.Logger
	told   bool     // what is wrong with files has been logged
	places []string // what there was in each directory, in words
	mute   []string // sockets without an announcement beside them
	barred []string // directories that this user may not enter or read
	locked []string // sockets that this user may not connect to
	unread []error  // of the directories that could not be read
	open   int      // directories that could
	known  []Found  // all that is announced
	silent []string // sockets of which no announcement tells, where somebody listens
	woken  map[string]bool
}

// newScan returns a scan of runDirs or, if that is nil, of the directory that
// the environment names, or else of those that everybody uses.
func newScan(runDirs []string, logger hclog.Logger) *scan {
	if logger == nil {
		logger = hclog.NewNullLogger()
	}
	s := &scan{dirs: runDirs, named: true, logger: logger, woken: map[string]bool{}}
	if dir := os.Getenv(api.EnvRunDir); s.dirs == nil && dir != "" {
		s.dirs = []string{dir}
	}
	if s.dirs == nil {
		s.dirs, s.named = api.RunDirs(), false
	}
	return s
}

// choose returns the address of the one live provider that fits best.
func (s *scan) choose(ctx context.Context, wanted *api.Restricted) (api.Endpoint, error) {
	asked := wanted.Selector()
	var fitting []offer
	var misfit *api.VersionError
	candidates := slices.DeleteFunc(s.read(), func(f Found) bool { return bestOffer(&f, wanted).isNone() })
	errs := probeAll(ctx, candidates)
	for i := range candidates {
		f := &candidates[i]
		switch o, err := bestOffer(f, wanted), errs[i]; {
		case err != nil:
			s.places = append(s.places, fmt.Sprintf("%s of %s (%v)", f.File, f, err))
			s.locked = appendBarred(s.locked, f.Address.Address, err)
		case o.fits != nil:
			fitting = append(fitting, o)
		case misfit == nil:
			misfit = &api.VersionError{Provider: f.String(), Asked: asked, Provided: o.misfit.Selector()}
		}
	}
	switch {
	case len(fitting) > 0:
		return preferred(fitting, asked)
	case misfit != nil:
		return api.Endpoint{}, misfit
	}
	s.knock(ctx)
	err := fmt.Errorf("%w %s: looked in %s; %s, or say where it is (%s, %s)",
		api.ErrNoProvider, asked, strings.Join(s.places, ", "), s.advice(), api.EnvAddress, api.EnvRunDir)
	if len(s.locked) > 0 || s.open == 0 && len(s.barred) > 0 {
		err = barredError{err}
	}
	return api.Endpoint{}, err
}

// barredError is that nothing was found since this user may look into none of the
// places there are, or not connect to a socket that is there. There may be a provider
// or none.
type barredError struct{ error }

// Unwrap makes it [api.ErrDenied] besides what it is.
func (e barredError) Unwrap() []error { return []error{e.error, api.ErrDenied} }

// advice says what to do to have a provider.
func (s *scan) advice() string {
	switch barred := slices.Concat(s.barred, s.locked); {
	case len(barred) > 0:
		return "have whoever runs the provider let this user into " + strings.Join(barred, " or ")
	case len(s.silent) > 0:
		return "see in the log of the service behind " + strings.Join(s.silent, " or ") + " why it does not announce itself, or wait longer"
	}
	return "start a provider (`crier serve`)"
}

// appendBarred appends place if err says that this user may not go there.
func appendBarred(barred []string, place string, err error) []string {
	if errors.Is(err, fs.ErrPermission) {
		return append(barred, place)
	}
	return barred
}

// offer is what a provider has of the service that is wanted.
type offer struct {
	from *Found
	// fits is its best service that can be used; misfit is one of another
	// version, which only counts if nothing fits.
	fits, misfit *api.AnnouncedService
}

// isNone reports whether the provider has nothing of the service.
func (o offer) isNone() bool { return o.fits == nil && o.misfit == nil }

func bestOffer(f *Found, wanted *api.Restricted) offer {
	o := offer{from: f}
	asked := wanted.Selector()
	for i := range f.Services {
		s := &f.Services[i]
		switch {
		case s.UUID != asked.UUID || !wanted.Allows(f.Name, f.Version, slices.Concat(f.Tags, s.Tags)):
		case !s.Selector().Accepts(asked):
			if o.misfit == nil || s.Major == asked.Major {
				o.misfit = s
			}
		case o.fits == nil || s.Priority > o.fits.Priority:
			o.fits = s
		}
	}
	return o
}

// preferred returns the address of the offer with the highest priority.
func preferred(offers []offer, asked api.Selector) (api.Endpoint, error) {
	slices.SortStableFunc(offers, func(a, b offer) int { return cmp.Compare(b.fits.Priority, a.fits.Priority) })
	var names []string
	for _, o := range offers {
		if o.fits.Priority == offers[0].fits.Priority {
			names = append(names, fmt.Sprintf("%s at %s", o.from, o.from.Address))
		}
	}
	if len(names) == 1 {
		return offers[0].from.Address, nil
	}
	return api.Endpoint{}, fmt.Errorf("%w %s: offered with equal priority by %s; ask for one by name or tag, or give its address (%s)",
		api.ErrAmbiguous, asked, strings.Join(names, " and "), api.EnvAddress)
}

// read returns the announcements there are, each provider run once.
func (s *scan) read() []Found {
	s.places, s.mute, s.known, s.silent, s.barred, s.locked, s.unread, s.open = nil, nil, nil, nil, nil, nil, nil, 0
	var all []Found
	for _, dir := range s.dirs {
		found, err := s.readDir(dir)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			s.places = append(s.places, dir+" (no such directory)")
		case errors.Is(err, errUntrusted):
			s.places = append(s.places, fmt.Sprintf("%s (%v)", dir, err))
		case err != nil:
			s.places = append(s.places, fmt.Sprintf("%s (%v)", dir, err))
			s.unread = append(s.unread, err)
			s.barred = appendBarred(s.barred, dir, err)
		default:
			s.open++
			s.places = append(s.places, fmt.Sprintf("%s (%s)", dir, announcements(len(found))))
		}
		s.known = append(s.known, found...)
		for _, f := range found {
			same := func(other Found) bool { return other.Epoch == f.Epoch && other.Name == f.Name }
			if f.Epoch == "" || !slices.ContainsFunc(all, same) {
				all = append(all, f)
			}
		}
	}
	s.told = true
	return all
}

func (s *scan) readDir(dir string) ([]Found, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if !s.named {
		if err := trusted(dir); err != nil {
			return nil, err
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	s.mute = append(s.mute, unannounced(dir, entries)...)
	var found []Found
	for _, entry := range entries {
		if !strings.HasSuffix(entry.Name(), api.AnnouncementSuffix) {
			continue
		}
		f, err := readAnnouncement(filepath.Join(dir, entry.Name()))
		switch {
		case err == nil:
			found = append(found, f)
		case !s.told && !errors.Is(err, fs.ErrNotExist):
			s.logger.Warn("ignoring an announcement", "file", filepath.Join(dir, entry.Name()), "error", err)
		}
	}
	return found, nil
}

func announcements(n int) string {
	if n == 1 {
		return "1 announcement"
	}
	return fmt.Sprintf("%d announcements", n)
}

// errUntrusted is what is wrong with a directory that is passed over on purpose.
var errUntrusted = errors.New("ignored: not this user's own, mode 0700")

// trusted returns [errUntrusted] if dir could have been made by anybody: below a
// directory in which everybody may write, it has to be this user's own.
func trusted(dir string) error {
	parent, err := os.Stat(filepath.Dir(dir))
	if err != nil || parent.Mode().Perm()&0o002 == 0 {
		return nil
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.IsDir() || int(stat.Uid) != os.Geteuid() || info.Mode().Perm()&0o077 != 0 {
		return errUntrusted
	}
	return nil
}

// readAnnouncement reads one file. Anybody who may write in the directory can
// have put anything there.
func readAnnouncement(path string) (Found, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // not to wait for the writer of a pipe
	if err != nil {
		return Found{}, err
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return Found{}, errors.Join(err, errors.New("not a regular file"))
	}
	f := Found{File: path}
	if err := json.NewDecoder(io.LimitReader(file, maxAnnouncement)).Decode(&f.Announcement); err != nil {
		return Found{}, err
	}
	for _, text := range f.Addresses {
		var e api.Endpoint
		if e, err = announcedAddress(filepath.Dir(path), text); err != nil {
			continue
		}
		if f.Address == (api.Endpoint{}) || e.Network == "unix" && f.Address.Network != "unix" {
			f.Address = e // sockets come first: they need no certificate
		}
	}
	if f.Address == (api.Endpoint{}) {
		return Found{}, errors.Join(err, errors.New("no address that can be used"))
	}
	return f, nil
}

// announcedAddress returns the endpoint that text stands for in an announcement
// in dir.
func announcedAddress(dir, text string) (api.Endpoint, error) {
	if path, ok := strings.CutPrefix(text, "unix://"); ok && !filepath.IsAbs(path) {
		e := api.UnixEndpoint(filepath.Join(dir, path))
		return e, e.Validate()
	}
	return api.ParseEndpoint(text)
}
