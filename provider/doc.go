// Package provider is the side of Crier that holds things.
//
// A provider offers services and lets processes attach:
//
//	p := provider.New(provider.Options{Name: "clock"})
//	p.Provide(selector, handler, provider.ServiceOptions{})
//	p.Listen(api.UnixEndpoint("/run/crier/clock.sock"))
//	defer p.Close()
//
// An attached process opens a [Session] of a service and calls its methods,
// which arrive at the service's [Handler]. A handler may make a [Resource]: what
// the provider holds for that session, named by a handle in the client, able to
// notify it, and closed at the latest when the session is. A service that pushes
// the same to many puts their resources into a [Group].
//
// Package notification, below this one, is such a service. It uses nothing that
// is not exported here.
//
// # Order
//
// All that goes to one process goes over one stream, in the order in which it
// was queued; a notification never overtakes the reply that made its resource
// known. A resource's notifications arrive in the order of Notify and Append.
// The calls of a process start in the order in which they were sent; how they
// run is the service's choice: at once in goroutines ([Handler]), one by one
// ([ServiceOptions].Sequential), or on the goroutine that reads ([InlineHandler]).
//
// # Blocking
//
// Nothing here waits for a client. What is notified goes into the resource's
// queue and leaves when the client has given credit for it; a full queue is
// [api.ErrFull] at once, or what the resource's Overflow says. Hooks and inline
// handlers run on the goroutine that serves the process: they must not block.
//
// # Death
//
// However a process ends, its stream ends, and with it every session, and with
// each session its resources: OnClosed runs exactly once for each, and then the
// services hear of the sessions. Nothing can be made in a session that has
// ended. A process that breaks the protocol or goes over a limit is told why and
// sent away; nobody else notices.
//
// # Where it is found
//
// A socket belongs to one provider: a lock beside it says to whom. If somebody
// removes or replaces the socket, the lock file, the announcement or their
// directory, the provider makes them anew within a moment, and says so in its
// log; those attached notice nothing. What another program listens on, or
// another provider has locked, it leaves alone: it logs who that is and takes the
// path back when it is free. It hears of this from the kernel (inotify); where it
// cannot, and that is logged, it looks every ten seconds. A directory further up
// that is renamed, or mounted over, goes unnoticed.
//
// A socket that somebody else has opened, such as systemd, is served by
// [Provider.Adopt]. It stays whose it is: the provider looks after its announcement
// alone, and clients that find a socket without one connect to it once, by which a
// provider is started that is not there yet.
//
// # Over TCP
//
// TCP needs Options.TLS: both sides show a certificate, and the one shown says
// who a process is ([api.Identity]). The files are looked at for each connection;
// what replaces them counts from the next on, and ends none. A process that cannot
// be reached, or does not answer, is sent away within 15 seconds, as unreachable;
// one that its kernel reports dead, at once. Connections that fail to show who
// they are keep nobody on a unix socket waiting, and nobody on TCP for longer than
// a greeting may take.
//
// # Not promised
//
// That a notification was taken by the client's program: credit says so only in
// bytes. That two resources of different processes hear of something at the same
// time. That anything outlives the provider.
package provider
