package notification

import (
	"cmp"
	"slices"

	"crier.local/api"
	"crier.local/api/wire"
	"crier.local/provider"
)

// who carries out api.MethodWho.
func (s *Service) who(call *provider.Call) ([]byte, error) {
	name, err := wire.DecodeWho(call.Args)
	if err != nil {
		return nil, err
	}
	var seats []api.Seat
	for _, r := range s.all() {
		if name == "" || name == r.name {
			seats = append(seats, r.who()...)
		}
	}
	slices.SortFunc(seats, func(a, b api.Seat) int {
		return cmp.Or(cmp.Compare(a.Room, b.Room), cmp.Compare(a.Name, b.Name))
	})
	return wire.EncodeSeats(seats), nil
}

// who returns the connections of the room as an operator sees them.
func (r *room) who() []api.Seat {
	r.lock()
	defer r.unlock()
	var seats []api.Seat
	for _, c := range r.seats {
		if c.gone {
			continue
		}
		entries, bytes := c.resource.Queued()
		seats = append(seats, api.Seat{
			Room: r.name, Name: c.name, Handle: c.resource.Handle(),
			Session: c.session.ID(), Identity: c.session.Identity(), Since: c.since,
			Queued: entries, QueuedBytes: bytes,
			Awaited: c.awaited != nil, Parked: c.turn.parked, SendOnly: c.options.SendOnly,
		})
	}
	return seats
}

// listRooms carries out api.MethodRooms.
func (s *Service) listRooms() []byte {
	var rooms []api.RoomInfo
	for _, r := range s.all() {
		rooms = r.appendInfo(rooms)
	}
	slices.SortFunc(rooms, func(a, b api.RoomInfo) int { return cmp.Compare(a.Name, b.Name) })
	return wire.EncodeRooms(rooms)
}

// appendInfo appends what describes the room, unless it is empty. Connections
// that only send are not counted.
func (r *room) appendInfo(rooms []api.RoomInfo) []api.RoomInfo {
	r.lock()
	defer r.unlock()
	if len(r.seats) == 0 {
		return rooms
	}
	return append(rooms, api.RoomInfo{Name: r.name, Members: r.receivers.Len(), Seq: r.seq})
}

// members carries out api.MethodMembers.
func (s *Service) members(call *provider.Call) ([]byte, error) {
	c, err := connectionOf(call)
	if err != nil {
		return nil, err
	}
	r := c.room
	r.lock()
	defer r.unlock()
	if c.gone {
		return nil, api.ErrUnknownHandle
	}
	members := r.membersFor(c)
	slices.SortFunc(members, func(a, b api.Member) int { return cmp.Compare(a.Name, b.Name) })
	return wire.EncodeMembers(members), nil
}
