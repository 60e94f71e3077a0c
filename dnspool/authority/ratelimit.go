package authority

import (
	"math/rand/v2"
	"net/netip"
	"sync/atomic"
	"time"

	"mirrorpool/dnspool/authority/wire"

	"github.com/dchest/siphash"
	"github.com/miekg/dns"
)

// A limiter bounds how many responses over UDP go to a client network in a second, so that queries with a forged source
// cannot make this server flood a victim. A network is an IPv4 /24 or an IPv6 /56, as in BIND.
//
// Each network may have a second's worth of responses at once (a token bucket, kept as the time at which it would be
// full again: GCRA). Networks share a fixed number of buckets by a keyed hash. That two meet in one is rare, and costs
// them no more than a retry over TCP.
type limiter struct {
	key     [2]uint64
	buckets [1 << 16]atomic.Int64 // nanoseconds since start
	start   time.Time
}

func newLimiter(now time.Time) *limiter {
	return &limiter{key: [2]uint64{rand.Uint64(), rand.Uint64()}, start: now}
}

// allow takes a response out of the bucket of addr's network, which gets rate new ones in a second, more than 0. It
// reports whether there was one. It may be called concurrently, and never waits.
func (l *limiter) allow(addr netip.Addr, rate int, now time.Time) bool {
	bucket := &l.buckets[l.hash(addr)%uint64(len(l.buckets))]
	at := int64(now.Sub(l.start))
	cost := int64(time.Second) / int64(rate)
	for {
		full := bucket.Load()
		next := max(full, at) + cost
		if next-at > int64(time.Second) && full > at {
			return false
		}
		if bucket.CompareAndSwap(full, next) {
			return true
		}
	}
}

func (l *limiter) hash(addr netip.Addr) uint64 {
	network := networkOf(addr).Addr().As16()
	return siphash.Hash(l.key[0], l.key[1], network[:])
}

// The responses to a query over the limit. A client that does not spoof its address recovers from each: it comes back
// over TCP or with the cookie it is given, or asks again.
const (
	dropped   = iota // no response
	truncated        // an empty one with TC
	badCookie        // BADCOOKIE (RFC 7873 section 5.2.3)
	limitedKinds
)

// slipEvery is how many queries over the limit without a cookie get one truncated response, to retry over TCP. The
// others are dropped, so that less leaves this server than comes in.
const slipEvery = 2

// allows reports whether a query is within the rate limit. Clients that prove their address, by a good cookie or over
// TCP, are not limited.
func (z *zone) allows(from *client, cookie []byte) bool {
	if z.limiter == nil || from.stream || z.limiter.allow(from.addr, z.rate, from.now) {
		return true
	}
	_, trusted := z.cookies.Valid(cookie, from.addr, from.now)
	return trusted
}

// slip appends the response to a client whose network is over the limit, if it gets any.
// q.end is 0 if there is no question to be answered.
func (p *fastPath) slip(dst, msg []byte, z *zone, q *wire.Query, from client) []byte {
	const response, tc = 0x80, 0x02
	what, flags, rcode := dropped, byte(response), dns.RcodeSuccess
	switch {
	case q.End == 0:
	case q.Cookie != nil:
		what, rcode = badCookie, dns.RcodeBadCookie
	default:
		if p.slips++; p.slips%slipEvery == 0 {
			what, flags = truncated, response|tc
		}
	}
	p.tally.limited[what].Add(1)
	if what == dropped {
		return dst
	}
	start := len(dst)
	dst = append(dst, msg[:q.End]...)
	dst[start+2], dst[start+3] = flags|msg[2]&0x01, byte(rcode&0xf)
	clear(dst[start+6 : start+wire.HeaderSize]) // counts of the other sections
	if q.EDNS {
		dst[start+wire.HeaderSize-1] = 1
		dst = q.AppendOPT(dst, z.maxSize, byte(rcode>>4))
	}
	if q.Cookie != nil {
		dst = z.cookies.AppendOption(dst, q, from.addr, from.now)
	}
	return dst
}
