package authority

import (
	"math/rand/v2"
	"net/netip"
	"sync/atomic"
	"time"

	"mirrorpool/dnspool/authority/dnssec"
	"mirrorpool/dnspool/authority/wire"

	"github.com/miekg/dns"
)

// A fastPath answers queries from prepared answers, for one socket or connection. Each has its own position in the
// decks, so none waits for another.
type fastPath struct {
	zone  *atomic.Pointer[zone]
	tally *tally
	next  [2]uint32 // the card to be dealt next, by family
	name  [wire.MaxNameSize]byte
	key   [dnssec.MaxSortKey]byte // scratch space of attested answers
	slips uint                    // see slip
}

func newFastPath(z *atomic.Pointer[zone], t *tally) *fastPath {
	return &fastPath{zone: z, tally: t, next: [2]uint32{rand.Uint32(), rand.Uint32()}}
}

// Respond is respond for a message over UDP; see [listen.Responder].
func (p *fastPath) Respond(dst, msg []byte, peer netip.AddrPort, came time.Time) (response []byte, ok bool) {
	return p.respond(dst, msg, client{addr: peer.Addr(), port: peer.Port(), now: came})
}

// Answered counts how long a batch took; see [listen.Responder].
func (p *fastPath) Answered(came time.Time) { p.tally.answered(came) }

// respond appends the response to msg to dst. If ok is false, miekg/dns must answer: the query is not plain, the answer
// does not fit, or none is prepared; msg may have been changed to what miekg/dns understands. If ok is true and dst is
// unchanged, send nothing. Malformed messages get FORMERR here.
func (p *fastPath) respond(dst, msg []byte, from client) (response []byte, ok bool) {
	z := p.zone.Load()
	switch {
	case len(msg) < wire.HeaderSize: // it may signal that the socket is shut
		return dst, false
	case !from.answerable():
		return dst, true
	case z == nil || wire.IsResponse(msg):
		return dst, false // SERVFAIL, for now; silence
	}
	from.size = len(msg)
	var q wire.Query
	switch {
	case !q.Parse(msg, &p.name):
		return p.respondUnplain(dst, msg, z, from)
	case !z.allows(&from, q.Cookie):
		return p.slip(dst, msg, z, &q, from), true
	}
	if response, ok = p.respondPrepared(dst, msg, z, &q, &from); !ok {
		wire.Simplify(msg, q.Options)
	}
	return response, ok
}

// respondUnplain is respond for a query that is not plain. What its shape alone decides is answered here.
func (p *fastPath) respondUnplain(dst, msg []byte, z *zone, from client) (response []byte, ok bool) {
	s, f := wire.Vet(msg)
	q := s.Query()
	switch {
	case f != wire.NoFault:
		return p.refuse(dst, msg, z, s, f, from), true
	case !z.allows(&from, q.Cookie):
		return p.slip(dst, msg, z, &q, from), true
	case s.Questions == 0:
		dst, rcode := z.cookies.AppendReply(dst, msg, &q, z.maxSize, from.addr, from.now)
		p.tally.count(dns.TypeNone, rcode)
		return dst, true
	case !s.Signed:
		wire.Simplify(msg, q.Options)
	case new(dns.Msg).Unpack(msg) != nil: // it could be simplified, if that did not break the signature
		return p.refuse(dst, msg, z, s, wire.Malformed, from), true
	}
	return dst, false
}

// refuse appends the response to a message with a fault.
func (p *fastPath) refuse(dst, msg []byte, z *zone, s wire.Shape, f wire.Fault, from client) []byte {
	if !z.allows(&from, nil) {
		p.tally.limited[dropped].Add(1)
		return dst
	}
	p.tally.count(dns.TypeNone, f.Rcode())
	return wire.AppendFault(dst, msg, s, f, z.maxSize)
}

// respondPrepared appends the prepared response to a plain query.
func (p *fastPath) respondPrepared(dst, msg []byte, z *zone, q *wire.Query, from *client) (response []byte, ok bool) {
	switch {
	case z.signed == nil: // it is not to be signed
	case q.DO:
		return p.respondAttested(dst, msg, z, q, from)
	case z.signed != z && isSignedOnly(q.Type):
		return dst, false
	}
	n, how := z.prepared.find(q.Name)
	a := n.plain(how, q.Type)
	if a == nil || q.End+a.size > z.room(q, from, false) {
		return dst, false
	}
	start := len(dst)
	dst = a.appendTo(dst, msg, q, p.nextCard(a))
	p.tally.count(q.Type, int(a.rcode))
	if q.EDNS {
		dst = z.appendOPT(dst, start, q, from)
	}
	return dst, true
}

// respondAttested is respondPrepared with signatures. It leaves it to respond once one has expired,
// or where mirrors are withheld.
func (p *fastPath) respondAttested(
	dst, msg []byte, z *zone, q *wire.Query, from *client,
) (response []byte, ok bool) {
	signed := z.signed
	withheld := z.withheld != nil && isAddress(q.Type)
	if withheld || !signed.signing.holds(from.now) || signed.prepared.attested == nil {
		return dst, false
	}
	n, how := signed.prepared.find(q.Name)
	a := signed.prepared.attested.answer(n, how, q, &p.key)
	if a.preparedRRs == nil || q.End+a.fullSize() > z.room(q, from, true) {
		return dst, false
	}
	start := len(dst)
	dst = a.appendTo(dst, msg, q, p.nextCard(a.preparedRRs))
	p.tally.count(q.Type, int(a.rcode))
	if q.EDNS {
		dst = z.appendOPT(dst, start, q, from)
	}
	return dst, true
}

// room is how many bytes a response may have before the OPT record that q asks for.
func (z *zone) room(q *wire.Query, from *client, attested bool) int {
	if !q.EDNS {
		return z.limit(from, q.Size, false, attested)
	}
	if q.Cookie == nil {
		return z.limit(from, q.Size, false, attested) - wire.OptSize
	}
	_, trusted := z.cookies.Valid(q.Cookie, from.addr, from.now)
	return z.limit(from, q.Size, trusted, attested) - wire.OptSize - wire.OptionHead - wire.CookieSize
}

// appendOPT appends the OPT record of a response, which begins at start.
func (z *zone) appendOPT(dst []byte, start int, q *wire.Query, from *client) []byte {
	dst[start+wire.HeaderSize-1] = 1
	dst = q.AppendOPT(dst, z.maxSize, 0)
	if q.Cookie != nil {
		dst = z.cookies.AppendOption(dst, q, from.addr, from.now)
	}
	return dst
}

// nextCard returns the position of the card to give.
func (p *fastPath) nextCard(a *preparedRRs) uint32 {
	if a.count == 1 {
		return 0
	}
	p.next[a.family]++
	return p.next[a.family]
}
