package provider

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"sync/atomic"
	"testing"

	"golang.org/x/net/http2"
)

// wireOf is what a peer writes that does these things.
func wireOf(act func(f *http2.Framer)) []byte {
	var out bytes.Buffer
	out.WriteString(http2.ClientPreface)
	f := http2.NewFramer(&out, nil)
	f.AllowIllegalWrites = true
	act(f)
	return out.Bytes()
}

// chunk is a gRPC message of n zeros.
func chunk(n int) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(n)), make([]byte, n)...)
}

func TestPieces(t *testing.T) {
	split := func(stream uint32, size int, data []byte) func(*http2.Framer) {
		return func(f *http2.Framer) {
			for len(data) > 0 {
				n := min(size, len(data))
				f.WriteData(stream, false, data[:n])
				data = data[n:]
			}
		}
	}
	tests := []struct {
		name string
		act  func(*http2.Framer)
		fine bool
	}{
		{"nothing", func(*http2.Framer) {}, true},
		{"many small messages", func(f *http2.Framer) {
			for range 10 * pieceSlack {
				f.WriteData(1, false, chunk(3))
			}
		}, true},
		{"many messages in a frame", func(f *http2.Framer) {
			for range 100 {
				f.WriteData(1, false, bytes.Repeat(chunk(3), 1000))
			}
		}, true},
		{"messages across frames", split(1, 1000, bytes.Repeat(chunk(777), 5000)), true},
		{"large message in full frames", split(1, 16<<10, chunk(16<<20)), true},
		{"large message in frames of 64 bytes", split(1, 64, chunk(1<<20)), true},
		{"large message in frames of 32 bytes", split(1, 32, chunk(1<<20)), false},
		{"large message byte by byte", split(1, 1, chunk(1<<20)), false},
		{"small message byte by byte", split(1, 1, chunk(pieceSlack-10)), true},
		{"after many good ones", func(f *http2.Framer) {
			split(1, 16<<10, chunk(16<<20))(f)
			split(1, 1, chunk(10_000))(f)
		}, false},
		{"in two streams by turns", func(f *http2.Framer) {
			for _, stream := range []uint32{1, 3} {
				f.WriteData(stream, false, chunk(1 << 20)[:5])
			}
			for range 2 * pieceSlack {
				f.WriteData(1, false, []byte{0})
				f.WriteData(3, false, []byte{0})
			}
		}, false},
		{"with whole messages in another stream", func(f *http2.Framer) {
			f.WriteData(1, false, chunk(1 << 20)[:5])
			for range 2 * pieceSlack {
				f.WriteData(1, false, []byte{0})
				f.WriteData(3, false, chunk(1))
			}
		}, false},
		{"padded", func(f *http2.Framer) {
			f.WriteData(1, false, chunk(1 << 20)[:5])
			for range 2 * pieceSlack {
				f.WriteDataPadded(1, false, []byte{0}, make([]byte, 200))
			}
		}, false},
		{"without data", func(f *http2.Framer) {
			for range 2 * pieceSlack {
				f.WriteData(1, false, nil)
			}
		}, false},
		{"reset and begun anew", func(f *http2.Framer) {
			for stream := uint32(1); stream < 10*maxUnfinished; stream += 2 {
				f.WriteData(stream, false, chunk(100)[:50])
				f.WriteRSTStream(stream, http2.ErrCodeCancel)
			}
		}, true},
		{"ended in the middle", func(f *http2.Framer) {
			for stream := uint32(1); stream < 10*maxUnfinished; stream += 2 {
				f.WriteData(stream, true, chunk(100)[:50])
			}
		}, true},
		{"begun in many streams", func(f *http2.Framer) {
			for stream := uint32(1); stream < 10*maxUnfinished; stream += 2 {
				f.WriteData(stream, false, chunk(100)[:50])
			}
		}, false},
		{"large in two streams", func(f *http2.Framer) {
			f.WriteData(1, false, chunk(1 << 20)[:16<<10])
			f.WriteData(3, false, chunk(1 << 20)[:16<<10])
		}, false},
		{"large in one stream, small in another", func(f *http2.Framer) {
			f.WriteData(1, false, chunk(1 << 20)[:16<<10])
			f.WriteData(3, false, chunk(100)[:50])
			f.WriteData(1, false, chunk(1 << 20)[16<<10:])
			f.WriteData(3, false, chunk(100)[50:])
		}, true},
		{"large in two streams one after the other", func(f *http2.Framer) {
			split(1, 16<<10, chunk(1<<20))(f)
			f.WriteData(1, false, chunk(1 << 20)[:16<<10])
			f.WriteRSTStream(1, http2.ErrCodeCancel)
			split(3, 16<<10, chunk(1<<20))(f)
		}, true},
		{"other frames", func(f *http2.Framer) {
			f.WriteSettings()
			f.WritePing(false, [8]byte{})
			f.WriteRawFrame(77, 0xff, 1, make([]byte, 1000))
			f.WriteDataPadded(1, false, chunk(10), make([]byte, 10))
			f.WriteWindowUpdate(1, 10)
		}, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var complaint error
			p := pieces{complain: func(err error) { complaint = err }}
			err := p.see(wireOf(test.act))
			if (err == nil) != test.fine || !errors.Is(complaint, err) {
				t.Errorf("error %v, logged %v, want fine: %t", err, complaint, test.fine)
			}
			if test.fine && test.name != "nothing" && (p.have != 0 || p.rest != 0 || len(p.unfinished) != 0) {
				t.Errorf("out of step: %+v", p)
			}
		})
	}
}

// FuzzPieces: whatever comes, and however it is cut into reads, the verdict is
// the same, and little is kept.
func FuzzPieces(f *testing.F) {
	f.Add([]byte{}, uint8(1))
	f.Add(wireOf(func(f *http2.Framer) {
		f.WriteSettings()
		f.WriteData(1, false, chunk(100)[:3])
		f.WriteDataPadded(1, false, chunk(100)[3:], make([]byte, 9))
		f.WriteData(3, true, chunk(4)[:6])
		f.WriteRSTStream(1, http2.ErrCodeCancel)
	}), uint8(3))
	f.Add(wireOf(func(f *http2.Framer) {
		f.WriteData(1, false, chunk(1 << 20)[:5])
		for range pieceSlack + 2 {
			f.WriteData(1, false, []byte{0})
		}
	}), uint8(7))
	f.Add(wireOf(func(f *http2.Framer) { f.WriteRawFrame(0, padded, 1, []byte{200, 1}) }), uint8(1))
	f.Fuzz(func(t *testing.T, text []byte, size uint8) {
		var whole, cut pieces
		want := whole.see(text)
		var got error
		for in, b := bytes.NewReader(text), make([]byte, int(size)+1); got == nil; {
			n, err := in.Read(b)
			if err == io.EOF {
				break
			}
			got = cut.see(b[:n])
		}
		if (got == nil) != (want == nil) || got != nil && got.Error() != want.Error() {
			t.Errorf("in one read %v, in reads of %d %v", want, int(size)+1, got)
		}
		if got == nil && (whole.rest != cut.rest || whole.at != cut.at || len(whole.unfinished) != len(cut.unfinished)) {
			t.Errorf("in one read %+v, in reads of %d %+v", whole, int(size)+1, cut)
		}
		if len(whole.unfinished) > maxUnfinished+1 {
			t.Errorf("%d streams are kept in mind", len(whole.unfinished))
		}
	})
}

func BenchmarkPieces(b *testing.B) {
	text := wireOf(func(f *http2.Framer) {
		for range 4 {
			f.WriteData(1, false, chunk(16<<10-5))
		}
	})[len(http2.ClientPreface):]
	p := pieces{seen: prefaceSize}
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if err := p.see(text); err != nil {
			b.Fatal(err)
		}
	}
}

// TestLargeBeforeHello: who has not said who it is takes little memory.
func TestLargeBeforeHello(t *testing.T) {
	for _, test := range []struct {
		name    string
		size    int
		greeted bool
		refused bool
	}{
		{"a hello", 64, false, false},
		{"as large as may be", largeMessage, false, false},
		{"larger", largeMessage + 1, false, true},
		{"after the hello", 16 << 20, true, false},
	} {
		var greeted atomic.Bool
		greeted.Store(test.greeted)
		p := pieces{greeted: &greeted}
		err := p.see(wireOf(func(f *http2.Framer) { f.WriteData(1, false, chunk(test.size)[:16]) }))
		if refused := err != nil; refused != test.refused {
			t.Errorf("%s: %v, want refused %v", test.name, err, test.refused)
		}
	}
}
