package provider_test

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"crier.local/api"
	"crier.local/client"
	"crier.local/provider"
)

// rpc is a service of procedures.
type rpc struct {
	started  chan string   // arguments of calls of rpcBlock that run
	release  chan struct{} // lets one of them go for each value, all when closed
	canceled chan string   // arguments of those that were canceled

	mu            sync.Mutex
	running, most int // calls of rpcBlock
}

const (
	rpcOpen     api.Method = 0   // returns a resource, on which calls can be posted
	rpcEcho     api.Method = 500 // returns its arguments
	rpcMultiply api.Method = 502 // returns twice the number that it is given
	rpcBlock    api.Method = 800 // returns its arguments once released
)

func rpcSelector() api.Selector {
	return api.Selector{UUID: "d0a9e7c1-4b7e-4b9d-8f35-2f6a1c3e5d70", Major: 1, Minor: 0}
}

func (r *rpc) Handle(ctx context.Context, c *provider.Call) (provider.Result, error) {
	switch c.Method {
	case rpcOpen:
		made, err := c.Session.NewResource(r, provider.ResourceOptions{})
		return provider.Result{Resource: made}, err
	case rpcEcho:
		return provider.Result{Body: c.Args}, nil
	case rpcMultiply:
		n, err := strconv.Atoi(string(c.Args))
		return provider.Result{Body: strconv.AppendInt(nil, 2*int64(n), 10)}, err
	case rpcBlock:
		return provider.Result{Body: c.Args}, r.block(ctx, string(c.Args))
	default:
		return provider.Result{}, api.ErrNoMethod
	}
}

func (r *rpc) block(ctx context.Context, args string) error {
	r.enter(1)
	defer r.enter(-1)
	r.started <- args
	select {
	case <-r.release:
		return nil
	case <-ctx.Done():
		r.canceled <- args
		return ctx.Err()
	}
}

func (r *rpc) enter(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.running += n
	r.most = max(r.most, r.running)
}

// installRPC installs the service, and returns with it the number of calls of a
// process that run at once, and of those that may wait.
func installRPC(h *host, o provider.ServiceOptions) (s *service, r *rpc, running, waiting int) {
	h.t.Helper()
	r = &rpc{started: make(chan string, 1000), release: make(chan struct{}), canceled: make(chan string, 1000)}
	s = h.install(provider.Options{Name: "rpc"}, offer{rpcSelector(), r, o})
	limits := s.Limits()
	if limits.Calls != 16 || limits.WaitingCalls != 64 {
		h.t.Errorf("%d calls run and %d wait, want 16 and 64", limits.Calls, limits.WaitingCalls)
	}
	return s, r, limits.Calls, limits.WaitingCalls
}

// echo checks that a value comes back as it went.
func echo(t *testing.T, s *client.Session, value string) {
	t.Helper()
	if got := call(t, s, rpcEcho, value); got != value {
		t.Errorf("%.80q came back as %.80q", value, got)
	}
}

func TestRPCNoSuchProcess(t *testing.T) {
	expectNoLeak(t)
	nobody := api.UnixEndpoint(filepath.Join(runDir(t), "nobody.sock"))
	if _, err := client.Dial(within(t), client.Options{Address: nobody, Wait: -1}); !errors.Is(err, api.ErrNoProvider) {
		t.Errorf("%v, want %v", err, api.ErrNoProvider)
	}
}

func TestRPCNoSuchProcedure(t *testing.T) {
	overBoth(t, func(t *testing.T, h *host) {
		service, _, _, _ := installRPC(h, provider.ServiceOptions{})
		_, s := service.open(rpcSelector())
		if _, err := s.Invoke(within(t), 1919, nil); !errors.Is(err, api.ErrNoMethod) {
			t.Errorf("%v, want %v", err, api.ErrNoMethod)
		}
		echo(t, s, "still there")
	})
}

func TestRPCSimple(t *testing.T) {
	const digits = "0123456789"
	overBoth(t, func(t *testing.T, h *host) {
		service, _, _, _ := installRPC(h, provider.ServiceOptions{})
		_, s := service.open(rpcSelector())
		for _, value := range []string{
			"", "3", "3.9", "null", "true", "false", "fisk", "hest", "\x00", "\xff\xfe", "0xb00ffeed",
			"\x01\x02\x03\x04", digits, digits[3:4], strings.Repeat(digits, 10)[7:51],
			"hestfisk"[1:3], strings.Repeat("hestfisk", 8)[4:32],
		} {
			echo(t, s, value)
		}
	})
}

// Arguments belong to the caller again when the call returns, results for good.
func TestRPCLargeExternal(t *testing.T) {
	overBoth(t, func(t *testing.T, h *host) {
		service, _, _, _ := installRPC(h, provider.ServiceOptions{})
		c, s := service.open(rpcSelector())
		for _, size := range []int{33199, 262144, c.Provider().MaxMessage} {
			first := bytes.Repeat([]byte("hestfisk"), size/8+1)[:size]
			value := first
			for range 16 {
				result, err := s.Invoke(within(t), rpcEcho, value)
				if err != nil {
					t.Fatal(err)
				}
				value[0]++
				value = result
			}
			if first[0]--; !bytes.Equal(value, first) {
				t.Errorf("%d bytes came back as other %d bytes", size, len(value))
			}
		}
		tooLarge := make([]byte, c.Provider().MaxMessage+api.ArgsSlack+1)
		if _, err := s.Invoke(within(t), rpcEcho, tooLarge); !errors.Is(err, api.ErrTooLarge) {
			t.Errorf("%d bytes: %v, want %v", len(tooLarge), err, api.ErrTooLarge)
		}
		echo(t, s, "still there")
	})
}

func TestRPCSecondProcedure(t *testing.T) {
	overBoth(t, func(t *testing.T, h *host) {
		service, _, _, _ := installRPC(h, provider.ServiceOptions{})
		_, s := service.open(rpcSelector())
		for n := range 10 {
			if got, want := call(t, s, rpcMultiply, strconv.Itoa(n)), strconv.Itoa(2*n); got != want {
				t.Errorf("twice %d is %s", n, got)
			}
		}
	})
}

// Every length up to 4 KiB, growing at the one end and at the other.
func TestRPCSmallStrings(t *testing.T) {
	const letters = "abcdefghijklmn"
	overBoth(t, func(t *testing.T, h *host) {
		service, _, _, _ := installRPC(h, provider.ServiceOptions{})
		_, s := service.open(rpcSelector())
		value := ""
		for i := range 1 << 12 {
			echo(t, s, value)
			if letter := letters[i%len(letters)]; i%2 == 0 {
				value += string(letter)
			} else {
				value = string(letter) + value
			}
		}
	})
}

func TestRPCSequential(t *testing.T) {
	const calls = 10
	overBoth(t, func(t *testing.T, h *host) {
		service, r, _, _ := installRPC(h, provider.ServiceOptions{Sequential: true})
		c, s := service.open(rpcSelector())
		line := made(t, s, rpcOpen, "")
		for i := range calls {
			if err := line.Post(within(t), rpcBlock, strconv.AppendInt(nil, int64(i), 10)); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.Ping(within(t)); err != nil { // the provider has them all then
			t.Fatal(err)
		}
		for i := range calls {
			if args := receive(t, "a call to start", r.started); args != strconv.Itoa(i) {
				t.Errorf("call %s started, want %d", args, i)
			}
			if n := len(r.started); n != 0 {
				t.Errorf("%d more calls started before call %d ended", n, i)
			}
			r.release <- struct{}{}
		}
		if report, err := line.Flush(within(t)); report != (client.Flushed{Ended: calls}) || err != nil {
			t.Errorf("they ended with %+v, %v", report, err)
		}
		if r.most != 1 {
			t.Errorf("%d calls ran at once", r.most)
		}
	})
}
