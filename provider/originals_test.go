package provider_test

import (
	"context"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"crier.local/api"
	"crier.local/client"
	"crier.local/provider"
)

// The tests of the original system, each with a test of its own in the files
// originals_*_test.go. They use what is public in the packages api, client and
// provider and nothing else, as the services and clients of a third party would.
//
// Every test runs over both ways to attach, in-process and over a unix socket,
// unless it is about finding a provider, which only sockets have, or about a
// process of its own, which the test binary then plays.
//
//	original                            here
//	services-simple    logging          TestSimpleLogging
//	                   illegal name     TestSimpleIllegalName
//	                   versions         TestSimpleVersions
//	                   uninstall        TestSimpleUninstall
//	services-multi     positive         TestMultiPriorities, TestMultiPositive
//	                   negative         TestMultiNegative
//	                   errors           TestMultiErrors
//	services-resource  resources (4)    TestResources/{keep,close}
//	                   uninstall        TestResourceUninstall
//	                   multiple         TestMultipleResources
//	                   custom close     TestCustomClose
//	services-notify    notify           TestNotify
//	services-notify-close (40)          TestNotifyClose, TestNotifyCloseOrder
//	services-close     close (2)        TestClose
//	services-extension                  TestExtension
//	services-log                        TestLog, TestLogAfterUninstall
//	rpc                no such process  TestRPCNoSuchProcess
//	                   simple           TestRPCSimple
//	                   large external   TestRPCLargeExternal
//	                   second procedure TestRPCSecondProcedure
//	                   small strings,   TestRPCSmallStrings
//	                   small byte arrays
//	                   blocking (3)     TestRPCBlockingAllButOne, …All, …TooMany
//	                   sequential       TestRPCSequential
//	                   request queue    TestRPCQueueCancel
//	                   timeouts (2)     TestRPCTimeouts
//	                   ensure task      TestRPCEnsureProcessing
//	                   terminate (3)    TestRPCTerminate
//	                   no procedure     TestRPCNoSuchProcedure
//
// These have no counterpart in Go, because the runtime carries bytes and leaves
// values to the service:
//
//	rpc serializable   how a Toit object becomes a value
//	rpc problematic    which Toit objects cannot; cycles
//	rpc map            maps that cannot grow after a call
//	rpc simple         numbers, lists, null: here they are their bytes. Byte
//	                   arrays that are copied when written to: here arguments
//	                   may be reused as soon as a call returns
//	rpc large external a sent array is empty afterwards: here it stays as it was
//	rpc performance    a benchmark; Crier's are not about single calls
//	rpc queue          cancels of another process's requests: a stream carries
//	                   one process's, there is no way to name another's
//	notify-close       its runs without task switches: goroutines have none such
//	multi              restrictions of a client in the provider's own process:
//	                   nothing is searched for there

// patience bounds every wait; nothing takes that long unless it fails.
const patience = time.Minute

// within is a context that ends before the test is given up.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// host is where the providers of a test run.
type host struct {
	t   *testing.T
	dir string // for sockets; empty when clients attach in-process
}

// rounds is how often to do what takes time: over a socket, where time is real,
// only as often as one can wait for.
func (h *host) rounds(n int) int {
	if h.dir != "" {
		return min(n, 4)
	}
	return n
}

// offer is a service that a provider is to offer.
type offer struct {
	selector api.Selector
	handler  provider.Handler
	options  provider.ServiceOptions
}

// overBoth runs a test over both ways to attach. In-process time is virtual.
func overBoth(t *testing.T, test func(t *testing.T, h *host)) {
	t.Helper()
	t.Run("in-process", func(t *testing.T) {
		expectNoLeak(t)
		synctest.Test(t, func(t *testing.T) { test(t, &host{t: t}) })
	})
	t.Run("socket", func(t *testing.T) { overSocket(t, test) })
}

// overSocket runs a test over a unix socket.
func overSocket(t *testing.T, test func(t *testing.T, h *host)) {
	t.Helper()
	expectNoLeak(t)
	test(t, &host{t: t, dir: runDir(t)})
}

// expectNoLeak fails the test if a goroutine outlives it, its cleanup included.
func expectNoLeak(t *testing.T) {
	t.Helper()
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
}

// runDir returns a new directory whose path is short enough for sockets, and
// checks in the end that providers left nothing in it but their locks.
func runDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "crier")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Error(err)
		}
		for _, e := range entries {
			if !strings.HasSuffix(e.Name(), ".lock") {
				t.Errorf("%s is left behind", e.Name())
			}
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// service is a running provider of one or more services.
type service struct {
	*provider.Provider
	host    *host
	address api.Endpoint // zero in-process
}

// install starts a provider. It ends with the test, at the latest.
func (h *host) install(o provider.Options, offers ...offer) *service {
	h.t.Helper()
	s := &service{Provider: provider.New(o), host: h}
	for _, offer := range offers {
		if err := s.Provide(offer.selector, offer.handler, offer.options); err != nil {
			h.t.Fatal(err)
		}
	}
	h.t.Cleanup(s.uninstall)
	if h.dir == "" {
		return s
	}
	file := strings.ReplaceAll(s.String(), "/", "-") + ".sock"
	address, err := s.Listen(api.UnixEndpoint(filepath.Join(h.dir, file)))
	if err != nil {
		h.t.Fatal(err)
	}
	s.address = address
	return s
}

// uninstall ends the provider and checks that it holds nothing any more.
func (s *service) uninstall() {
	s.host.t.Helper()
	if err := s.Close(); err != nil {
		s.host.t.Error(err)
	}
	if n := count(s.Resources()); n != 0 {
		s.host.t.Errorf("%d resources outlive their provider", n)
	}
}

// uninstallUnused is uninstall after the last session has gone.
func (s *service) uninstallUnused() {
	s.host.t.Helper()
	if err := s.Wait(within(s.host.t)); err != nil {
		s.host.t.Error(err)
	}
	if n := count(s.Resources()); n != 0 {
		s.host.t.Errorf("%d resources outlive their sessions", n)
	}
	s.uninstall()
}

func count[T any](all iter.Seq[T]) int { return len(slices.Collect(all)) }

// attach attaches a client to the provider. It ends with the test, at the latest.
func (s *service) attach() *client.Client {
	t := s.host.t
	t.Helper()
	o := client.Options{Address: s.address}
	if s.host.dir == "" {
		o.Transport = s.Local()
	}
	c, err := client.Dial(within(t), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closed(t, c) })
	return c
}

// open attaches a client of its own and opens a session.
func (s *service) open(selector api.Selector) (*client.Client, *client.Session) {
	s.host.t.Helper()
	c := s.attach()
	return c, opened(s.host.t, c, selector)
}

func opened(t *testing.T, c *client.Client, selector api.Selector) *client.Session {
	t.Helper()
	s, err := c.Open(within(t), selector)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// closed closes a client, session or resource.
func closed(t *testing.T, c interface{ Close() error }) {
	t.Helper()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

// invoker is a session, or a resource.
type invoker interface {
	Invoke(ctx context.Context, m api.Method, args []byte) ([]byte, error)
}

// call calls a method that must succeed, with text for arguments and result.
func call(t *testing.T, on invoker, m api.Method, args string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	result, err := on.Invoke(ctx, m, []byte(args))
	if err != nil {
		t.Fatalf("method %d: %v", m, err)
	}
	return string(result)
}

// made calls a method that makes a resource.
func made(t *testing.T, s *client.Session, m api.Method, args string) *client.Resource {
	t.Helper()
	r, _, err := s.InvokeResource(within(t), m, []byte(args))
	if err != nil {
		t.Fatalf("method %d: %v", m, err)
	}
	if r == nil {
		t.Fatalf("method %d returned no resource", m)
	}
	return r
}

// receive returns the next of what comes over a channel.
func receive[T any](t *testing.T, what string, c <-chan T) T {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	select {
	case v := <-c:
		return v
	case <-ctx.Done():
		t.Fatalf("in vain for %s", what)
	}
	panic("unreachable")
}
