package authority

import (
	"math/rand/v2"
	"sync/atomic"

	"github.com/miekg/dns"
)

// A dealer answers queries from prepared answers, for one socket or connection. Each deals for itself, so
// that none waits for another.
type dealer struct {
	zone  *atomic.Pointer[zone]
	tally *tally
	next  [2]uint32 // the card to be dealt next, by family
	name  [maxNameSize]byte
}

func newDealer(z *atomic.Pointer[zone], t *tally) *dealer {
	return &dealer{zone: z, tally: t, next: [2]uint32{rand.Uint32(), rand.Uint32()}}
}

// answer appends the response to msg to dst. ok is false, and dst as it was, for what it leaves to
// miekg/dns: all that is not plain, does not fit or is not prepared. What is not well formed does not get that
// far. stream says that the transport has no limit of its own.
func (d *dealer) answer(dst, msg []byte, stream bool) (response []byte, ok bool) {
	q, plain := parse(msg, &d.name)
	switch {
	case !plain && !wellFormed(msg):
		d.tally.count(dns.TypeNone, dns.RcodeFormatError)
		return appendFormErr(dst, msg), true
	case !plain:
		return dst, false
	}
	z := d.zone.Load()
	if z == nil {
		return dst, false
	}
	a := z.prepared.find(&q)
	if a == nil {
		return dst, false
	}
	limit := maxTCPMessage
	if !stream {
		limit = min(q.size, int(z.maxSize))
	}
	size := q.end + a.size
	if q.edns {
		size += optSize
	}
	if size > limit {
		return dst, false
	}
	d.tally.count(q.qtype, int(a.rcode))
	return a.appendTo(dst, msg, &q, d.deal(a), z.maxSize), true
}

// deal returns the card to give.
func (d *dealer) deal(a *answers) uint32 {
	if a.count == 1 {
		return 0
	}
	d.next[a.family]++
	return d.next[a.family]
}
