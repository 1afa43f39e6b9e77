// Package notification connects a process to the rooms of a Crier provider:
// whoever is in a room hears what the others send into it.
//
// [Dial] attaches to a provider, and [Client.Connect] takes a seat in a room,
// with or without a name. [Connection.Send] sends a message and tells how many
// it was queued for; [Connection.Post] does not wait for that, and
// [Connection.Flush] says later what became of all posts. [Connection.Receive],
// or the iterator [Connection.Events], returns what happens in the room:
// messages, and if the connection asked for presence, who comes and goes.
//
// # Order
//
// All connections of a room receive its events in the same order, with numbers
// that rise. What one goroutine sends over one connection keeps its order. With
// presence, a list of the members comes first, and then every change to it;
// nothing is missed between them and nothing told twice.
//
// # Blocking
//
// A send waits until every receiver in the room can take it, up to the time
// (5 seconds, unless the provider says otherwise) after which the provider
// evicts a receiver that takes nothing. Receivers that chose [api.OverflowGap]
// are not waited for: they get a gap event for what they lost. So call Receive
// all the time, and don't let it wait for sends to a room whose receivers wait
// for theirs; if it comes to that, a send fails with [api.ErrFull].
//
// While the provider is lost, or about to go, sends and Receive wait for the next
// one, until their context ends. The methods of one connection may be called
// concurrently.
//
// # Death
//
// When the process dies, the provider tells the rooms it was in that it died.
// [Connection.Close] waits for the posts to end and leaves in order.
//
// When the link or the provider dies, a [Connection] stays: as soon as there is
// a provider again it is opened anew by its room and its present name. Receive
// then returns, after all that had arrived, one event that tells which numbers
// may have been missed (reconnected) or that another run of the provider began
// (restarted), and with presence a new list of the members. If somebody else
// has taken the name and keeps it for 5 seconds, the connection ends with
// [api.ErrNameTaken]. Eviction ends it too, with an [*api.EvictedError], and so
// does a provider that says farewell for good, with [api.ErrGone].
//
// # What is not promised
//
// A message is heard by those who are there. It is not kept for those who come
// later, nor for those whose link was lost. A send whose receipt did not come
// may have been admitted: [api.ErrOutcomeUnknown] says so, and nothing is sent a
// second time. A receipt says that the message was queued, not that anybody has
// read it.
package notification
