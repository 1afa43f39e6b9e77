// Package notification is the notification service: rooms whose connections
// hear each other. It is built on package provider as any other service would
// be, and [Register] is all that a provider's program needs of it.
//
// # A room
//
// A connection is a resource; connecting to a room that is not there makes it,
// and the room ends with its last connection. What a connection sends reaches
// every other receiving connection of its room (with echo also itself), and
// those who asked for presence hear who came, left and got another name. Only a
// connection that has a name and receives is a member: the others are shown to
// operators, and not announced.
//
// # What is promised about order
//
// Everything a room does gets the room's next sequence number under the room's
// lock, and is appended to all queues in the same step. So all members see one
// order. A snapshot of the members is queued in the step in which a connection
// is added: it misses nothing and sees nothing twice.
//
// # What is promised about waiting
//
// A send is admitted when every receiver that wants to be waited for can take
// it. Until then it is parked, first come first served, and no goroutine waits
// with it: the step that makes room admits it. Presence never waits.
//
// A receiver for which a send waits has a clock, which starts anew with every
// 16 KiB it takes. When the clock runs out it is evicted, and the others are
// told left{slow}. If it has sends of its own parked, it is perhaps stuck in
// them: then these fail with [api.ErrFull], and so do those it sends until it
// takes something again, and it is evicted only when the clock runs out once
// more.
//
// A receiver that prefers gaps is never waited for. Its oldest events are
// dropped, and one record at the head of its queue tells how many of which; if
// events of presence were among them, a snapshot of the members follows.
//
// # What is promised about death
//
// When a connection ends, for whatever reason, its parked sends end with it, it
// gets nothing more, and nothing of it comes after left. The connections of one
// process that end together are announced together, when all of them are gone;
// until then they keep their names.
//
// # What is not promised
//
// Nothing is kept for a connection that is not there, and nothing outlives the
// provider.
package notification
