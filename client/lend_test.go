package client

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc/mem"

	"crier.local/api"
	"crier.local/api/wire"
)

// lendingDoor is a door whose streams lend batches, as those over a socket do.
type lendingDoor struct{ *door }

func (d lendingDoor) Attach(ctx context.Context) (wire.Stream, error) {
	s, err := d.door.Attach(ctx)
	return lendingStream{s}, err
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

// attachedOnLoan is attached, but that batches are lent.
func attachedOnLoan(t *testing.T) (*Session, *peer) {
	t.Helper()
	d := newDoor(t)
	dialled := begin(func() (*Client, error) { return Dial(context.Background(), Options{Transport: lendingDoor{d}}) })
	p := d.accept()
	c := must(t, <-dialled)
	t.Cleanup(func() { p.close(c) })
	return openSession(t, c, p), p
}

// scribble uses up what memory of batches is free.
func scribble(t *testing.T) {
	t.Helper()
	for range 10 {
		var b wire.Batch
		b.Borrow = true
		garbage := bytes.Repeat([]byte{'!'}, wire.BatchSize)
		if err := wire.Codec().Unmarshal(mem.BufferSlice{mem.SliceBuffer(garbage)}, &b); err != nil {
			t.Fatal(err)
		}
		b.Loan.Repay()
	}
}

// texts returns n bodies of about size bytes, all different.
func texts(name string, n, size int) (bodies [][]byte) {
	for i := range n {
		body := fmt.Appendf(nil, "%s %d ", name, i)
		bodies = append(bodies, append(body, bytes.Repeat([]byte{byte('a' + i%26)}, size)...))
	}
	return bodies
}

// TestNotificationsInARow: those of one entry come one by one and in order, as do
// the entries, for each of the handles.
func TestNotificationsInARow(t *testing.T) {
	_, s, p := attached(t)
	r3, r5 := p.make(s, 3, windows, windows), p.make(s, 5, windows, windows)
	p.send(
		*notification([]api.Handle{3}, []byte("1"), nil, []byte("3")),
		*notification([]api.Handle{3}), // nothing
		*notification([]api.Handle{3, 5, 7}, []byte("4"), []byte("5")),
		*notification([]api.Handle{3, 5, 7}, []byte("6")),
		*notification([]api.Handle{7}, []byte("for nobody")),
		*notification(nil, []byte("for nobody")),
		*notification([]api.Handle{5}, nil, nil),
		*notification([]api.Handle{5, 3}, []byte("9"), []byte("10")),
		wire.ProviderEntry{Kind: wire.Closed, Handle: 3, Reason: api.ReasonClosed, Body: []byte("bye")},
		*notification([]api.Handle{3, 5}, []byte("late")),
	)
	expectAll(t, r3, api.ErrClosed, "1", "", "3", "4", "5", "6", "9", "10", "bye")
	expectAll(t, r5, nil, "4", "5", "6", "", "", "9", "10", "late")
}

func expectAll(t *testing.T, r *Resource, end error, want ...string) {
	t.Helper()
	var got []string
	for range want {
		body, err := r.Receive(context.Background())
		if err != nil {
			t.Fatalf("after %q: %v", got, err)
		}
		got = append(got, string(body))
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if end != nil {
		_, err := r.Receive(context.Background())
		wantErr(t, err, end)
	}
}

// TestLentIsNotKept: what Receive returned stays, whoever has the batch's memory
// then, and so do results and last words; what Borrow lends stays until the next.
func TestLentIsNotKept(t *testing.T) {
	for name, receive := range map[string]func(*Resource) ([]byte, error){
		"receive": func(r *Resource) ([]byte, error) { return r.Receive(within(t, time.Minute)) },
		"borrow": func(r *Resource) ([]byte, error) {
			body, lent, err := r.Borrow(within(t, time.Minute))
			if lent {
				scribble(t)
				body = bytes.Clone(body)
			}
			return body, err
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, p := attachedOnLoan(t)
			r3, r5 := p.make(s, 3, windows, windows), p.make(s, 5, windows, windows)
			called := begin(func() ([]byte, error) { return s.Invoke(context.Background(), 1, nil) })
			call := p.expect(wire.Invoke)
			alone, both := texts("alone", 50, 200), texts("both", 50, 200)
			result, last := []byte("the result"), []byte("the last words")
			p.send(
				*notification([]api.Handle{3}, alone[:20]...),
				*notification([]api.Handle{3, 5}, both...),
				wire.ProviderEntry{Kind: wire.Reply, Call: call.Call, Body: result},
				*notification([]api.Handle{3}, alone[20:]...),
				wire.ProviderEntry{Kind: wire.Closed, Handle: 5, Reason: api.ReasonClosed, Body: last},
			)
			got := must(t, <-called)
			var kept3, kept5 [][]byte
			for r, list := range map[*Resource]*[][]byte{r3: &kept3, r5: &kept5} {
				for range map[*Resource]int{r3: 100, r5: 51}[r] {
					body, err := receive(r)
					if err != nil {
						t.Fatal(err)
					}
					*list = append(*list, body)
				}
			}
			p.notifyRow([]api.Handle{3}, texts("more", 100, 200)...) // of which the first repays
			if _, err := receive(r3); err != nil {
				t.Fatal(err)
			}
			scribble(t)
			if want := slices.Concat(alone[:20], both, alone[20:]); !slices.EqualFunc(kept3, want, bytes.Equal) {
				t.Errorf("the one has kept %.300q", kept3)
			}
			if want := append(slices.Clone(both), last); !slices.EqualFunc(kept5, want, bytes.Equal) {
				t.Errorf("the other has kept %.300q", kept5)
			}
			if !bytes.Equal(got, result) {
				t.Errorf("the result is %q", got)
			}
		})
	}
}

// A batch's memory is not used again before those who may read it have, however
// slow they are and however they end.
func TestLentToTheSlow(t *testing.T) {
	s, p := attachedOnLoan(t)
	slow, quick := p.make(s, 3, windows, windows), p.make(s, 5, windows, windows)
	var want [][]byte
	for i := range 10 {
		bodies := texts(fmt.Sprint("batch ", i), 40, 250)
		want = append(want, bodies...)
		var batch []wire.ProviderEntry
		for at := 0; at < 40; at += 8 {
			batch = append(batch, *notification([]api.Handle{3}, bodies[at:at+8]...), *notification([]api.Handle{5}, []byte("x")))
		}
		p.send(batch...)
		receiveLent(t, quick, 5)
		scribble(t)
	}
	for i, body := range want {
		got, _, err := slow.Borrow(within(t, time.Minute))
		if err != nil || !bytes.Equal(got, body) {
			t.Fatalf("notification %d is %.20q, %v; want %.20q", i, got, err, body)
		}
	}
}

// receiveLent takes n.
func receiveLent(t *testing.T, r *Resource, n int) {
	t.Helper()
	for range n {
		if _, _, err := r.Borrow(within(t, time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
}
