package provider

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"google.golang.org/grpc/mem"
	"pgregory.net/rapid"

	"crier.local/api"
	"crier.local/api/wire"
)

// lending is a way to attach whose batches are lent to the provider, as those over
// a socket are.
type lending struct{ p *Provider }

func (l lending) Attach(ctx context.Context) (wire.Stream, error) {
	if err := l.p.begin(); err != nil {
		return nil, err
	}
	client, server, end := wire.Pipe(ctx)
	go func() {
		defer l.p.attached.Done()
		_ = l.p.attach(lendingStream{server}, peer{
			identity: api.Identity{Local: true}, final: true, greeted: func() {},
			reason: func(error) api.Reason { return api.ReasonDied }, end: end,
		})
	}()
	return client, nil
}

type lendingStream struct{ wire.Stream }

func (s lendingStream) Recv(b *wire.Batch) error {
	var came wire.Batch
	if err := s.Stream.Recv(&came); err != nil {
		return err
	}
	err := wire.Codec().Unmarshal(mem.BufferSlice{mem.SliceBuffer(came.Data)}, b)
	clear(came.Data)
	return err
}

// scribbleBatches uses up what memory of batches is free.
func scribbleBatches(t *testing.T) {
	t.Helper()
	for range 6 {
		b := wire.Batch{Borrow: true}
		if err := wire.Codec().Unmarshal(mem.BufferSlice{mem.SliceBuffer(bytes.Repeat([]byte{'!'}, wire.BatchSize))}, &b); err != nil {
			t.Fatal(err)
		}
		b.Loan.Repay()
	}
}

// TestRowModelOnLoan is TestRowModel with long posts in batches that are lent: what
// is parked stays as it came, however much comes after it, and whatever of it has
// ended.
func TestRowModelOnLoan(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // pools have memory for each of them
	rapid.Check(t, func(rt *rapid.T) {
		var failure any
		bubble(t, Options{}, func(t *testing.T, p *Provider, _ *echo) {
			defer func() { failure = recover() }()
			v := newCustomerBy(t, p, lending{p}, 1<<20, 1<<20)
			for range rapid.IntRange(1, 10).Draw(rt, "batches") {
				for _, d := range v.desks {
					d.mood = drawMood(rt)
				}
				v.drawLong(rt)
				v.flush()
				scribbleBatches(t)
				v.checkParked(rt)
				v.release(rt)
			}
			v.finish(t)
		})
		if failure != nil {
			panic(failure)
		}
	})
}

// drawLong makes a batch of some runs of posts, of which one may be most of it.
func (v *customer) drawLong(rt *rapid.T) {
	for range rapid.IntRange(1, 4).Draw(rt, "runs") {
		s := v.seats[rapid.IntRange(0, len(v.seats)-1).Draw(rt, "seat")]
		size := rapid.SampledFrom([]int{0, 30, 1000, 5000}).Draw(rt, "size")
		for range rapid.IntRange(1, 12).Draw(rt, "posts") {
			if s.credit <= 0 {
				break
			}
			v.post(s, methodTake, fmt.Sprintf("%d of %d %s", len(s.texts), s.handle, strings.Repeat("x", size)))
		}
	}
}

// checkParked holds what is parked against what came.
func (v *customer) checkParked(rt *rapid.T) {
	synctest.Wait()
	for _, d := range v.desks {
		d.checkParked(rt)
	}
}

func (d *desk) checkParked(rt *rapid.T) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.parked {
		var want []string
		for _, i := range d.left[c] {
			want = append(want, d.came[i].text)
		}
		same := func(args []byte, text string) bool { return string(args) == text }
		if posts := c.Posts(); !slices.EqualFunc(posts, want, same) || string(c.Args) != want[0] {
			rt.Fatalf("parked are %.100q, want %.100q", posts, want)
		}
	}
}
