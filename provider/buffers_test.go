package provider

import (
	"bytes"
	"testing"

	"crier.local/api/wire"
)

func TestBuffersFitTheMemory(t *testing.T) {
	for _, test := range []struct {
		limit int64
		want  buffers
	}{
		{0, buffers{socket: 0, write: 128 << 10, batch: 64 << 10}},
		{1 << 40, buffers{socket: 0, write: 128 << 10, batch: 64 << 10}},
		{256 << 20, buffers{socket: 0, write: 128 << 10, batch: 64 << 10}},
		{128 << 20, buffers{socket: 32 << 10, write: 64 << 10, batch: 32 << 10}},
		{64 << 20, buffers{socket: 16 << 10, write: 32 << 10, batch: 16 << 10}},
		{1, buffers{socket: 8 << 10, write: 16 << 10, batch: 8 << 10}},
	} {
		if got := buffersFor(test.limit); got != test.want {
			t.Errorf("limit %d: got %+v, want %+v", test.limit, got, test.want)
		}
	}
}

func TestSilentPlacesLeaveDescriptorsToTheProgram(t *testing.T) {
	processes := (descriptors() - reserve) / perProcess
	if got := silentPlaces(processes); got != reserve-ownUse && got != reserve-ownUse+1 {
		t.Errorf("%d with all places taken, want %d", got, reserve-ownUse)
	}
	if got := silentPlaces(1 << 30); got != 1 {
		t.Errorf("%d without descriptors, want 1", got)
	}
	if descriptors() > 1024 && silentPlaces(1) != maxSilent {
		t.Errorf("%d with descriptors enough, want %d", silentPlaces(1), maxSilent)
	}
}

func TestLargeBodiesAreNotCopied(t *testing.T) {
	small, large := &Notification{Body: make([]byte, largeBody-1)}, &Notification{Body: make([]byte, largeBody)}
	few, many := whole(seriesOf([]*Notification{{}, {Body: []byte("few")}})), whole(seriesOf([]*Notification{small, {}, small}))
	one, two := &Resource{handle: 5}, &Resource{handle: 70_001}
	items := []item{
		{what: parcel{one: small}, one: one}, {entry: []byte("entry")}, {what: parcel{one: large}, many: []*Resource{one, two}},
		{what: parcel{one: large}, one: one},
		{what: few, one: one}, {what: parcel{one: small}, one: one}, {what: few, many: []*Resource{one, two}}, {what: many, many: []*Resource{two, one}},
		{what: parcel{series: many.series, from: 0, to: 1}, one: two}, {what: parcel{series: many.series, from: 1, to: 3}, one: two},
		{what: parcel{series: many.series, from: 2, to: 3}, one: one}, {what: few, one: two},
	}
	for _, want := range []int{3, 1, 4, 1, 1, 1, 1} {
		n, size := batch(items, wire.BatchSize)
		if n != want {
			t.Fatalf("a batch of %d, want %d", n, want)
		}
		var b, plain, tail []byte
		for i := range items[:want] {
			it := &items[i]
			if b, tail, _ = it.encode(b, nil); it.entry != nil {
				plain = append(plain, it.entry...)
			} else {
				plain = wire.AppendProvider(plain, plainEntry(it))
			}
		}
		if len(b) > size {
			t.Errorf("%d bytes, said to be %d at most", len(b), size)
		}
		shared := items[want-1].what.shared()
		if len(tail) != len(shared) || len(tail) > 0 && &tail[0] != &shared[0] {
			t.Errorf("a tail of %d bytes, want %d", len(tail), len(shared))
		}
		if !bytes.Equal(append(b, tail...), plain) {
			t.Errorf("%d bytes, want %d", len(b)+len(tail), len(plain))
		}
		items = items[want:]
	}
	if len(items) > 0 {
		t.Errorf("%d items are left", len(items))
	}
}

// plainEntry returns the entry that notifications are.
func plainEntry(it *item) *wire.ProviderEntry {
	e := &wire.ProviderEntry{Kind: wire.Notification}
	if it.one != nil {
		e.Handles = append(e.Handles, it.one.handle)
	}
	for _, r := range it.many {
		e.Handles = append(e.Handles, r.handle)
	}
	for _, n := range contents(it.what) {
		e.Bodies = e.Bodies.Append(n.Body)
	}
	return e
}

func TestBatchesHaveTheirSize(t *testing.T) {
	items := []item{{entry: make([]byte, 60)}, {entry: make([]byte, 40)}, {entry: make([]byte, 1)}, {entry: make([]byte, 500)}}
	for _, want := range [][2]int{{2, 100}, {1, 1}, {1, 500}} {
		n, size := batch(items, 100)
		if n != want[0] || size != want[1] {
			t.Fatalf("%d items of %d bytes, want %v", n, size, want)
		}
		items = items[n:]
	}
	if got := cap(bufferFor(1000, wire.BatchSize)); got < wire.BatchSize {
		t.Errorf("a buffer of %d", got)
	}
	if got := cap(bufferFor(1000, 16<<10)); got > 2000 {
		t.Errorf("a buffer of %d for 1000 bytes, with little memory", got)
	}
}

func TestProcessesFitWhatThereIs(t *testing.T) {
	for _, test := range []struct {
		descriptors int
		memory      int64
		want        int
	}{
		{1 << 30, 0, 10000},
		{1 << 30, 1 << 50, 10000},
		{1024, 0, 480},
		{10, 0, 1},
		{1 << 30, 64 << 20, 256},
		{256, 64 << 20, 96},
		{1 << 30, 1000, 1},
	} {
		if got := processesFor(test.descriptors, test.memory); got != test.want {
			t.Errorf("%d descriptors and %d bytes of memory: %d, want %d", test.descriptors, test.memory, got, test.want)
		}
	}
}

func TestHardTopFitsTheMemory(t *testing.T) {
	for _, test := range []struct {
		message      int
		memory, want int64
	}{
		{1 << 20, 0, 16 << 20},
		{1 << 20, 16 << 30, 16 << 20},
		{1 << 20, 256 << 20, 4 << 20},
		{1 << 20, 64 << 20, 1<<20 + 64<<10},
	} {
		if got := hardTopFor(test.message, test.memory); int64(got) != test.want {
			t.Errorf("message %d, memory %d: %d, want %d", test.message, test.memory, got, test.want)
		}
	}
}
