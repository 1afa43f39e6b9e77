package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"crier.local/api"
)

const checkEnvironment = "environment"

// isSet returns name if the environment has it, and whether it does. An
// empty variable counts as none.
func isSet(name string) (string, bool) { return name, name != "" && os.Getenv(name) != "" }

// environment looks at the variables that are Crier's, or were meant to be.
func (d *doctor) environment() {
	set := ownVariables()
	if len(set) == 0 {
		d.ok(checkEnvironment, nil, "no CRIER_ variable is set")
	} else {
		values := map[string]string{}
		var words []string
		for _, name := range set {
			values[name] = os.Getenv(name)
			words = append(words, name+"="+os.Getenv(name))
		}
		d.ok(checkEnvironment, details{"variables": values}, "%s", strings.Join(words, ", "))
	}
	readers := variableReaders()
	for _, name := range set {
		d.variable(name, readers)
	}
	d.contradictions()
}

// ownVariables returns the names of the variables that are set and look like Crier's.
func ownVariables() []string {
	var names []string
	for _, pair := range os.Environ() {
		name, value, _ := strings.Cut(pair, "=")
		if value != "" && strings.HasPrefix(strings.ToUpper(name), "CRIER_") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// consumer is a command that a variable sets a flag of.
type consumer struct {
	command *cobra.Command
	flag    *pflag.Flag
}

// variableReaders returns which commands read which variables. Their flags are
// nobody's: they may be set to try a value.
func variableReaders() map[string][]consumer {
	readers := map[string][]consumer{}
	root := (&program{}).rootCommand()
	for _, cmd := range append(root.Commands(), root) {
		add := func(f *pflag.Flag) {
			if name := variable(f); name != "" {
				readers[name] = append(readers[name], consumer{cmd, f})
			}
		}
		cmd.PersistentFlags().VisitAll(add)
		cmd.LocalNonPersistentFlags().VisitAll(add)
	}
	return readers
}

// variable tells what is wrong with a variable that is set.
func (d *doctor) variable(name string, readers map[string][]consumer) {
	if readers[name] == nil {
		if !expected(name) {
			d.warn(checkEnvironment, unreadAdvice(name, readers), details{"variable": name}, "nobody reads %s", name)
		}
		return
	}
	var refused []string
	var reason error
	for _, r := range readers[name] {
		if err := setFromEnvironment(r.flag); err != nil {
			refused, reason = append(refused, r.command.Name()), err
		}
	}
	more := details{"variable": name, "commands": refused}
	switch {
	case reason == nil:
	case d.overruled[name]:
		d.warn(checkEnvironment, "correct it or unset it: other commands are not given the flag", more, "%s; the flag that is given counts here", bareFault(reason))
	case len(refused) == len(readers[name]):
		d.fail(checkEnvironment, exitConfig, "correct it or unset it", more, "%s", bareFault(reason))
	default:
		d.warn(checkEnvironment, "set it only where it is meant for the other commands", more,
			"%s, for crier %s", bareFault(reason), strings.Join(refused, " and "))
	}
}

// bareFault returns err, about a variable, without what the check's name says.
func bareFault(err error) string { return strings.TrimPrefix(err.Error(), "environment: ") }

// expected reports whether name is a variable that is no flag's and does no harm:
// the cookie of plugins, and what Kubernetes and Docker set for a service that is
// called crier.
func expected(name string) bool {
	return name == api.PluginCookieKey || strings.HasPrefix(name, "CRIER_SERVICE_") ||
		name == "CRIER_PORT" || strings.HasPrefix(name, "CRIER_PORT_")
}

// unreadAdvice says what a variable that nobody reads may have been meant to be.
func unreadAdvice(name string, readers map[string][]consumer) string {
	switch upper := strings.ToUpper(name); {
	case readers[upper] != nil:
		return "write it " + upper
	case slices.Contains([]string{"CRIER_NAME", "CRIER_JSON", "CRIER_N"}, upper):
		return "no variable sets --name, --json and -n; give the flag"
	default:
		best, least := "", 1+len(name)/4
		for _, known := range slices.Sorted(maps.Keys(readers)) {
			if n := editDistance(upper, known); n < least {
				best, least = known, n
			}
		}
		if best != "" {
			return "did you mean " + best + "?"
		}
		return "unset it; 'crier help COMMAND' names the variable of each flag"
	}
}

// editDistance returns how many bytes of a have to be added, removed or replaced
// to get b.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		corner := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := corner
			if a[i] != b[j] {
				replaced++
			}
			corner = row[j+1]
			row[j+1] = min(replaced, row[j]+1, corner+1)
		}
	}
	return row[len(b)]
}

// contradictions tells of variables, and flags, that do not go together.
func (d *doctor) contradictions() {
	if d.asked != "" && d.where != "" {
		d.warn(checkEnvironment, fmt.Sprintf("unset %s to have the directory looked into, or leave %s away", d.asked, d.where),
			details{"variable": api.EnvAddress}, "%s counts, so that %s is not looked into", d.asked, d.where)
	}
	if _, listens := isSet("CRIER_LISTEN"); listens {
		d.listenMixUp()
	}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" && !filepath.IsAbs(dir) {
		d.warn(checkEnvironment, "make it an absolute path, or unset it", details{"variable": "XDG_RUNTIME_DIR"},
			"XDG_RUNTIME_DIR=%s is no absolute path, so that it is ignored", dir)
	}
}

// listenMixUp tells if a provider here would listen where clients here do not look.
func (d *doctor) listenMixUp() {
	listens, err := listenAddresses()
	if err != nil || len(listens) == 0 {
		return // it does not parse, which has been told
	}
	more := details{"variable": "CRIER_LISTEN"}
	asked := d.r.address.Endpoint
	switch {
	case d.asked != "" && !slices.ContainsFunc(listens, func(e api.Endpoint) bool { return leadsTo(asked, e) }):
		d.warn(checkEnvironment, "give clients an address that the provider listens on",
			more, "a provider here listens on %s (CRIER_LISTEN), but clients go to %s (%s)", joined(listens), asked, d.asked)
	case d.asked == "" && !slices.ContainsFunc(listens, d.isSearched):
		d.warn(checkEnvironment, "clients read CRIER_ADDRESS, not CRIER_LISTEN: set CRIER_ADDRESS="+reachable(listens[0])+" for them",
			more, "CRIER_LISTEN=%s says where a provider listens, but clients here do not look there", joined(listens))
	}
}

// reachable returns e for clients. HOST is one of the machine's, if e is all of them.
func reachable(e api.Endpoint) string {
	return strings.NewReplacer("//0.0.0.0:", "//HOST:", "//[::]:", "//HOST:", "//:", "//HOST:").Replace(e.String())
}

// leadsTo reports whether a client that goes to asked may reach one that listens
// on e: whom a host's name stands for is not known here.
func leadsTo(asked, e api.Endpoint) bool {
	return asked == e || asked.Network == "tcp" && e.Network == "tcp"
}

// isSearched reports whether clients look for e's announcement where it will be.
func (d *doctor) isSearched(e api.Endpoint) bool {
	return e.Network == "unix" && slices.Contains(d.searchedDirs(), filepath.Dir(e.Address))
}

// searchedDirs returns the directories in which clients look.
func (d *doctor) searchedDirs() []string {
	if dirs, err := d.r.runDirs(); err == nil && dirs != nil {
		return dirs
	}
	return api.RunDirs()
}

// listenAddresses returns where a provider here would listen by CRIER_LISTEN;
// nothing if that is not set.
func listenAddresses() ([]api.Endpoint, error) {
	text := os.Getenv("CRIER_LISTEN")
	if text == "" {
		return nil, nil
	}
	var list endpointsFlag
	var failures []error
	for _, one := range strings.Split(text, ",") {
		failures = append(failures, list.Set(one))
	}
	return list, errors.Join(failures...)
}

func joined(list []api.Endpoint) string {
	flag := endpointsFlag(list)
	return flag.String()
}
