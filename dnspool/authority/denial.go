package authority

import (
	"slices"

	"github.com/miekg/dns"
)

// Proofs by NSEC records that something does not exist (RFC 4035 section 3.1.3). A record is in a response once, even
// where it proves more than one thing.

// addNSEC adds the NSEC record of the chain that stands at a name, or else before it.
func (z *zone) addNSEC(resp *dns.Msg, name string) {
	i, _ := z.signing.chain.FindName(name)
	nsec := z.signing.added[z.signing.chain.Owner(i)][dns.TypeNSEC]
	if slices.Contains(resp.Ns, nsec[0]) {
		return
	}
	resp.Ns = append(resp.Ns, nsec...)
	resp.Ns = append(resp.Ns, z.signatures(nsec[0].Header().Name, nsec)...)
}

// proveNoCloser proves that a name does not exist, so that the wildcard answers for it.
func (z *zone) proveNoCloser(resp *dns.Msg, name string) { z.addNSEC(resp, name) }

// proveNoData proves that source, which answers for a name, has no records of a type.
func (z *zone) proveNoData(resp *dns.Msg, source, name string) {
	if source != name {
		z.addNSEC(resp, source)
	}
	z.addNSEC(resp, name)
}

// proveNoName proves that neither a name exists nor a wildcard that would answer for it.
func (z *zone) proveNoName(resp *dns.Msg, name string) {
	z.addNSEC(resp, name)
	encloser := parent(name)
	for !z.exists(encloser) {
		encloser = parent(encloser)
	}
	z.addNSEC(resp, "*."+encloser)
}

// proveDelegation adds the DS set of a delegation, or the proof that there is none (RFC 4035 section 3.1.4).
func (z *zone) proveDelegation(resp *dns.Msg, cut string) {
	if ds := z.static.sets[cut][dns.TypeDS]; len(ds) > 0 {
		resp.Ns = append(resp.Ns, ds...)
		resp.Ns = append(resp.Ns, z.signatures(cut, ds)...)
		return
	}
	z.addNSEC(resp, cut)
}
