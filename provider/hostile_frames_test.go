package provider_test

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"crier.local/api/wire/wirepb"
)

const attachPath = wirepb.Crier_Attach_FullMethodName

// TestHostileBytes sends what is not HTTP/2.
func TestHostileBytes(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, text string }{
		{"nothing", ""},
		{"garbage", string(bytes.Repeat([]byte{0xde, 0xad, 0x00, 0xff}, 4096))},
		{"HTTP 1", "GET / HTTP/1.1\r\nHost: x\r\n\r\n"},
		{"half a preface", http2.ClientPreface[:12]},
		{"preface without settings", http2.ClientPreface},
		{"a frame of 16 MiB", http2.ClientPreface + "\xff\xff\xff\x04\x00\x00\x00\x00\x00"},
		{"half a frame", http2.ClientPreface + "\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00"},
	}
	besieged(t, func(t *testing.T, s *siege) {
		verdicts := make(chan string)
		for _, test := range tests {
			conn := s.dial()
			conn.Write([]byte(test.text))
			go func() { verdicts <- test.name + " " + s.drain(conn) }()
		}
		for range tests {
			t.Log(<-verdicts)
		}
		s.end("all ended")
	})
}

// TestHostileFrames sends frames that are legal each, or nearly, and too many or
// too large in their sum.
func TestHostileFrames(t *testing.T) {
	t.Parallel()
	const many = 1_000_000
	tests := []struct {
		name    string
		attack  func(i *intruder) int // returns how many frames were sent
		outcome func(i *intruder) string
	}{
		{"header list too large", func(i *intruder) int {
			var more []string
			for n := range 12 {
				more = append(more, fmt.Sprintf("x-%d", n), string(bytes.Repeat([]byte{'a' + byte(n)}, 1000)))
			}
			i.frames.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: i.call(attachPath, more...), EndHeaders: true})
			return 1
		}, (*intruder).refused},
		{"header bomb", func(i *intruder) int {
			// A value of 3,000 bytes goes into the decoder's table once, and is
			// then named by a byte each.
			block := i.call(attachPath, "x-bomb", string(bytes.Repeat([]byte{'b'}, 3000)))
			block = append(block, bytes.Repeat([]byte{0x80 | 62}, 16<<10-len(block))...)
			i.frames.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block})
			return i.flood(many/100, func(int) error {
				return i.frames.WriteContinuation(1, false, bytes.Repeat([]byte{0x80 | 62}, 16<<10))
			})
		}, (*intruder).ended},
		{"continuation flood", func(i *intruder) int {
			i.frames.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: i.call(attachPath)})
			field := i.fields("x-more", "y")
			return i.flood(many, func(int) error { return i.frames.WriteContinuation(1, false, field) })
		}, (*intruder).ended},
		{"empty continuation flood", func(i *intruder) int {
			i.frames.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: i.call(attachPath)})
			return i.flood(many, func(int) error { return i.frames.WriteContinuation(1, false, nil) })
		}, (*intruder).ended},
		{"ping flood", func(i *intruder) int {
			return i.flood(many, func(int) error { return i.frames.WritePing(false, [8]byte{}) })
		}, (*intruder).ended},
		{"settings flood", func(i *intruder) int {
			return i.flood(many, func(n int) error {
				return i.frames.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: uint32(n)})
			})
		}, (*intruder).left},
		{"settings of the largest windows", func(i *intruder) int {
			i.frames.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: math.MaxUint32},
				http2.Setting{ID: http2.SettingHeaderTableSize, Val: math.MaxUint32},
				http2.Setting{ID: http2.SettingMaxFrameSize, Val: math.MaxUint32})
			return 1
		}, (*intruder).ended},
		{"rapid reset", func(i *intruder) int {
			return i.flood(many/10, func(n int) error {
				i.open(uint32(2*n+1), attachPath)
				return i.frames.WriteRSTStream(uint32(2*n+1), http2.ErrCodeCancel)
			})
		}, (*intruder).left},
		{"rapid reset after hello", func(i *intruder) int {
			return i.flood(many/50, func(n int) error {
				i.open(uint32(2*n+1), attachPath)
				i.take(64)
				i.frames.WriteData(uint32(2*n+1), false, message(hello()))
				return i.frames.WriteRSTStream(uint32(2*n+1), http2.ErrCodeCancel)
			})
		}, (*intruder).left},
		{"streams without end", func(i *intruder) int {
			return i.flood(many/10, func(n int) error { return i.open(uint32(2*n+1), attachPath) })
		}, (*intruder).ended},
		{"window of the connection + 0", func(i *intruder) int {
			i.frames.WriteWindowUpdate(0, 0)
			return 1
		}, (*intruder).left},
		{"window of the connection overflows", func(i *intruder) int {
			i.frames.WriteWindowUpdate(0, math.MaxInt32)
			i.frames.WriteWindowUpdate(0, math.MaxInt32)
			return 2
		}, (*intruder).left},
		{"window of a stream overflows", func(i *intruder) int {
			i.attach(1)
			i.frames.WriteWindowUpdate(1, math.MaxInt32)
			i.frames.WriteWindowUpdate(1, math.MaxInt32)
			i.frames.WriteWindowUpdate(1, 0)
			return 3
		}, (*intruder).left},
		{"window update flood", func(i *intruder) int {
			i.attach(1)
			return i.flood(many, func(int) error { return i.frames.WriteWindowUpdate(1, 1) })
		}, (*intruder).left},
		{"empty data flood", func(i *intruder) int {
			i.attach(1)
			return i.flood(many, func(int) error { return i.frames.WriteData(1, false, nil) })
		}, (*intruder).left},
		{"data of a stream that is not", func(i *intruder) int {
			return i.flood(many/100, func(int) error {
				if !i.take(1000) {
					return context.Canceled
				}
				return i.frames.WriteData(7, false, make([]byte, 1000))
			})
		}, (*intruder).left},
		{"more data than the window", func(i *intruder) int {
			i.attach(1)
			i.frames.WriteData(1, false, claimed(0, 16<<20, nil))
			return i.flood(many/100, func(int) error { return i.frames.WriteData(1, false, make([]byte, 16<<10)) })
		}, (*intruder).ended},
		{"padding flood", func(i *intruder) int {
			i.attach(1)
			return i.flood(many/100, func(int) error {
				if !i.take(256) {
					return context.Canceled
				}
				return i.frames.WriteDataPadded(1, false, nil, make([]byte, 255))
			})
		}, (*intruder).left},
		{"priority flood", func(i *intruder) int {
			return i.flood(many, func(n int) error {
				return i.frames.WritePriority(uint32(2*n+1)%1001+2, http2.PriorityParam{StreamDep: 1})
			})
		}, (*intruder).left},
		{"unknown frames", func(i *intruder) int {
			return i.flood(many/10, func(n int) error { return i.frames.WriteRawFrame(99, 0, uint32(n), make([]byte, 100)) })
		}, (*intruder).left},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			besieged(t, func(t *testing.T, s *siege) {
				i := s.intrude(true)
				n := test.attack(i)
				s.end("%d frames sent; %s", n, test.outcome(i))
			})
		})
	}
}

// refused waits for the refusal of a stream.
func (i *intruder) refused() string {
	i.s.t.Helper()
	i.flush()
	for late := time.After(endurance); ; {
		i.mu.Lock()
		n := len(i.answers)
		i.mu.Unlock()
		select {
		case <-time.After(time.Millisecond):
		case <-i.over:
			return i.heard() + ", ended"
		case <-late:
			i.s.t.Error("no answer")
			return i.heard()
		}
		if n > 0 {
			i.close()
			return i.heard()
		}
	}
}

// left waits a moment for what the provider says, and ends the connection unless
// the provider does.
func (i *intruder) left() string {
	i.flush()
	select {
	case <-i.over:
		return i.heard() + ", ended by the provider"
	case <-time.After(100 * time.Millisecond):
		i.close()
		<-i.over
		return i.heard() + ", ended by the peer"
	}
}

// TestHostileSilence floods the provider with what it has to answer, and never
// reads an answer.
func TestHostileSilence(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		write func(i *intruder, n int) error
	}{
		{"pings", func(i *intruder, _ int) error { return i.frames.WritePing(false, [8]byte{}) }},
		{"settings", func(i *intruder, _ int) error { return i.frames.WriteSettings() }},
		{"streams", func(i *intruder, n int) error { return i.open(uint32(2*n+1), "/no/method") }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			besieged(t, func(t *testing.T, s *siege) {
				i := s.intrude(false)
				i.conn.SetWriteDeadline(time.Now().Add(10 * time.Second)) // the greeting deadline ends it
				n := i.flood(1_000_000, func(n int) error { return test.write(i, n) })
				took := time.Since(i.begin)
				i.close()
				s.end("%d frames sent in %s", n, took.Round(time.Millisecond))
			})
		})
	}
}

// TestHostileDrip sends data byte by byte: a whole batch, which is taken, and a
// message without end.
func TestHostileDrip(t *testing.T) {
	t.Parallel()
	drip := func(i *intruder, data []byte) (n int) {
		for n = range data {
			if !i.take(1) || i.frames.WriteData(1, false, data[n:n+1]) != nil {
				return n
			}
		}
		i.flush()
		return len(data)
	}
	t.Run("batch", func(t *testing.T) {
		besieged(t, func(t *testing.T, s *siege) {
			i := s.intrude(true)
			i.open(1, attachPath)
			drip(i, message(hello()))
			i.take(64 << 10)
			for n := 0; ; n = i.bytes() { // the welcome
				if n > 0 {
					break
				}
				select {
				case <-time.After(time.Millisecond):
				case <-i.over:
					t.Fatal(i.heard())
				}
			}
			i.close()
			s.end("welcomed %s", i.heard())
		})
	})
	t.Run("message without end", func(t *testing.T) {
		besieged(t, func(t *testing.T, s *siege) {
			i := s.intrude(true)
			i.attach(1)
			i.take(5)
			i.frames.WriteData(1, false, claimed(0, 16<<20, nil))
			n := drip(i, make([]byte, 16<<20))
			s.end("%d frames sent; %s", n, i.left())
		})
	})
	for _, size := range []int{64, 1025} {
		t.Run(fmt.Sprintf("message in pieces of %d bytes", size), func(t *testing.T) {
			besieged(t, func(t *testing.T, s *siege) {
				i := s.intrude(true)
				i.attach(1)
				i.take(5)
				i.frames.WriteData(1, false, claimed(0, 16<<20, nil))
				n := i.flood(16<<20/size-1, func(int) error {
					if !i.take(int64(size)) {
						return context.Canceled
					}
					return i.frames.WriteData(1, false, make([]byte, size))
				})
				s.end("%d frames sent; %s", n, i.left())
			})
		})
	}
	t.Run("before hello", func(t *testing.T) {
		besieged(t, func(t *testing.T, s *siege) {
			i := s.intrude(true)
			i.open(1, attachPath)
			i.take(5)
			i.frames.WriteData(1, false, claimed(0, 16<<20, nil))
			n := drip(i, make([]byte, 16<<20))
			s.end("%d frames sent; %s", n, i.ended())
		})
	})
}

func (i *intruder) bytes() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.received
}
