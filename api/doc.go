// Package api is Crier's contract: the words that a provider and its clients
// share. It holds no machinery and needs nothing but the standard library.
//
// A provider offers services. A [Selector] names one: a uuid that never
// changes and a version that does. A client process attaches to the provider
// at an [Endpoint], and opens sessions of services; in a session it calls
// methods by number and gets back bytes or a [Handle], the integer that names
// something the provider now holds for it.
//
// Whatever goes wrong is one of the errors of this package, or a [*CallError]
// when the code of a service said no. Both survive the wire: a sentinel sent by
// the provider is the same sentinel, under [errors.Is], in the client.
//
// The notification service, rooms in which connections hear each other, is a
// service like any other; its methods and events are in notification.go.
//
// PROTOCOL.md beside this file says how all of it travels, for those who write
// a client in another language.
package api
