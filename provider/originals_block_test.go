package provider_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"crier.local/api"
	"crier.local/client"
	"crier.local/provider"
)

// pending is a call that blocks, on a goroutine of its own.
type pending struct {
	args    string
	cancel  context.CancelFunc
	done    chan error    // takes how it ended
	refused chan *pending // takes it if there were too many; shared by those started together
}

// blocked starts n calls that block, numbered from 0.
func blocked(ctx context.Context, s *client.Session, n int) []*pending {
	all, refused := make([]*pending, n), make(chan *pending, n)
	for i := range all {
		ctx, cancel := context.WithCancel(ctx)
		p := &pending{args: strconv.Itoa(i), cancel: cancel, done: make(chan error, 1), refused: refused}
		all[i] = p
		go func() { p.done <- p.call(ctx, s) }()
	}
	return all
}

func (p *pending) call(ctx context.Context, s *client.Session) error {
	defer p.cancel()
	result, err := s.Invoke(ctx, rpcBlock, []byte(p.args))
	if err == nil && string(result) != p.args {
		err = fmt.Errorf("returned %q, want %q", result, p.args)
	}
	if errors.Is(err, api.ErrTooMany) {
		p.refused <- p
	}
	return err
}

// expect waits until the call has ended, with the error want.
func (p *pending) expect(t *testing.T, want error) {
	t.Helper()
	if err := receive(t, "the end of call "+p.args, p.done); !errors.Is(err, want) {
		t.Fatalf("call %s: %v, want %v", p.args, err, want)
	}
}

// run starts n calls that block, and returns when all of them run.
func (r *rpc) run(t *testing.T, s *client.Session, n int) []*pending {
	t.Helper()
	calls := blocked(within(t), s, n)
	r.expectStarted(t, n)
	return calls
}

func (r *rpc) expectStarted(t *testing.T, n int) {
	t.Helper()
	for range n {
		receive(t, "a call to start", r.started)
	}
}

// fill starts calls until one is refused, because as many wait as may, and
// returns those that wait.
func (r *rpc) fill(t *testing.T, s *client.Session, waiting int) []*pending {
	t.Helper()
	calls := blocked(within(t), s, waiting+1)
	refused := receive(t, "a call to be refused", calls[0].refused)
	return slices.DeleteFunc(calls, func(c *pending) bool { return c == refused })
}

func TestRPCBlockingAllButOne(t *testing.T) {
	overBoth(t, func(t *testing.T, h *host) {
		service, r, running, _ := installRPC(h, provider.ServiceOptions{})
		_, s := service.open(rpcSelector())
		calls := r.run(t, s, running-1)
		for _, value := range []string{"", "fisk", "hestfisk"} {
			echo(t, s, value)
		}
		close(r.release)
		for _, c := range calls {
			c.expect(t, nil)
		}
	})
}

func TestRPCBlockingAll(t *testing.T) {
	overBoth(t, func(t *testing.T, h *host) {
		service, r, running, _ := installRPC(h, provider.ServiceOptions{})
		_, s := service.open(rpcSelector())
		calls := r.run(t, s, running)
		ctx, cancel := context.WithTimeout(within(t), overdue)
		defer cancel()
		if _, err := s.Invoke(ctx, rpcEcho, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("one call too many: %v", err)
		}
		close(r.release)
		for _, c := range calls {
			c.expect(t, nil)
		}
		echo(t, s, "room again")
	})
}

func TestRPCBlockingTooMany(t *testing.T) {
	overBoth(t, func(t *testing.T, h *host) {
		service, r, running, waiting := installRPC(h, provider.ServiceOptions{})
		_, s := service.open(rpcSelector())
		const tooMany = 3
		calls := r.run(t, s, running)
		more := blocked(within(t), s, waiting+tooMany)
		for range tooMany {
			refused := receive(t, "a refusal", more[0].refused)
			refused.expect(t, api.ErrTooMany)
			more = slices.DeleteFunc(more, func(c *pending) bool { return c == refused })
		}
		close(r.release)
		for _, c := range append(calls, more...) {
			c.expect(t, nil)
		}
		if r.most != running {
			t.Errorf("%d calls ran at once, want %d", r.most, running)
		}
	})
}

// A call that waits and is canceled never runs, and makes room at once.
func TestRPCQueueCancel(t *testing.T) {
	overBoth(t, func(t *testing.T, h *host) {
		service, r, running, waiting := installRPC(h, provider.ServiceOptions{})
		c, s := service.open(rpcSelector())
		calls := r.run(t, s, running)
		for _, cancel := range []func(waiting []*pending){
			func(w []*pending) { cancelAll(w) },
			func(w []*pending) { slices.Reverse(w); cancelAll(w) },
			func(w []*pending) { w[5].cancel(); w[5].cancel(); w[7].cancel(); w[3].cancel(); cancelAll(w) },
		} {
			queued := r.fill(t, s, waiting)
			cancel(queued)
			for _, c := range queued {
				c.expect(t, context.Canceled)
			}
		}
		queued := r.fill(t, s, waiting)
		queued[0].cancel()
		queued[0].expect(t, context.Canceled)
		if err := c.Ping(within(t)); err != nil { // the provider has heard of it then
			t.Fatal(err)
		}
		close(r.release)
		for _, c := range append(calls, queued[1:]...) {
			c.expect(t, nil)
		}
		service.uninstall()
		if n := len(r.started); n != waiting-1 {
			t.Errorf("%d of the calls that had waited ran, want %d", n, waiting-1)
		}
	})
}

func cancelAll(calls []*pending) {
	for _, c := range calls {
		c.cancel()
	}
}

func TestRPCTimeouts(t *testing.T) {
	for _, tc := range []struct {
		name           string
		rounds, atOnce int
	}{
		{"one-by-one", 80, 1}, {"all-that-run", 1, 16}, {"all-there-are", 1, 80},
	} {
		t.Run("cancel/"+tc.name, func(t *testing.T) {
			overBoth(t, func(t *testing.T, h *host) { expectCanceled(t, h, tc.rounds, tc.atOnce, canceledCalls) })
		})
		t.Run("no-cancel/"+tc.name, func(t *testing.T) {
			overBoth(t, func(t *testing.T, h *host) { expectCanceled(t, h, h.rounds(tc.rounds), tc.atOnce, overdueCalls) })
		})
	}
}

// expectCanceled checks that calls are canceled in the provider when their
// callers end them. Those that wait may or may not run before.
func expectCanceled(t *testing.T, h *host, rounds, atOnce int, end func(t *testing.T, r *rpc, s *client.Session, n, running int)) {
	t.Helper()
	service, r, limit, _ := installRPC(h, provider.ServiceOptions{})
	_, s := service.open(rpcSelector())
	running := min(atOnce, limit)
	for range rounds {
		end(t, r, s, atOnce, running)
	}
	service.uninstall() // what runs has ended then
	if n := len(r.canceled); n < rounds*running || n > rounds*atOnce || r.running != 0 {
		t.Errorf("%d calls were canceled and %d run, want %d at least and none", n, r.running, rounds*running)
	}
}

// canceledCalls starts n calls, and cancels them all when some run.
func canceledCalls(t *testing.T, r *rpc, s *client.Session, n, running int) {
	t.Helper()
	calls := blocked(within(t), s, n)
	r.expectStarted(t, running)
	cancelAll(calls)
	for _, c := range calls {
		c.expect(t, context.Canceled)
	}
}

// overdue is how long a caller waits for calls that block.
const overdue = 100 * time.Millisecond

// overdueCalls starts n calls whose callers wait only so long.
func overdueCalls(t *testing.T, r *rpc, s *client.Session, n, running int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(within(t), overdue)
	defer cancel()
	for _, c := range blocked(ctx, s, n) {
		c.expect(t, context.DeadlineExceeded)
	}
	r.expectStarted(t, running)
}

// However many calls have blocked until they were overdue, others are served.
func TestRPCEnsureProcessing(t *testing.T) {
	overBoth(t, func(t *testing.T, h *host) {
		service, r, running, _ := installRPC(h, provider.ServiceOptions{})
		_, s := service.open(rpcSelector())
		for range h.rounds(running) {
			overdueCalls(t, r, s, 1, 1)
		}
		echo(t, s, "42")
		ctx, cancel := context.WithTimeout(within(t), overdue)
		defer cancel()
		calls := blocked(ctx, s, running)
		r.expectStarted(t, running)
		echo(t, s, "87") // waits for one of them to be overdue
		for _, c := range calls {
			c.expect(t, context.DeadlineExceeded)
		}
	})
}

// The calls of a process end with it, those that run and those that wait.
func TestRPCTerminate(t *testing.T) {
	for _, n := range []int{1, 16, 80} {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			overBoth(t, func(t *testing.T, h *host) {
				service, r, running, _ := installRPC(h, provider.ServiceOptions{})
				c, s := service.open(rpcSelector())
				calls := blocked(within(t), s, n)
				r.expectStarted(t, min(n, running))
				closed(t, c)
				for _, c := range calls {
					c.expect(t, api.ErrClosed)
				}
				if _, err := s.Invoke(within(t), rpcEcho, nil); !errors.Is(err, api.ErrClosed) {
					t.Errorf("a call of the dead: %v", err)
				}
				r.expectTerminated(t, service, min(n, running))
			})
			t.Run("separate-process", func(t *testing.T) {
				overSocket(t, func(t *testing.T, h *host) {
					service, r, running, _ := installRPC(h, provider.ServiceOptions{})
					other := play(t, "block", service.at(), "CALLS="+strconv.Itoa(n))
					r.expectStarted(t, min(n, running))
					if err := other.Process.Kill(); err != nil {
						t.Fatal(err)
					}
					r.expectTerminated(t, service, min(n, running))
				})
			})
		})
	}
}

// expectTerminated checks that n calls have been canceled and that none that had
// waited has run instead, while others are served as ever.
func (r *rpc) expectTerminated(t *testing.T, s *service, n int) {
	t.Helper()
	for range n {
		receive(t, "a call to be canceled", r.canceled)
	}
	c, session := s.open(rpcSelector())
	echo(t, session, "87")
	closed(t, c)
	s.uninstallUnused()
	if r.running != 0 || len(r.started) != 0 {
		t.Errorf("%d calls run, %d more have started", r.running, len(r.started))
	}
}

// playBlock has calls that block, until it is killed.
func playBlock(ctx context.Context) error {
	n, err := strconv.Atoi(os.Getenv("CALLS"))
	if err != nil {
		return err
	}
	_, s, err := sessionOf(ctx, rpcSelector())
	if err != nil {
		return err
	}
	for _, c := range blocked(ctx, s, n) {
		if err := <-c.done; err != nil {
			return err
		}
	}
	return nil
}
