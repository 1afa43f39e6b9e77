package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"time"

	"crier.local/api"
	"crier.local/client"
)

const (
	checkChoice    = "choice"
	checkAdmission = "admission"
	checkVersion   = "version"
	checkAnswer    = "answer"
)

// choice tells which provider clients take, and why that one.
func (d *doctor) choice() {
	more := details{"by": d.by(), "candidates": d.candidates()}
	misfit, ofAnother := errors.AsType[*api.VersionError](d.findErr)
	switch {
	case d.findErr == nil:
		more["address"] = d.target.String()
		d.ok(checkChoice, more, "clients here go to %s: %s", d.target, d.why())
	case ofAnother:
		d.tell(finding{Check: checkChoice, Status: statusSkip, Detail: more, Found: "the only one there is does not fit: " + misfit.Provider})
	case d.faults[api.EnvAddress] != nil:
		d.skip(checkChoice, "%s cannot be read, so that clients go nowhere", api.EnvAddress)
	case errors.Is(d.findErr, api.ErrAmbiguous):
		what, _ := splitHint(flat(d.findErr))
		d.fail(checkChoice, exitMismatch, "give one a higher priority (crier serve --priority preferred), or choose one with --address",
			more, "clients here %s", what)
	case errors.Is(d.findErr, api.ErrNoProvider):
		d.fail(checkChoice, exitUnavailable, d.noneAdvice(), more, "there is no provider: %s", d.none())
	case isAny(d.findErr, context.DeadlineExceeded, context.Canceled):
		d.fail(checkChoice, exitTryAgain, "see what the socket's line says", more, "there was no time to find a provider")
	default:
		what, fix := splitHint(flat(d.findErr))
		d.fail(checkChoice, exitConfig, fix, more, "clients go nowhere: %s", what)
	}
}

// candidate is a provider that was announced, for programs.
type candidate struct {
	Name     string `json:"name"`
	Version  string `json:"version"`
	Address  string `json:"address"`
	Priority int    `json:"priority"`
	Live     bool   `json:"live"`
	Fits     bool   `json:"fits"`
}

// candidates returns what is announced, the most preferred first.
func (d *doctor) candidates() []candidate {
	list := []candidate{}
	for _, s := range d.sockets {
		if s.announced == nil {
			continue
		}
		priority, fits := offered(s.announced)
		list = append(list, candidate{
			s.announced.Name, s.announced.Version.String(), s.endpoint.String(), priority, s.live(), fits,
		})
	}
	slices.SortStableFunc(list, func(a, b candidate) int { return b.Priority - a.Priority })
	return list
}

// offered returns with which priority a provider offers the notification service,
// and whether in a version that serves.
func offered(f *client.Found) (priority int, fits bool) {
	for _, s := range f.Services {
		if s.Selector().Accepts(api.NotificationSelector) {
			priority, fits = max(priority, int(s.Priority)), true
		}
	}
	return priority, fits
}

// fitting returns those that clients choose among.
func (d *doctor) fitting() []candidate {
	return slices.DeleteFunc(d.candidates(), func(c candidate) bool { return !c.Live || !c.Fits })
}

func (d *doctor) why() string {
	fitting := d.fitting()
	switch {
	case d.asked != "":
		return string(d.asked) + " says so"
	case len(fitting) < 2:
		return "it is the only one"
	}
	first, second := priorityFlag(fitting[0].Priority), priorityFlag(fitting[1].Priority)
	return fmt.Sprintf("of %d it has the highest priority, %s; the next one is %s@%s, %s",
		len(fitting), first.String(), fitting[1].Name, fitting[1].Version, second.String())
}

// none says where nobody is.
func (d *doctor) none() string {
	switch announced := len(d.candidates()); {
	case d.asked != "":
		return fmt.Sprintf("nobody is at %s (%s)", d.r.address.String(), d.asked)
	case announced > 0:
		return fmt.Sprintf("%s, but nobody listens whom this user reaches", count(announced, "announcement"))
	case slices.ContainsFunc(d.places, isHidden):
		return "none is announced where this user can look"
	case d.where != "":
		return fmt.Sprintf("none is announced in %s (%s)", d.places[0].Dir, d.where)
	default:
		return "none is announced in the run directories"
	}
}

// isHidden reports whether there is a place into which discovery cannot look.
func isHidden(p client.Place) bool { return p.Err != nil && !errors.Is(p.Err, fs.ErrNotExist) }

func (d *doctor) noneAdvice() string {
	if d.asked != "" {
		for _, place := range d.places {
			for _, f := range place.Found {
				return fmt.Sprintf("%s is announced at %s: ask for that one, or for none", f.Name, f.Address)
			}
		}
	}
	switch {
	case d.sheet.first != nil:
		return "mend what failed above first"
	case d.asked != "":
		return "start one there: " + serveLine(d.r.address.Endpoint)
	case slices.ContainsFunc(d.sockets, func(s *socketState) bool { return s.announced == nil && s.live() }):
		return "see what its socket's line says"
	}
	return "start one (crier serve); if it is in another container or on the host, mount its run directory here, or give its address (CRIER_ADDRESS)"
}

// admission tells whether the provider lets this process in.
func (d *doctor) admission() {
	switch err := d.dialErr; {
	case d.reached():
		d.ok(checkAdmission, nil, "%s", d.admitted())
	case d.target == api.Endpoint{}:
		d.skip(checkAdmission, "there is no provider to ask")
	case d.tlsNoted:
		d.skip(checkAdmission, "the provider did not come to say")
	case errors.Is(err, fs.ErrPermission): // as the socket's line says
		d.skip(checkAdmission, "this user does not get as far as the provider")
	case errors.Is(err, api.ErrDenied):
		d.fail(checkAdmission, exitDenied, d.deniedAdvice(), nil, "refused: %v", err)
	case errors.Is(err, api.ErrTooMany):
		d.fail(checkAdmission, exitTryAgain,
			"try again; if it stays so, end clients, or give the provider more descriptors and memory (crier doctor, where it runs)", nil, "refused: %v", err)
	default:
		d.skip(checkAdmission, "the provider did not come to say")
	}
}

func (d *doctor) admitted() string {
	if d.target.Network == "tcp" {
		return "the provider lets this process in, by its certificate"
	}
	return fmt.Sprintf("the provider lets uid %d in", os.Getuid())
}

// deniedAdvice says how the provider can be made to let this process in.
func (d *doctor) deniedAdvice() string {
	if advice := admission(d.dialErr.Error()); advice != "" {
		return advice + ", or a group of yours: --allow-gid"
	}
	return "whoever runs the provider can admit a group of yours: crier serve --allow-gid"
}

// ours describes this program.
func ours() string {
	s := api.NotificationSelector
	return fmt.Sprintf("this is crier %s (commit %.12s), wire %d, service %d.%d", release(), builtFrom(), api.WireVersion, s.Major, s.Minor)
}

// version tells whether this program and the provider fit each other.
func (d *doctor) version(ctx context.Context) {
	mine := api.NotificationSelector
	more := details{"own": versionLine{
		release().String(), builtFrom(), runtime.Version(), api.WireVersion, fmt.Sprintf("%d.%d", mine.Major, mine.Minor),
	}}
	if !d.reached() {
		d.unmet(more)
		return
	}
	p := d.client.Provider()
	more["provider"] = map[string]any{"name": p.Name, "version": p.Version.String(), "epoch": p.Epoch.String(), "wire": api.WireVersion}
	theirs := fmt.Sprintf("the provider is %s, wire %d, epoch %.8s", p, api.WireVersion, p.Epoch)
	session, err := d.client.Open(ctx, mine)
	if err == nil {
		provided := session.Provided()
		session.Close()
		more["service"] = fmt.Sprintf("%d.%d", provided.Major, provided.Minor)
		d.ok(checkVersion, more, "%s; %s, service %d.%d", ours(), theirs, provided.Major, provided.Minor)
		return
	}
	refusal, ok := errors.AsType[*api.VersionError](err)
	switch {
	case ok && refusal.Provided.UUID == mine.UUID && refusal.Provided.Major == mine.Major:
		more["service"] = fmt.Sprintf("%d.%d", refusal.Provided.Major, refusal.Provided.Minor)
		d.warn(checkVersion, upgradeAdvice(refusal.Provided), more,
			"%s; %s, but service %d.%d: what is newer in this program does not work with it", ours(), theirs, refusal.Provided.Major, refusal.Provided.Minor)
	case ok:
		d.fail(checkVersion, exitMismatch, upgradeAdvice(refusal.Provided), more, "%s; %s: %v", ours(), theirs, err)
	default:
		d.fail(checkVersion, troubleCode(err), "try again", more, "%s; %s: it does not open the service: %v", ours(), theirs, err)
	}
}

// troubleCode returns the exit code of a provider that cannot be talked to
// because of err.
func troubleCode(err error) int {
	if isAny(err, context.DeadlineExceeded, context.Canceled) {
		return exitTryAgain
	}
	return max(exitCode(err), exitUnavailable)
}

// unmet tells of the versions if the provider has not let this process in, maybe
// because of them.
func (d *doctor) unmet(more details) {
	misfit, ok := errors.AsType[*api.VersionError](d.findErr)
	switch {
	case ok:
		d.fail(checkVersion, exitMismatch, upgradeAdvice(misfit.Provided), more, "%s; %v", ours(), misfit)
	case errors.Is(d.dialErr, api.ErrVersion):
		d.fail(checkVersion, exitMismatch, "run the same release on both sides: whichever has the lower wire version is the older one",
			more, "%s; %v", ours(), d.dialErr)
	default:
		d.tell(finding{Check: checkVersion, Status: statusSkip, Detail: more, Found: ours() + "; there is no provider to compare it with"})
	}
}

// upgradeAdvice says which side is to be upgraded.
func upgradeAdvice(provided api.Selector) string {
	mine := api.NotificationSelector
	switch {
	case provided.UUID == "":
		return "that provider has no rooms: ask for another one (--address)"
	case provided.Major > mine.Major:
		return "upgrade this program, or whatever was built with it"
	default:
		return "upgrade the provider"
	}
}

// answer tells how long the provider takes for an answer.
func (d *doctor) answer(ctx context.Context) {
	switch {
	case d.mute:
		d.fail(checkAnswer, exitTryAgain, d.awakeAdvice(), nil, "%s does not answer within %v%s",
			d.target, max(d.r.wait, 0)+answerTime, d.thoughLive())
		return
	case !d.reached():
		d.noAnswer()
		return
	}
	var trips roundTrips
	for range 3 {
		begun := time.Now()
		if err := d.client.Ping(ctx); err != nil {
			d.fail(checkAnswer, exitTryAgain, d.awakeAdvice(), nil, "the provider let this process in, but does not answer: %v", err)
			return
		}
		trips.add(time.Since(begun))
	}
	more := details{"rtt_us": micros(trips.least)}
	if d.target.Network == "unix" && trips.least > slowAnswer {
		d.warn(checkAnswer, "see what keeps the provider, or this machine, busy", more,
			"a round trip takes %s, which is long for one machine", milliseconds(trips.least))
		return
	}
	d.ok(checkAnswer, more, "a round trip takes %s", milliseconds(trips.least))
}

// thoughLive says that somebody listens at the provider's address.
func (d *doctor) thoughLive() string {
	if d.occupied(d.target) {
		return ", though it takes connections"
	}
	return ""
}

// slowAnswer is how long a round trip on one machine hardly ever takes.
const slowAnswer = 100 * time.Millisecond

// noAnswer tells of a provider that was found, but that could not be attached to
// for a reason that no other check tells.
func (d *doctor) noAnswer() {
	err := d.dialErr
	if err == nil || d.tlsNoted || isAny(err, api.ErrDenied, api.ErrTooMany, api.ErrVersion) {
		d.skip(checkAnswer, "there is no provider to ask")
		return
	}
	what, fix := splitHint(flat(err))
	if fix == "" && d.occupied(d.target) {
		fix = "look again; if it stays so, it is no provider that listens there: give another address (--address)"
	}
	d.fail(checkAnswer, troubleCode(err), fix, nil, "%s", what)
}

// awakeAdvice says what makes a provider answer that does not.
func (d *doctor) awakeAdvice() string {
	for _, s := range d.sockets {
		if s.endpoint == d.target && s.listener != nil && stopped(s.listener.PID) {
			return fmt.Sprintf("it is stopped: kill -CONT %d", s.listener.PID)
		}
	}
	return "it is stopped, paused (docker unpause) or overloaded; if it stays so, start it again"
}
