package certificates

import (
	"fmt"
	"slices"
	"strings"

	"github.com/mholt/acmez/v3/acme"
)

// A Reach says by which ways an authority can see answers of ours to challenges for a name.
type Reach struct {
	OwnZone   bool // our DNS server is authoritative for the name
	OthersToo bool // so are others, which do not get our records
	Published bool // another DNS server takes updates for the name from us (RFC 2136)
	HTTP      bool // the redirector listens for http, besides https
}

// challengesFor returns the challenges to try for a name, the first one first. DNS-01 in our own zone is first: it
// works for the pool's names, too, where mirrors answer http and https. TLS-ALPN-01 needs the fewest open ports. An
// update at another server is last, because it may have secondaries that take long; so is our own zone if the authority
// may ask other servers, which do not know the answer.
func challengesFor(name, forced string, r Reach) []string {
	const dns, alpn, http = acme.ChallengeTypeDNS01, acme.ChallengeTypeTLSALPN01, acme.ChallengeTypeHTTP01
	order := []string{alpn}
	if r.HTTP {
		order = append(order, http)
	}
	switch {
	case r.OwnZone && !r.OthersToo:
		order = slices.Insert(order, 0, dns)
	case r.OwnZone, r.Published:
		order = append(order, dns)
	}
	wild := strings.HasPrefix(name, "*.") // DNS-01 alone proves a wildcard
	return slices.DeleteFunc(order, func(kind string) bool {
		return forced != "" && kind != forced || wild && kind != dns
	})
}

// noChallenge is the error for a name for which [challengesFor] has none.
func noChallenge(name, forced string, r Reach) error {
	var reason string
	inZone := "has to be in dns.zone (with dns.listen) or in a zone of publish"
	switch {
	case strings.HasPrefix(name, "*.") && forced != "" && forced != acme.ChallengeTypeDNS01:
		reason = "only dns-01 proves a wildcard, and http.tls.acme.challenge asks for " + forced
	case strings.HasPrefix(name, "*."):
		reason = "a wildcard " + inZone
	case forced == acme.ChallengeTypeDNS01:
		reason = "http.tls.acme.challenge asks for dns-01, for which the name " + inZone
	case forced == acme.ChallengeTypeHTTP01 && !r.HTTP:
		reason = "http.tls.acme.challenge asks for http-01, for which http.listen has to have an address for http"
	default:
		reason = "http.tls.acme.challenge asks for " + forced
	}
	return fmt.Errorf("no challenge can be answered for %s: %s", name, reason)
}
