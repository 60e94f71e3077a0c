package authority

import (
	"net"
	"net/netip"
	"slices"
	"time"

	"mirrorpool/dnspool/listen"
)

// A client is the sender of a message, and how it came.
type client struct {
	addr   netip.Addr
	port   uint16
	stream bool // over TCP: the address is not spoofed, and responses may be of any size
	size   int  // of the message, bytes; 0 if it is not known
	now    time.Time
}

// clientOf returns the sender of a message that miekg/dns has read.
func clientOf(addr net.Addr, now time.Time) client {
	switch a := addr.(type) {
	case clientAddr:
		return a.asClient(now)
	case listen.MessageAddr:
		peer := a.Peer()
		return client{addr: peer.Addr(), port: peer.Port(), size: a.Size(), now: now}
	case *net.UDPAddr:
		return client{addr: a.AddrPort().Addr(), port: uint16(a.Port), now: now}
	case *net.TCPAddr:
		return client{addr: a.AddrPort().Addr(), port: uint16(a.Port), stream: true, now: now}
	default:
		return client{now: now}
	}
}

// A clientAddr is the address of a client on one of our own connections, which know more about it. An address is all
// that miekg/dns lets a handler see of a connection.
type clientAddr interface{ asClient(now time.Time) client }

// noAnswerPorts are source ports that no client uses. Attackers choose them to make a server talk to another service,
// or to itself, without end: none, echo, daytime, quotd, chargen, time, kpasswd.
var noAnswerPorts = []uint16{0, 7, 13, 17, 19, 37, 464}

// answerable reports whether a response would go to a client.
func (a client) answerable() bool {
	return a.stream || a.port > 1023 || !slices.Contains(noAnswerPorts, a.port)
}

// amplification is how many times as large as its query a response over UDP may be, for a client that has not proved by
// a cookie that its address is its own. What does not fit is truncated, and asked for over TCP. With signatures it may
// be a little more: a denial of a short name, three signed sets, would otherwise need TCP, and resolvers that send no
// cookies would bring floods of such names over TCP.
const (
	amplification         = 10
	attestedAmplification = 12
)

// limit is how large a response may be. offered is what the client can take over UDP.
func (z *zone) limit(from *client, offered int, trusted, attested bool) int {
	if from.stream {
		return maxTCPMessage
	}
	limit := min(offered, int(z.maxSize))
	if factor := amplification; !trusted {
		if attested {
			factor = attestedAmplification
		}
		limit = min(limit, factor*from.size)
	}
	return limit
}
