package authority

import (
	"encoding/binary"
	"slices"

	"github.com/miekg/dns"

	"mirrorpool/dnspool/authority/dnssec"
	"mirrorpool/dnspool/authority/wire"
)

// Prepared answers with signatures, for queries with the DO bit. A card holds a set and its signatures; a denial is put
// together from prepared parts, because which NSEC record covers a name depends on the name.

// preparedProofs are the parts of the zone's denials.
type preparedProofs struct {
	signing *signing
	noData  *preparedRRs   // SOA and its signatures
	noName  *preparedRRs   // the same with NXDOMAIN
	nsec    []*preparedRRs // of the chain, each with its signatures
}

// An attestedNode is what is prepared with signatures for a name, and for the names below it that do not exist.
type attestedNode struct {
	a, aaaa *preparedRRs            // nil: leave it to respond
	types   map[uint16]*preparedRRs // of the other types that exist; nil likewise
	nsec    *preparedRRs            // shows which types there are
	star    *preparedRRs            // shows that no wildcard answers for names below; nil if one may
}

// attestedRRs are prepared records, and the NSEC records that go with them.
type attestedRRs struct {
	*preparedRRs
	proofs [2]*preparedRRs
}

// attest prepares what the nodes of p have with signatures.
func (p *prepared) attest(z *zone) {
	proofs := z.prepareProofs()
	if proofs == nil {
		return
	}
	p.attested = proofs
	for name := range z.nodes {
		if n := p.nodes[wire.Name(name)]; !n.unprepared {
			n.attested = z.prepareAttested(name, n, proofs)
		}
	}
}

// prepareProofs returns the parts of denials, or nil (then respond answers) if they cannot be packed.
func (z *zone) prepareProofs() *preparedProofs {
	name := anyLabel + z.origin // whose first label takes the place of those of a question
	if z.exists(name) {
		return nil
	}
	signatures := z.signatures(z.origin, []dns.RR{z.soa(z.negativeTTL())})
	p := &preparedProofs{signing: z.signing, noData: z.prepareDenial(name, dns.RcodeSuccess, signatures...),
		noName: z.prepareDenial(name, dns.RcodeNameError, signatures...)}
	if p.noData == nil || p.noName == nil {
		return nil
	}
	for i := range z.signing.chain.Len() {
		owner := z.signing.chain.Owner(i)
		p.nsec = append(p.nsec, z.prepareNSEC(owner))
	}
	return p
}

// prepareNSEC writes down the NSEC record of a name with its signatures. The owner is compressed against the zone's
// name at the end of the question.
func (z *zone) prepareNSEC(owner string) *preparedRRs {
	nsec := z.signing.added[owner][dns.TypeNSEC][0]
	origin := len(wire.Name(z.origin))
	labels := wire.Name(owner)
	labels = labels[:len(labels)-origin]
	a := &preparedRRs{count: 1, nameSize: origin}
	add := func(rrtype uint16, data []byte) {
		a.cards = append(a.cards, labels...)
		a.pointers = append(a.pointers, len(a.cards))
		a.cards = binary.BigEndian.AppendUint16(a.cards, wire.OwnerPointer)
		a.cards = appendRecordRest(a.cards, rrtype, nsec.Header().Ttl, data)
		a.authorityRRs++
	}
	packed := make([]byte, dns.Len(nsec)+1)
	end, err := dns.PackRR(nsec, packed, 0, nil, false)
	if err != nil {
		return nil
	}
	const fixed = 2 + 2 + 4 + 2
	add(dns.TypeNSEC, packed[len(wire.Name(owner))+fixed:end])
	for _, data := range z.signing.sets[setKey{owner, dns.TypeNSEC}].Wire {
		add(dns.TypeRRSIG, data)
	}
	a.size = len(a.cards)
	return a
}

// appendRecordRest appends what follows the owner in a record.
func appendRecordRest(dst []byte, rrtype uint16, ttl uint32, data []byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, rrtype)
	dst = binary.BigEndian.AppendUint16(dst, dns.ClassINET)
	dst = binary.BigEndian.AppendUint32(dst, ttl)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(data)))
	return append(dst, data...)
}

// prepareAttested prepares what a name, at which n stands, has with signatures.
func (z *zone) prepareAttested(name string, n *node, proofs *preparedProofs) *attestedNode {
	chain := z.signing.chain
	i, _ := chain.FindName(name)
	a := &attestedNode{types: map[uint16]*preparedRRs{}, nsec: proofs.nsec[i]}
	if star := "*." + name; !z.exists(star) {
		i, _ = chain.FindName(star)
		a.star = proofs.nsec[i]
	}
	for qtype := range n.types {
		a.types[qtype] = nil
	}
	for _, qtype := range []uint16{dns.TypeSOA, dns.TypeNS, dns.TypeDNSKEY} {
		if z.signing.sets[setKey{name, qtype}] != nil {
			a.types[qtype] = z.prepareFixedAttested(name, qtype)
		}
	}
	address := func(qtype uint16) *preparedRRs {
		key := setKey{name, qtype}
		switch {
		case z.pool[name] && z.signing.dealt[key] != nil && z.geo:
			return nil // it depends on the client
		case z.pool[name] && z.signing.dealt[key] != nil:
			return z.prepareSignedDeck(key)
		case z.pool[name] && z.blind:
			return nil
		case z.named[name] != nil && z.signing.sets[key] != nil:
			return z.prepareSignedSet(key)
		case z.signing.sets[key] != nil:
			return z.prepareFixedAttested(name, qtype)
		default:
			return proofs.noData
		}
	}
	a.a, a.aaaa = address(dns.TypeA), address(dns.TypeAAAA)
	return a
}

// prepareFixedAttested is prepareFixed with signatures.
func (z *zone) prepareFixedAttested(name string, qtype uint16) *preparedRRs {
	req := new(dns.Msg)
	req.SetQuestion(name, qtype)
	req.SetEdns0(dns.MinMsgSize, true)
	packed, err := z.respond(req, client{stream: true})
	if err != nil {
		return nil
	}
	return newPreparedRRs(packed[:len(packed)-wire.OptSize], name) // it is last, and has no options
}

// prepareSignedDeck writes down all cards of the deck at one of the pool's names, with their signatures.
func (z *zone) prepareSignedDeck(key setKey) *preparedRRs {
	family := familyOf(key.rrtype)
	group, ttl, dealt := z.snapshot.DNS(family), z.poolTTL[family], z.signing.dealt[key]
	records := addressRecords(group, key.rrtype, ttl)
	signatures := make([][]byte, len(dealt.signatures))
	for i, s := range dealt.signatures {
		signatures[i] = appendSignatures(nil, s, ttl)
	}
	first := group.Deck.Card(0) // all cards have the same length
	a := &preparedRRs{count: uint32(group.Deck.Len()), family: family,
		size:      len(first)*len(records[0]) + len(signatures[0]),
		answerRRs: uint16(len(first) + len(dealt.signatures[0].Wire))}
	a.cards = make([]byte, 0, a.size*int(a.count))
	for i := range a.count {
		for _, c := range group.Deck.Card(i) {
			a.cards = append(a.cards, records[c]...)
		}
		a.cards = append(a.cards, signatures[dealt.dealt[i]]...)
	}
	return a
}

// prepareSignedSet writes down a mirror's addresses with their signatures.
func (z *zone) prepareSignedSet(key setKey) *preparedRRs {
	a := z.prepareSet(key)
	signatures := z.signing.sets[key]
	a.cards = appendSignatures(a.cards, signatures, z.ttl)
	a.size, a.answerRRs = len(a.cards), a.answerRRs+uint16(len(signatures.Wire))
	return a
}

// appendSignatures appends signatures whose owner is the question's name.
func appendSignatures(dst []byte, signatures *dnssec.Signatures, ttl uint32) []byte {
	for _, data := range signatures.Wire {
		dst = slices.Grow(dst, 2+2+2+4+2+len(data))
		dst = binary.BigEndian.AppendUint16(dst, wire.OwnerPointer)
		dst = appendRecordRest(dst, dns.TypeRRSIG, ttl, data)
	}
	return dst
}

// answer is plain with signatures.
func (p *preparedProofs) answer(n *node, how relation, q *wire.Query, scratch *[dnssec.MaxSortKey]byte) (none attestedRRs) {
	if how == noNode || n.attested == nil || isMeta(q.Type) {
		return none
	}
	var closer *preparedRRs // shows that no name is closer
	if how != atName {
		closer = p.covering(q.Name, scratch)
	}
	if how == aboveName {
		if n.attested.star == nil {
			return none
		}
		return attestedRRs{p.noName, [2]*preparedRRs{closer, n.attested.star}}.distinct()
	}
	a := n.attested.forType(q.Type, p.noData)
	if a == p.noData {
		return attestedRRs{a, [2]*preparedRRs{n.attested.nsec, closer}}.distinct()
	}
	return attestedRRs{a, [2]*preparedRRs{closer}}
}

// covering returns the NSEC record that shows that a name does not exist.
func (p *preparedProofs) covering(name []byte, scratch *[dnssec.MaxSortKey]byte) *preparedRRs {
	i, _ := p.signing.chain.Find(dnssec.AppendSortKey(scratch[:0], name))
	return p.nsec[i]
}

// forType returns the answers to a query for a type, noData if there are none; nil if respond must answer it.
func (a *attestedNode) forType(qtype uint16, noData *preparedRRs) *preparedRRs {
	switch qtype {
	case dns.TypeA:
		return a.a
	case dns.TypeAAAA:
		return a.aaaa
	}
	if rrs, exists := a.types[qtype]; exists {
		return rrs
	}
	return noData
}

// distinct leaves out the second proof if it is the first.
func (a attestedRRs) distinct() attestedRRs {
	if a.proofs[0] == a.proofs[1] {
		a.proofs[1] = nil
	}
	return a
}

// fullSize is the size of a card with the proofs, in bytes.
func (a *attestedRRs) fullSize() int {
	size := a.size
	for _, proof := range a.proofs {
		if proof != nil {
			size += proof.size
		}
	}
	return size
}

// appendTo is that of preparedRRs, with the proofs behind the card.
func (a *attestedRRs) appendTo(dst, msg []byte, q *wire.Query, card uint32) []byte {
	start := len(dst)
	dst = a.preparedRRs.appendTo(dst, msg, q, card)
	authority := a.authorityRRs
	for _, proof := range a.proofs {
		if proof != nil {
			dst = proof.appendCard(dst, q, 0)
			authority += proof.authorityRRs
		}
	}
	binary.BigEndian.PutUint16(dst[start+8:], authority)
	return dst
}
