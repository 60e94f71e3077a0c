package authority

import (
	"time"

	"github.com/miekg/dns"
)

// A zone that cannot be signed any more, because a key or the clock is wrong, has two versions in force. Clients that
// do not ask for signatures get the health of the mirrors as it is now. Those that do get the last version that was
// signed, as long as its signatures hold, and then SERVFAIL; but no mirror that was disabled since, see withheld.go.
// All clients get its SOA, DNSKEY and other records that come with signing, which agree with what transfers give:
// secondaries do not come for a version that there is not, and give the zone up in the end.

// neverSigned stands for the last signed version where there is none.
func neverSigned() *zone { return &zone{signing: &signing{}} }

// oneVersion reports whether all clients get the same version.
func (z *zone) oneVersion() bool { return z.signed == nil || z.signed == z }

// versionFor returns the version that answers a query, or nil if its signatures have expired.
func (z *zone) versionFor(qtype uint16, how question) *zone {
	wantsSignatures := how.attested || qtype == dns.TypeRRSIG
	if z.signed == nil || !wantsSignatures && (z.oneVersion() || !isSignedOnly(qtype)) {
		return z
	}
	if !z.signed.signing.holds(how.now) {
		return nil
	}
	return z.signed
}

// isSignedOnly reports whether records of a type belong to the version that was signed: they are made with it, or are
// what secondaries go by.
func isSignedOnly(qtype uint16) bool {
	switch qtype {
	case dns.TypeSOA, dns.TypeDNSKEY, dns.TypeCDS, dns.TypeCDNSKEY, dns.TypeNSEC, dns.TypeRRSIG, dns.TypeZONEMD:
		return true
	}
	return false
}

// expiry is when the first signature expires; zero if there is none.
func (z *zone) expiry() time.Time {
	if z.signing == nil {
		return time.Time{}
	}
	return z.signing.expires
}
