package wire_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"

	"crier.local/api/wire"
)

// sent sends text, and received expects it.
func sent(t *testing.T, s wire.Stream, text string) {
	t.Helper()
	if err := s.Send(&wire.Batch{Data: []byte(text)}); err != nil {
		t.Fatal(err)
	}
}

func received(t *testing.T, s wire.Stream, want string) {
	t.Helper()
	var b wire.Batch
	if err := s.Recv(&b); err != nil || string(b.Data) != want {
		t.Errorf("received %q, %v; want %q", b.Data, err, want)
	}
}

func expectEnd(t *testing.T, s wire.Stream, want error) {
	t.Helper()
	var b wire.Batch
	if err := s.Recv(&b); !errors.Is(err, want) {
		t.Errorf("received %q, %v; want %v", b.Data, err, want)
	}
	if err := s.Send(&b); !errors.Is(err, want) {
		t.Errorf("sent, %v; want %v", err, want)
	}
}

func TestPipe(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	client, provider, done := wire.Pipe(ctx)
	sent(t, client, "up 1")
	sent(t, client, "up 2")
	sent(t, provider, "down")
	received(t, provider, "up 1")
	received(t, client, "down")
	cancel()
	received(t, provider, "up 2") // what was sent before the end
	expectEnd(t, provider, io.EOF)
	expectEnd(t, client, io.ErrClosedPipe)
	done()
	done()
}

func TestPipeEndsFromTheProvider(t *testing.T) {
	client, provider, done := wire.Pipe(t.Context())
	sent(t, provider, "farewell")
	done()
	received(t, client, "farewell")
	expectEnd(t, client, io.EOF)
	expectEnd(t, provider, io.ErrClosedPipe)
}

// A full pipe makes the sender wait, until there is room or the end.
func TestPipeIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, provider, done := wire.Pipe(t.Context())
		filled, ended := 0, make(chan error)
		go func() {
			for {
				if err := client.Send(&wire.Batch{Data: []byte("x")}); err != nil {
					ended <- err
					return
				}
				filled++
			}
		}()
		synctest.Wait()
		most := filled
		received(t, provider, "x")
		synctest.Wait()
		if filled != most+1 || most == 0 {
			t.Errorf("room for %d, after one was taken for %d", most, filled)
		}
		done()
		if err := <-ended; !errors.Is(err, io.EOF) {
			t.Errorf("the sender that waited: %v", err)
		}
	})
}
