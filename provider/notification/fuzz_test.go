package notification

import (
	"bytes"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"crier.local/provider"
)

// FuzzRoom plays what TestRoomModel plays, as bytes tell: one byte for each
// action, and one for each thing that an action decides, who does it or how large
// it is. So a change of one byte changes one thing, and coverage can guide the
// search.
func FuzzRoom(f *testing.F) {
	for seed := range byte(12) {
		f.Add(anyInput(seed, 16<<(seed%5)), anyInput(^seed, 64<<(seed%5)))
	}
	f.Add([]byte{}, []byte{})
	f.Add(bytes.Repeat([]byte{3, 4, 2, 8, 11}, 20), bytes.Repeat([]byte{0xff}, 200))
	f.Add(bytes.Repeat([]byte{3, 3, 3, 2, 2, 6, 7, 5, 13}, 20), bytes.Repeat([]byte{0xc0, 0x40, 0x80, 0x20, 0xe0}, 100))
	f.Fuzz(func(t *testing.T, actions, decisions []byte) {
		playBytes(t, actions[:min(len(actions), maxActions)], decisions)
	})
}

const (
	// maxActions bounds a play, and tail is how many decisions are all zero when
	// the bytes have run out.
	maxActions = 300
	tail       = 4 * maxActions
)

// impossible is what an action panics with that cannot be done now.
type impossible struct{}

// playBytes plays, and returns what is left of the world.
func playBytes(t *testing.T, actions, decisions []byte) (w *world) {
	t.Helper()
	rapid.MakeFuzz(func(rt *rapid.T) {
		w = playRoom(t, rt, provider.Limits{}, func(w *world) {
			w.skip = func(*rapid.T, string) { panic(impossible{}) }
			all := w.actions()
			names := slices.Sorted(maps.Keys(all))
			for _, b := range actions {
				act(rt, all[names[int(b)%len(names)]])
				w.checkBounds(rt)
			}
		})
	})(t, draws(decisions))
	return w
}

// act does an action, if it is possible.
func act(rt *rapid.T, action func(*rapid.T)) {
	defer func() {
		if cause := recover(); cause != nil && cause != (impossible{}) {
			panic(cause)
		}
	}()
	action(rt)
}

// draws makes a draw of rapid's, of eight bytes, of each byte.
func draws(decisions []byte) []byte {
	all := make([]byte, 0, 8*(len(decisions)+tail))
	for _, b := range decisions {
		all = append(all, b, b, b, b, b, b, b, b)
	}
	return all[:cap(all)]
}

func anyInput(seed byte, n int) []byte {
	input := make([]byte, n)
	rand.NewChaCha8([32]byte{seed}).Read(input)
	return input
}

// TestFuzzRoomExplores: bytes lead as far as the model is about.
func TestFuzzRoomExplores(t *testing.T) {
	seen := map[string]int{}
	for seed := range byte(30) {
		w := playBytes(t, anyInput(seed, maxActions), anyInput(^seed, 4*maxActions))
		seen["sends"] += len(w.sends)
		seen["guests"] += len(w.guests)
		for _, g := range w.guests {
			for _, e := range g.heard {
				seen[e.Kind.String()]++
			}
		}
	}
	t.Logf("in 30 plays: %v", seen)
	for _, what := range []string{"sends", "guests", "message", "joined", "left", "renamed", "gap", "members"} {
		if seen[what] == 0 {
			t.Errorf("in 30 plays there was none of: %s", what)
		}
	}
}
