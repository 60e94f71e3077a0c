// Package transfer gives the zone to secondaries: whole (AXFR, RFC 5936) or what has changed (IXFR, RFC 1995), signed
// where they have a key. It keeps the latest versions, in state_dir also across restarts.
//
// It knows records, not mirrors: the authority publishes each version to it before it answers from it. It opens no
// socket.
package transfer
