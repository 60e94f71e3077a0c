// Package listen opens the sockets that the configuration names, so that a new copy of the program can take over from
// an old one without losing anything: either the copies share the address, or the service manager keeps the sockets
// open for both. A ConnLimiter caps the open connections.
//
// It knows nothing of what is said over the sockets.
//
//	opener.go        sockets of the service manager, or new ones
//	listen.go        TCP listeners, and how they are drained
//	unix.go          Unix sockets
//	share_*.go       an address that two processes share (SO_REUSEPORT)
//	drain_*.go       at shutdown, new connections go to the other process
//	check_*.go       whether an address is free, without listening
//	accept.go        an accept loop that outlives errors
//	limit.go         a listener with a limit of connections
//	connlimit.go     which connection is closed for a new one at the limit
//	descriptors_*.go how many descriptors the process may have
//	udpbatch*.go     UDP messages received, answered and sent many at a time
//	mmsg_linux.go    recvmmsg and sendmmsg
//	thread_*.go      a thread for a reader that gets its turn soon
//	errors.go        errors without the addresses of clients
package listen
