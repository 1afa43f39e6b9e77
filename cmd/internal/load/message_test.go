package load_test

import (
	"bytes"
	"math"
	"testing"

	"pgregory.net/rapid"

	"crier.local/cmd/internal/load"
)

func TestMessageLayout(t *testing.T) {
	b := []byte("................filler")
	load.Put(b, 0x0102, 0x030405060708, 0x1112131415161718)
	want := append([]byte{2, 1, 8, 7, 6, 5, 4, 3, 0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11}, "filler"...)
	if !bytes.Equal(b, want) {
		t.Errorf("got % x, want % x", b, want)
	}
}

func TestMessageRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		publisher := rapid.Uint16().Draw(t, "publisher")
		number := rapid.Uint64Range(0, load.MaxNumber).Draw(t, "number")
		due := rapid.Int64Range(load.End, math.MaxInt64).Draw(t, "due")
		b := make([]byte, load.HeaderSize+rapid.IntRange(0, 20).Draw(t, "filler"))
		load.Put(b, publisher, number, due)
		p, n, d, err := load.Parse(b)
		if p != publisher || n != number || d != due || err != nil {
			t.Errorf("put %d %d %d, got %d %d %d %v", publisher, number, due, p, n, d, err)
		}
	})
}

func TestShortMessage(t *testing.T) {
	for n := range load.HeaderSize {
		if _, _, _, err := load.Parse(make([]byte, n)); err == nil {
			t.Errorf("%d bytes are a message", n)
		}
	}
}
