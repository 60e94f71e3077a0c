package authority

import (
	"net"
	"net/netip"
	"slices"
	"time"
)

// An asker is who has sent a message, and how.
type asker struct {
	addr   netip.Addr
	port   uint16
	stream bool // over TCP, where the address is no lie and the message may be of any size
	size   int  // of the message, bytes; 0 if it is not known
	now    time.Time
}

// askerOf tells who has sent a message that miekg/dns has read.
func askerOf(addr net.Addr, now time.Time) asker {
	switch a := addr.(type) {
	case askerAddr:
		return a.asker(now)
	case *net.UDPAddr:
		return asker{addr: a.AddrPort().Addr(), port: uint16(a.Port), now: now}
	case *net.TCPAddr:
		return asker{addr: a.AddrPort().Addr(), port: uint16(a.Port), stream: true, now: now}
	default:
		return asker{now: now}
	}
}

// An askerAddr is the address of a client on one of our own connections, which know more about it. An address is all that
// miekg/dns lets a handler see of a connection.
type askerAddr interface{ asker(now time.Time) asker }

// noAnswerPorts are source ports from which no client asks, but which are chosen to make a server talk to another
// service, or to itself, without end: none, echo, daytime, quotd, chargen, time, kpasswd.
var noAnswerPorts = []uint16{0, 7, 13, 17, 19, 37, 464}

// answerable reports whether a response would go to a client.
func (a asker) answerable() bool {
	return a.stream || a.port > 1023 || !slices.Contains(noAnswerPorts, a.port)
}

// amplification is how many times as large as its query a response over UDP may be, for a client that has not proved by
// a cookie that its address is its own. What does not fit is truncated, and asked for over TCP.
const amplification = 10

// limit is how large a response may be. offered is what the client can take over UDP.
func (z *zone) limit(from asker, offered int, trusted bool) int {
	if from.stream {
		return maxTCPMessage
	}
	limit := min(offered, int(z.maxSize))
	if !trusted {
		limit = min(limit, amplification*from.size)
	}
	return limit
}
