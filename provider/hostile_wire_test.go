package provider_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"crier.local/api"
	"crier.local/api/wire"
)

// TestHostileBatches attaches properly and then sends batches that are none. The
// provider ends the stream, and says why.
func TestHostileBatches(t *testing.T) {
	t.Parallel()
	ping := wire.AppendClient(nil, &wire.ClientEntry{Kind: wire.Ping, Call: 1})
	open := wire.AppendClient(nil, &wire.ClientEntry{Kind: wire.Open, Call: 1, Selector: api.NotificationSelector})
	claim := func(n uint64) []byte { return binary.AppendUvarint([]byte{1<<3 | 2}, n) }
	inner := func(n uint64) []byte { // an invoke whose arguments claim to have n bytes
		args := binary.AppendUvarint([]byte{5<<3 | 2}, n)
		invoke := append(binary.AppendUvarint([]byte{3<<3 | 2}, uint64(len(args))), args...)
		return append(claim(uint64(len(invoke))), invoke...)
	}
	tests := []struct {
		name  string
		batch []byte
		words string
	}{
		{"garbage", bytes.Repeat([]byte{0xff}, 1000), "malformed"},
		{"truncated entry", ping[:len(ping)-1], "malformed"},
		{"truncated selector", open[:len(open)-4], "malformed"},
		{"truncated length", []byte{1<<3 | 2, 0x80}, "malformed"},
		{"2 GiB - 1 claimed", claim(math.MaxInt32), "malformed"},
		{"2 GiB claimed", claim(1 << 31), "malformed"},
		{"4 GiB - 1 claimed", claim(math.MaxUint32), "malformed"},
		{"2^63 - 1 claimed", claim(math.MaxInt64), "malformed"},
		{"2^64 - 1 claimed", claim(math.MaxUint64), "malformed"},
		{"2 GiB - 1 claimed inside", inner(math.MaxInt32), "malformed"},
		{"2^64 - 1 claimed inside", inner(math.MaxUint64), "malformed"},
		{"entry without a kind", []byte{1<<3 | 2, 0}, "kind"},
		{"entry of kind 31", []byte{1<<3 | 2, 3, 0xfa, 0x01, 0}, "kind"},
		{"second hello", hello(), "after the hello"},
		{"a million empty entries", bytes.Repeat([]byte{1<<3 | 2, 0}, 1_000_000), "kind"},
		{"nested groups", bytes.Repeat([]byte{1<<3 | 3}, 1_000_000), "malformed"},
		{"invalid UTF-8", wire.AppendClient(nil, &wire.ClientEntry{Kind: wire.Open, Call: 1, Selector: api.Selector{UUID: "?"}}), ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			besieged(t, func(t *testing.T, s *siege) {
				r := s.attach()
				r.greet()
				begin := time.Now()
				batch := bytes.Replace(test.batch, []byte{'?'}, []byte{0xff}, 1)
				if err := r.send(batch); err != nil {
					t.Fatal(err)
				}
				last := r.farewell()
				if err := last.Failure.Err(); err == nil || !strings.Contains(err.Error(), test.words) {
					t.Errorf("the farewell says %v, want %q", err, test.words)
				}
				s.end("farewell %v in %s", last.Failure.Err(), time.Since(begin).Round(time.Microsecond))
			})
		})
	}
}

// TestHostileBatchTooLarge sends a batch over the hard top. gRPC ends the stream
// then, and says why.
func TestHostileBatchTooLarge(t *testing.T) {
	besieged(t, func(t *testing.T, s *siege) {
		r := s.attach()
		r.greet()
		if err := r.send(make([]byte, 16<<20+64<<10+1)); err != nil {
			t.Fatal(err)
		}
		_, err := r.read()
		if status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "larger than max") {
			t.Errorf("the stream ends with %v", err)
		}
		s.end("ended with %v", err)
	})
}

// TestHostileHello says something else than hello.
func TestHostileHello(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		batch []byte
		words string
	}{
		{"another version", wire.AppendClient(nil, &wire.ClientEntry{Kind: wire.Hello, Version: 99}), "speaks wire version 99"},
		{"no hello", wire.AppendClient(nil, &wire.ClientEntry{Kind: wire.Ping, Call: 1}), "not a hello"},
		{"short instance", []byte{1<<3 | 2, 6, 1<<3 | 2, 4, 8, 1, 2<<3 | 2, 0}, ""},
		{"nothing for ever", nil, "no hello within"},
		{"empty batches for ever", []byte{}, "no hello within"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			besieged(t, func(t *testing.T, s *siege) {
				r := s.attach()
				begin := time.Now()
				if test.batch != nil {
					if err := r.send(test.batch); err != nil {
						t.Fatal(err)
					}
				}
				said := "nothing"
				if strings.HasSuffix(test.name, "for ever") {
					r.unwelcome()
				} else if err := r.farewell().Failure.Err(); err == nil || !strings.Contains(err.Error(), test.words) {
					t.Errorf("the farewell says %v, want %q", err, test.words)
				} else {
					said = err.Error()
				}
				s.end("ended in %s with %s", time.Since(begin).Round(time.Millisecond), said)
			})
		})
	}
}

// TestHostileMessages sends what gRPC takes for a message and is none.
func TestHostileMessages(t *testing.T) {
	t.Parallel()
	compressed := claimed(1, 5, []byte("hello"))
	tests := []struct {
		name string
		data []byte
	}{
		{"length 2 GiB - 1", claimed(0, math.MaxInt32, nil)},
		{"length 2 GiB", claimed(0, 1<<31, nil)},
		{"length 4 GiB - 1", claimed(0, math.MaxUint32, nil)},
		{"one byte over the limit", claimed(0, 16<<20+64<<10+1, nil)},
		{"compressed flag", compressed},
		{"unknown flag", claimed(0x80, 5, []byte("hello"))},
		{"truncated", claimed(0, 100, []byte("hello"))},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for _, greeted := range []bool{false, true} {
				t.Run(map[bool]string{false: "stranger", true: "guest"}[greeted], func(t *testing.T) {
					besieged(t, func(t *testing.T, s *siege) {
						i := s.intrude(true)
						if greeted {
							i.attach(1)
						} else {
							i.open(1, attachPath)
						}
						i.take(int64(len(test.data)))
						i.frames.WriteData(1, test.name == "truncated", test.data)
						s.end("%s", i.refused())
					})
				})
			}
		})
	}
}

// TestHostileMethods calls what is not for strangers, each with and without the
// leading slash.
func TestHostileMethods(t *testing.T) {
	tests := map[string]codes.Code{
		"plugin.GRPCController/Shutdown":                                codes.PermissionDenied,
		"plugin.GRPCBroker/StartStream":                                 codes.Unimplemented,
		"plugin.GRPCStdio/StreamStdio":                                  codes.Unimplemented,
		"grpc.reflection.v1.ServerReflection/ServerReflectionInfo":      codes.Unimplemented,
		"grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": codes.Unimplemented,
		"grpc.channelz.v1.Channelz/GetServers":                          codes.Unimplemented,
		"crier.v1.Crier/Other":                                          codes.Unimplemented,
		"no/such/method":                                                codes.Unimplemented,
		"":                                                              codes.Unimplemented,
		strings.Repeat("x", 4000) + "/y":                                codes.Unimplemented,
	}
	besieged(t, func(t *testing.T, s *siege) {
		report := ""
		for method, want := range tests {
			for _, slash := range []string{"/", ""} {
				i := s.intrude(true)
				i.frames.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: i.call(slash + method), EndHeaders: true})
				i.take(5)
				i.frames.WriteData(1, true, message(nil))
				heard := i.refused()
				allowed := []string{fmt.Sprintf("grpc-status %d", want), "grpc-status 12", "PROTOCOL_ERROR"}
				if slash != "" {
					allowed = allowed[:1]
				}
				if !containsAny(heard, allowed) {
					t.Errorf("%q: %s, want %v", slash+method, heard, want)
				}
				report += fmt.Sprintf("%.40q %s; ", slash+method, heard)
			}
		}
		s.end("%s", report)
	})
}

func containsAny(text string, words []string) bool {
	for _, word := range words {
		if strings.Contains(text, word) {
			return true
		}
	}
	return false
}

// TestHostileCrowd opens more streams, and more connections, than there may be.
func TestHostileCrowd(t *testing.T) {
	t.Parallel()
	t.Run("100,000 calls of no method", func(t *testing.T) {
		besieged(t, func(t *testing.T, s *siege) {
			i := s.intrude(true)
			n := i.flood(100_000, func(n int) error { return i.open(uint32(2*n+1), "/no/method") })
			s.end("%d streams; %s", n, i.left())
		})
	})
	t.Run("large questions about the health", func(t *testing.T) {
		besieged(t, func(t *testing.T, s *siege) {
			const streams, size = 15, 16<<20 + 64<<10 - 1
			i := s.intrude(true)
			for n := range uint32(streams) {
				i.open(2*n+1, "/grpc.health.v1.Health/Check")
				i.take(5)
				i.frames.WriteData(2*n+1, false, claimed(0, size, nil))
			}
			n := i.flood(streams*size/(16<<10), func(n int) error {
				if !i.take(16 << 10) {
					return context.Canceled
				}
				return i.frames.WriteData(uint32(2*(n%streams)+1), false, make([]byte, 16<<10))
			})
			s.end("%d frames in %d streams; %s", n, streams, i.left())
		})
	})
	t.Run("half-open attachments", func(t *testing.T) {
		besieged(t, func(t *testing.T, s *siege) {
			const connections = 30 // more would wait for these
			begin := time.Now()
			var all []*rawStream
			for range connections {
				all = append(all, s.attach())
			}
			for _, r := range all {
				r.unwelcome()
			}
			s.end("%d streams without a hello are ended in %s", connections, time.Since(begin).Round(time.Millisecond))
		})
	})
	t.Run("second attachment", func(t *testing.T) {
		besieged(t, func(t *testing.T, s *siege) {
			r := s.attach()
			r.greet()
			second := s.attachOver(r.conn)
			_, err := second.read()
			if status.Code(err) != codes.ResourceExhausted {
				t.Errorf("error %v", err)
			}
			r.ask(wire.ClientEntry{Kind: wire.Ping, Call: 1})
			r.conn.Close()
			s.end("%v", err)
		})
	})
	t.Run("unread answers", func(t *testing.T) {
		besieged(t, func(t *testing.T, s *siege) {
			r := s.attach()
			r.greet()
			var batch []byte
			for call := range uint32(4000) {
				batch = wire.AppendClient(batch, &wire.ClientEntry{Kind: wire.Ping, Call: call + 1})
			}
			begin, n := time.Now(), 0
			ctx, cancel := context.WithTimeout(context.Background(), endurance)
			defer cancel()
			for ctx.Err() == nil && r.send(batch) == nil {
				n += 4000
			}
			if ctx.Err() != nil {
				t.Error("the provider answers for ever what nobody reads")
			}
			took := time.Since(begin)
			r.conn.Close()
			s.end("%d pings are taken in %s", n, took.Round(time.Millisecond))
		})
	})
}
