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

// answer appends the response to msg to dst. If ok is false, dst is as it was, and miekg/dns has to answer: the query is
// not plain, or its answer does not fit or is not prepared. msg may have been changed then, to what miekg/dns understands.
// If ok is true and dst as it was, there is no response.
func (d *dealer) answer(dst, msg []byte, from asker) (response []byte, ok bool) {
	z := d.zone.Load()
	switch {
	case len(msg) < headerSize: // it may be the sign that the socket is shut
		return dst, false
	case !from.answerable():
		return dst, true
	case z == nil || isResponse(msg):
		return dst, false // SERVFAIL, for now; silence
	}
	from.size = len(msg)
	q, plain := parse(msg, &d.name)
	switch {
	case !plain:
		return d.answerOther(dst, msg, z, from)
	case !z.allows(from, q.cookie):
		return d.slip(dst, msg, z, &q, from), true
	}
	if response, ok = d.deal(dst, msg, z, &q, from); !ok {
		simplify(msg, q.options)
	}
	return response, ok
}

// answerOther is answer for a query that is not plain. What needs no more than a look at its shape is answered here.
func (d *dealer) answerOther(dst, msg []byte, z *zone, from asker) (response []byte, ok bool) {
	s, f := vet(msg)
	q := s.query()
	switch {
	case f != noFault:
		return d.refuse(dst, msg, z, s, f, from), true
	case !z.allows(from, q.cookie):
		return d.slip(dst, msg, z, &q, from), true
	case s.questions == 0:
		dst, rcode := z.appendCookieReply(dst, msg, &q, from)
		d.tally.count(dns.TypeNone, rcode)
		return dst, true
	case !s.signed:
		simplify(msg, q.options)
	case new(dns.Msg).Unpack(msg) != nil: // it could be simplified, if that did not break the signature
		return d.refuse(dst, msg, z, s, malformed, from), true
	}
	return dst, false
}

// refuse appends the response to a message with a fault.
func (d *dealer) refuse(dst, msg []byte, z *zone, s shape, f fault, from asker) []byte {
	if !z.allows(from, nil) {
		d.tally.limited[dropped].Add(1)
		return dst
	}
	d.tally.count(dns.TypeNone, f.rcode())
	return appendFault(dst, msg, s, f, z.maxSize)
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
