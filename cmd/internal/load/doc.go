// Package load is the arithmetic of a load: messages that carry their number and
// when they were due, a ledger of those that arrived, the latencies, and the
// schedule of who sends. It knows no transport, so that one measure fits all.
package load
