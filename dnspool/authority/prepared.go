package authority

import (
	"encoding/binary"
	"net/netip"

	"github.com/miekg/dns"

	"mirrorpool/dnspool"
	"mirrorpool/dnspool/authority/wire"
)

var addressTypes = [...]uint16{dns.TypeA, dns.TypeAAAA}

// Prepared answers are what a zone says, in wire format, for the queries that make up nearly all: a query
// costs a look-up and a copy. What they hold is what respond gives for the same query, byte for byte; most
// of them are made by it.
type prepared struct {
	origin string // in wire format, lower case
	nodes  map[string]*node
	static map[string]bool // names of a zone file, in wire format: they and what is below them are for respond

	attested *preparedProofs // nil: the zone is not signed
}

// A node is what is prepared for a name, and for the names below it that do not exist.
type node struct {
	unprepared bool                    // leave it to respond
	a, aaaa    *preparedRRs            // of the types that nearly all ask for
	types      map[uint16]*preparedRRs // of the other types that exist
	noData     *preparedRRs            // for the other types
	noName     *preparedRRs            // for names below
	wildcard   *node                   // answers for names below, if there is one
	attested   *attestedNode           // what it has with signatures; nil: leave it to respond
}

// preparedRRs are what follows the question in the responses to it: any of several cards, of the same length.
type preparedRRs struct {
	cards        []byte
	size         int // of a card, bytes
	count        uint32
	rcode        byte
	answerRRs    uint16
	authorityRRs uint16
	family       dnspool.Family // whose position in the deck counts
	// Pointers are where the cards have compression pointers that are right for a question name of
	// nameSize bytes. For a longer name they have to grow by as much.
	pointers []int
	nameSize int
}

// prepare makes prepared answers for all that is in z.
func prepare(z *zone) *prepared {
	p := &prepared{origin: wire.Name(z.origin), nodes: map[string]*node{}, static: z.static.wire}
	decks := map[uint16]*preparedRRs{} // which all of the pool's names share
	for _, qtype := range addressTypes {
		if group := z.snapshot.DNS(familyOf(qtype)); group.Deck.Len() > 0 {
			decks[qtype] = z.prepareDeck(group, qtype)
		}
	}
	own := z.soaNames()
	shared := denials{z.prepareDenial(anyLabel+z.origin, dns.RcodeSuccess), z.prepareDenial(anyLabel+z.origin, dns.RcodeNameError)}
	for name := range z.nodes {
		d := shared
		if z.isBelow(own, name) {
			d = denials{z.prepareDenial(name, dns.RcodeSuccess), z.prepareDenial(anyLabel+name, dns.RcodeNameError)}
		}
		p.nodes[wire.Name(name)] = z.prepareNode(name, decks, d)
	}
	for name := range z.nodes {
		if n := p.nodes[wire.Name("*."+name)]; n != nil {
			p.nodes[wire.Name(name)].wildcard = n
		}
	}
	for _, label := range []string{statusLabel, mirrorsLabel} { // the answer depends on the client
		if name := wire.Name(label + z.origin); p.nodes[name] == nil {
			p.nodes[name] = &node{unprepared: true}
		}
	}
	for name := range own {
		if !z.nodes[name] {
			p.nodes[wire.Name(name)] = &node{unprepared: true}
		}
	}
	if z.signing != nil {
		p.attest(z)
	}
	return p
}

// soaNames are the names below the zone's whose labels are in its SOA or NS records, too. Where these are asked for,
// miekg/dns compresses more than elsewhere.
func (z *zone) soaNames() map[string]bool {
	names := []string{z.static.soa.Mbox, z.static.soa.Ns}
	for _, rr := range z.static.sets[z.origin][dns.TypeNS] {
		names = append(names, rr.(*dns.NS).Ns)
	}
	own := map[string]bool{}
	for _, name := range names {
		for name = canonicalName(name); name != z.origin && z.contains(name); name = parent(name) {
			own[name] = true
		}
	}
	return own
}

// isBelow reports whether a name or one above it is among own.
func (z *zone) isBelow(own map[string]bool, name string) bool {
	for ; name != z.origin; name = parent(name) {
		if own[name] {
			return true
		}
	}
	return false
}

// denials are the responses that there is no such record at a name, and that there is no name below it; nil if they
// cannot be packed (then respond answers).
type denials struct{ noData, noName *preparedRRs }

// prepareDenial writes down a response without an answer, for a name and all that end in what follows its first label.
func (z *zone) prepareDenial(name string, rcode byte, signatures ...dns.RR) *preparedRRs {
	m := dns.Msg{Compress: true, Question: []dns.Question{{Name: name, Qtype: noType, Qclass: dns.ClassINET}},
		Ns: append([]dns.RR{z.soa(z.negativeTTL())}, signatures...)}
	packed, err := m.Pack()
	if err != nil {
		return nil
	}
	a := newPreparedRRs(packed, name)
	a.rcode = rcode
	return a
}

func (z *zone) prepareNode(name string, decks map[uint16]*preparedRRs, denials denials) *node {
	n := &node{types: map[uint16]*preparedRRs{}}
	if z.static.sets[name] != nil && name != z.origin || z.static.cut(name) != "" {
		n.unprepared = true // it has more than the pool's addresses
		return n
	}
	if !z.static.nodes["*."+name] {
		n.noName = denials.noName
	}
	n.noData = denials.noData
	if name == z.origin {
		n.types[dns.TypeSOA] = z.prepareFixed(name, dns.TypeSOA)
		for qtype := range z.static.sets[name] {
			n.types[qtype] = nil
		}
		n.types[dns.TypeNS] = z.prepareFixed(name, dns.TypeNS)
	}
	if z.servesCAA(name) {
		n.types[dns.TypeCAA] = z.prepareFixed(name, dns.TypeCAA)
	}
	if z.signing != nil {
		for qtype := range z.signing.added[name] {
			n.types[qtype], n.types[dns.TypeRRSIG] = nil, nil
		}
	}
	address := func(qtype uint16) *preparedRRs {
		switch {
		case z.pool[name] && decks[qtype] != nil && z.geo:
			return nil // it depends on the client
		case z.pool[name] && decks[qtype] != nil:
			return decks[qtype]
		case z.pool[name] && z.blind:
			return nil
		case len(z.static.sets[name][qtype]) > 0:
			return z.prepareFixed(name, qtype)
		}
		if set := z.prepareSet(setKey{name, qtype}); set.answerRRs > 0 {
			return set
		}
		return n.noData
	}
	n.a, n.aaaa = address(dns.TypeA), address(dns.TypeAAAA)
	return n
}

const (
	anyLabel = `\000.` // stands for the labels that no name of the zone has; no host name has a NUL in it
	noType   = 0       // no zone has records of it (RFC 6895 section 3.1)
)

// prepareSet writes down a mirror's addresses.
func (z *zone) prepareSet(key setKey) *preparedRRs {
	a := &preparedRRs{count: 1}
	for _, addr := range z.named[key.owner] {
		if dnspool.FamilyOf(addr) == familyOf(key.rrtype) {
			a.cards = append(a.cards, addressRecord(addr, key.rrtype, z.ttl)...)
			a.answerRRs++
		}
	}
	a.size = len(a.cards)
	return a
}

// prepareDeck writes down all cards of a deck.
func (z *zone) prepareDeck(group *dnspool.DNSGroup, qtype uint16) *preparedRRs {
	places := len(group.Deck.Card(0))
	a := &preparedRRs{count: uint32(group.Deck.Len()), answerRRs: uint16(places), family: familyOf(qtype)}
	records := addressRecords(group, qtype, z.poolTTL[familyOf(qtype)])
	a.size = places * len(records[0])
	a.cards = make([]byte, 0, group.Deck.Len()*a.size)
	for i := range a.count {
		for _, c := range group.Deck.Card(i) {
			a.cards = append(a.cards, records[c]...)
		}
	}
	return a
}

// addressRecords returns the records of all addresses of a group, whose owner is the question's name.
func addressRecords(group *dnspool.DNSGroup, qtype uint16, ttl uint32) [][]byte {
	records := make([][]byte, len(group.Addresses))
	for i, addr := range group.Addresses {
		records[i] = addressRecord(addr, qtype, ttl)
	}
	return records
}

// addressRecord returns an address record whose owner is the question's name.
func addressRecord(addr netip.Addr, qtype uint16, ttl uint32) []byte {
	data := addr.AsSlice()
	rr := binary.BigEndian.AppendUint16(nil, wire.OwnerPointer)
	rr = binary.BigEndian.AppendUint16(rr, qtype)
	rr = binary.BigEndian.AppendUint16(rr, dns.ClassINET)
	rr = binary.BigEndian.AppendUint32(rr, ttl)
	rr = binary.BigEndian.AppendUint16(rr, uint16(len(data)))
	return append(rr, data...)
}

// prepareFixed writes down the one response to a query. It returns nil (then respond answers) if
// the response would be truncated or cannot be packed.
func (z *zone) prepareFixed(name string, qtype uint16) *preparedRRs {
	req := new(dns.Msg)
	req.SetQuestion(name, qtype)
	packed, err := z.respond(req, client{stream: true})
	if err != nil || packed[2]&0x02 != 0 {
		return nil
	}
	return newPreparedRRs(packed, name)
}

// newPreparedRRs returns what follows the question in a response, which is for a name and has no additional records.
func newPreparedRRs(packed []byte, name string) *preparedRRs {
	nameSize := len(wire.Name(name))
	a := &preparedRRs{
		cards: packed[wire.HeaderSize+nameSize+4:], count: 1, nameSize: nameSize,
		rcode:        packed[3] & 0x0f,
		answerRRs:    binary.BigEndian.Uint16(packed[6:]),
		authorityRRs: binary.BigEndian.Uint16(packed[8:]),
	}
	a.size = len(a.cards)
	a.pointers = wire.Pointers(packed, wire.HeaderSize+nameSize+4, int(a.answerRRs+a.authorityRRs))
	return a
}

// A relation is how a node answers for a name.
type relation int

const (
	noNode    relation = iota // leave it to respond
	atName                    // the node stands at the name
	atCover                   // it is the wildcard that covers the name
	aboveName                 // it is the closest above the name, which does not exist
)

// find returns the node that answers for a name in lower case.
func (p *prepared) find(name []byte) (*node, relation) {
	if len(name) < len(p.origin) || string(name[len(name)-len(p.origin):]) != p.origin {
		return nil, noNode
	}
	if n := p.nodes[string(name)]; n != nil {
		return n, atName
	}
	for len(name) > len(p.origin) {
		if p.static[string(name)] {
			return nil, noNode
		}
		name = name[1+name[0]:]
		switch n := p.nodes[string(name)]; {
		case n == nil:
			continue
		case n.wildcard != nil:
			return n.wildcard, atCover
		default:
			return n, aboveName
		}
	}
	return nil, noNode
}

// plain returns the answers without signatures to a query for a type that n, as find has returned it, answers; nil if
// respond must answer it.
func (n *node) plain(how relation, qtype uint16) *preparedRRs {
	switch {
	case how == noNode || n.unprepared || isMeta(qtype):
		return nil
	case how == aboveName:
		return n.noName
	case qtype == dns.TypeA:
		return n.a
	case qtype == dns.TypeAAAA:
		return n.aaaa
	}
	if a, exists := n.types[qtype]; exists {
		return a
	}
	return n.noData
}

// isMeta reports whether a type is one of those with rules of their own (RFC 6895 section 3.1).
func isMeta(qtype uint16) bool {
	return qtype == 0 || qtype == dns.TypeOPT || 128 <= qtype && qtype <= 255
}

// appendTo appends the response to a query that is at the front of msg, but for the OPT record. card says which to
// give.
func (a *preparedRRs) appendTo(dst, msg []byte, q *wire.Query, card uint32) []byte {
	start := len(dst)
	dst = append(dst, msg[:q.End]...) // the question as it is: some resolvers check its letter case
	header := dst[start:]
	header[2] = 0x84 | msg[2]&0x01 // QR, AA, and RD as in the query
	header[3] = a.rcode
	binary.BigEndian.PutUint16(header[6:], a.answerRRs)
	binary.BigEndian.PutUint16(header[8:], a.authorityRRs)
	binary.BigEndian.PutUint16(header[10:], 0)
	return a.appendCard(dst, q, card)
}

// appendCard appends the records of a card.
func (a *preparedRRs) appendCard(dst []byte, q *wire.Query, card uint32) []byte {
	first := int(card%a.count) * a.size
	records := len(dst)
	dst = append(dst, a.cards[first:first+a.size]...)
	if longer := len(q.Name) - a.nameSize; longer != 0 {
		for _, at := range a.pointers {
			pointer := dst[records+at:]
			binary.BigEndian.PutUint16(pointer, binary.BigEndian.Uint16(pointer)+uint16(longer))
		}
	}
	return dst
}
