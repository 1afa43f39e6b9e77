// Package client attaches a process to a Crier provider and uses its services.
// It knows nothing of rooms: package client/notification, built on this one,
// does.
//
// [Dial] finds a provider and attaches to it. [Client.Open] opens a session of
// a service, in which [Session.Invoke] calls methods by number. A method may
// return a [Resource], something that the provider holds until it is closed:
// [Resource.Invoke] and [Resource.Post] call methods on it, and
// [Resource.Receive] returns what the provider has to notify of.
//
// # Where the provider is found
//
// Where [Options].Address says, or else CRIER_ADDRESS, or else where an announcement in
// the run directories says: of those that live and fit, the one with the highest
// priority. If there is none, Dial connects to the sockets in there that nobody announces
// (NAME.sock), and hangs up: where systemd listens for a provider, that starts it. Then
// [Options].Wait is the time that it has to announce itself.
//
// # Order
//
// All that one goroutine sends arrives in the order in which it was sent, over
// all sessions. The provider starts calls in that order, and then they run at
// the same time, unless the service says otherwise; the posts and calls of a
// resource of the notification service are carried out in order. Notifications
// of a resource are received in the order in which the provider sent them. None
// comes before the reply that made its resource.
//
// # Blocking
//
// What takes a context blocks until it is done or the context ends. A call on a
// resource waits while too many bytes of earlier ones have not ended (the
// resource's window), and every call waits while a MiB of calls has not been
// written. A resource whose notifications are not received stops getting them,
// when its other window is used up, and is alone in that: nothing in the client
// waits for it. An idle client uses no processor time.
//
// # Death
//
// A session and its resources end when they are closed, and at the latest with
// the stream over which they were opened: when the provider or the link dies
// ([api.ErrDisconnected]), when the provider says farewell for good
// ([api.ErrGone]), or with [Client.Close] ([api.ErrClosed]). A resource that the
// provider ends says why in an [*api.EvictedError]. What had arrived by then can
// still be received.
//
// The client outlives its stream. It attaches again, for ever unless told
// otherwise, and [Client.Attached] tells when: what was open before is to be
// opened anew.
//
// When the process dies, however it dies, the provider closes everything that
// it held. A forgotten session is held as long as the process lives. The process
// is the one that dialled: a program that daemonises must dial in the process
// that stays.
//
// # What is not promised
//
// A call whose answer did not come may have been carried out or not, and
// nothing is sent a second time: [api.ErrOutcomeUnknown] says so. A post that
// was accepted here has not arrived before [Resource.Flush] says so. Numbers
// (sessions, handles) mean nothing over another stream.
package client
