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
	slips uint // see slip
}

func newDealer(z *atomic.Pointer[zone], t *tally) *dealer {
	return &dealer{zone: z, tally: t, next: [2]uint32{rand.Uint32(), rand.Uint32()}}
}

// answer appends the response to msg to dst. ok is false, and dst as it was, for what it leaves to miekg/dns: all that is
// not plain, does not fit or is not prepared. What has a fault does not get that far, nor what is not to be answered: then
// ok is true and dst as it was.
func (d *dealer) answer(dst, msg []byte, from asker) (response []byte, ok bool) {
	z := d.zone.Load()
	switch {
	case len(msg) < headerSize: // it may be the sign that the socket is shut
		return dst, false
	case !from.answerable():
		return dst, true
	case z == nil:
		return dst, false // SERVFAIL, for now
	}
	from.size = len(msg)
	q, plain := parse(msg, &d.name)
	var s shape
	if !plain {
		var f fault
		if s, f = vet(msg); f != noFault {
			if !z.allows(from, nil) {
				d.tally.limited[dropped].Add(1)
				return dst, true
			}
			d.tally.count(dns.TypeNone, dns.RcodeFormatError)
			return appendFormErr(dst, msg, s, f, z.maxSize), true
		}
		q.end, q.edns, q.cookie = s.end, s.opt != nil, cookieIn(s.options())
		q.do = q.edns && s.opt[6]&0x80 != 0
	}
	if !z.allows(from, q.cookie) {
		return d.slip(dst, msg, z, &q, from), true
	}
	if !plain {
		return dst, false
	}
	return d.deal(dst, msg, z, &q, from)
}

// deal appends the prepared response to a plain query.
func (d *dealer) deal(dst, msg []byte, z *zone, q *query, from asker) (response []byte, ok bool) {
	a := z.prepared.find(q)
	if a == nil {
		return dst, false
	}
	size, trusted := q.end+a.size, false
	if q.edns {
		size += optSize
	}
	if q.cookie != nil {
		size += optionHead + cookieSize
		_, trusted = z.cookies.valid(q.cookie, from.addr, from.now)
	}
	if size > z.limit(from, q.size, trusted) {
		return dst, false
	}
	d.tally.count(q.qtype, int(a.rcode))
	dst = a.appendTo(dst, msg, q, d.card(a), z.maxSize)
	if q.cookie != nil {
		dst = z.appendCookie(dst, q, from)
	}
	return dst, true
}

// card returns the card to give.
func (d *dealer) card(a *answers) uint32 {
	if a.count == 1 {
		return 0
	}
	d.next[a.family]++
	return d.next[a.family]
}
