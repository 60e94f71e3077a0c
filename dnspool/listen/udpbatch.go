package listen

import (
	"net"
	"net/netip"
	"time"
)

// A Responder answers messages that have come over UDP. It is called by one goroutine.
type Responder interface {
	// Respond appends the response to msg, which came from peer, to dst. If ok is false, the message is left to the
	// reader of the connection, and may have been changed. If ok is true and dst is unchanged, there is no response.
	Respond(dst, msg []byte, peer netip.AddrPort, came time.Time) (response []byte, ok bool)

	// Answered is called when the responses to messages that came at a time have been sent.
	Answered(came time.Time)
}

// BatchSizes are the sizes of messages over UDP, in bytes.
type BatchSizes struct{ Query, Response int }

// A MessageAddr is the address of a message that a Responder has left to the reader.
type MessageAddr interface {
	net.Addr
	Peer() netip.AddrPort
	Size() int // of the message, bytes
}
