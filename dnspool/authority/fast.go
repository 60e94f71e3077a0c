package authority

import (
	"math/rand/v2"
	"sync/atomic"

	"mirrorpool/dnspool/authority/wire"

	"github.com/miekg/dns"
)

// A dealer answers queries from prepared answers, for one socket or connection. Each deals for itself, so
// that none waits for another.
type dealer struct {
	zone  *atomic.Pointer[zone]
	tally *tally
	next  [2]uint32 // the card to be dealt next, by family
	name  [wire.MaxNameSize]byte
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
	case len(msg) < wire.HeaderSize: // it may be the sign that the socket is shut
		return dst, false
	case !from.answerable():
		return dst, true
	case z == nil || wire.IsResponse(msg):
		return dst, false // SERVFAIL, for now; silence
	}
	from.size = len(msg)
	q, plain := wire.Parse(msg, &d.name)
	switch {
	case !plain:
		return d.answerOther(dst, msg, z, from)
	case !z.allows(from, q.Cookie):
		return d.slip(dst, msg, z, &q, from), true
	}
	if response, ok = d.deal(dst, msg, z, &q, from); !ok {
		wire.Simplify(msg, q.Options)
	}
	return response, ok
}

// answerOther is answer for a query that is not plain. What needs no more than a look at its shape is answered here.
func (d *dealer) answerOther(dst, msg []byte, z *zone, from asker) (response []byte, ok bool) {
	s, f := wire.Vet(msg)
	q := s.Query()
	switch {
	case f != wire.NoFault:
		return d.refuse(dst, msg, z, s, f, from), true
	case !z.allows(from, q.Cookie):
		return d.slip(dst, msg, z, &q, from), true
	case s.Questions == 0:
		dst, rcode := z.cookies.AppendReply(dst, msg, &q, z.maxSize, from.addr, from.now)
		d.tally.count(dns.TypeNone, rcode)
		return dst, true
	case !s.Signed:
		wire.Simplify(msg, q.Options)
	case new(dns.Msg).Unpack(msg) != nil: // it could be simplified, if that did not break the signature
		return d.refuse(dst, msg, z, s, wire.Malformed, from), true
	}
	return dst, false
}

// refuse appends the response to a message with a fault.
func (d *dealer) refuse(dst, msg []byte, z *zone, s wire.Shape, f wire.Fault, from asker) []byte {
	if !z.allows(from, nil) {
		d.tally.limited[dropped].Add(1)
		return dst
	}
	d.tally.count(dns.TypeNone, f.Rcode())
	return wire.AppendFault(dst, msg, s, f, z.maxSize)
}

// deal appends the prepared response to a plain query.
func (d *dealer) deal(dst, msg []byte, z *zone, q *wire.Query, from asker) (response []byte, ok bool) {
	a := z.prepared.find(q)
	if a == nil {
		return dst, false
	}
	size, trusted := q.End+a.size, false
	if q.EDNS {
		size += wire.OptSize
	}
	if q.Cookie != nil {
		size += wire.OptionHead + wire.CookieSize
		_, trusted = z.cookies.Valid(q.Cookie, from.addr, from.now)
	}
	if size > z.limit(from, q.Size, trusted) {
		return dst, false
	}
	d.tally.count(q.Type, int(a.rcode))
	dst = a.appendTo(dst, msg, q, d.card(a), z.maxSize)
	if q.Cookie != nil {
		dst = z.cookies.AppendOption(dst, q, from.addr, from.now)
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
