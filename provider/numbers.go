package provider

import (
	"math/rand/v2"
	"sync"

	"crier.local/api"
)

// handles gives out handles: one counter for the whole run, from a random start,
// and never a value that is in use.
type handles struct {
	mu   sync.Mutex
	last uint32
	live map[uint32]struct{}
}

// handleValues is how many values the bits of a handle above the lowest can have.
const handleValues = (uint32(api.MaxHandle) + 1) / 2

func newHandles() handles {
	return handles{last: rand.Uint32N(handleValues), live: map[uint32]struct{}{}}
}

func (h *handles) take(notifiable bool) api.Handle {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		if h.last++; h.last >= handleValues {
			h.last = 1 // the handle 0 names nothing
		}
		if _, taken := h.live[h.last]; !taken {
			break
		}
	}
	h.live[h.last] = struct{}{}
	handle := api.Handle(h.last << 1)
	if notifiable {
		handle |= 1
	}
	return handle
}

func (h *handles) release(handle api.Handle) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.live, uint32(handle>>1))
}

// sessionIDs gives out random session ids that are not in use.
type sessionIDs struct {
	mu   sync.Mutex
	live map[api.SessionID]struct{}
}

func (ids *sessionIDs) take() api.SessionID {
	ids.mu.Lock()
	defer ids.mu.Unlock()
	for {
		id := api.SessionID(rand.Uint32() >> 1)
		if _, taken := ids.live[id]; !taken && id != 0 {
			ids.live[id] = struct{}{}
			return id
		}
	}
}

func (ids *sessionIDs) release(id api.SessionID) {
	ids.mu.Lock()
	defer ids.mu.Unlock()
	delete(ids.live, id)
}
