package certificates

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/mholt/acmez/v3/acme"

	"mirrorpool/config"
)

// A Reach lists the ways in which an authority can see our answers to challenges for a name.
type Reach struct {
	OwnZone      bool // our DNS server is authoritative for the name
	OtherServers bool // other servers are too, and do not get our records
	HTTP         bool // the redirector listens for http, besides https
	// UpdatedAt is host:port of another DNS server that takes updates for the name from us (RFC 2136), or "".
	UpdatedAt string
}

// ReachOf returns the Reach of a name under a configuration.
func ReachOf(c *config.Server, name string) Reach {
	r := Reach{
		OwnZone:      len(c.DNS.Listen) > 0 && isIn(c.DNS.Zone, name),
		OtherServers: len(c.DNS.Nameservers) > 1 && len(c.DNS.Notify) == 0,
		HTTP:         len(c.HTTP.Listen) > 0,
	}
	if to := UpdateTarget(c, name, ""); to != nil {
		r.UpdatedAt = to.Server
		r.OwnZone = r.OwnZone && len(c.DNS.Zone) >= len(to.Zone) // not in a zone below ours
	}
	return r
}

// isIn reports whether a host name, without a final dot, is in a zone.
func isIn(zone, name string) bool { return strings.HasSuffix("."+name+".", "."+zone) }

// UpdateTarget returns the target of updates, at a server, whose zone has a name, or nil. It is the longest such zone:
// a name below a zone cut is not in the zone above. The server may be "", for any.
func UpdateTarget(c *config.Server, name, server string) (target *config.Publish) {
	for i := range c.Publish {
		p := &c.Publish[i]
		fits := isIn(p.Zone, name) && (server == "" || p.Server == server)
		if fits && (target == nil || len(p.Zone) > len(target.Zone)) {
			target = p
		}
	}
	return target
}

// Challenges returns the challenges to try for a name under a configuration with ACME, the first one first.
func Challenges(c *config.Server, name string) []string {
	return challengesFor(name, c.HTTP.ACME.Challenge, ReachOf(c, name))
}

// checkChallenges returns an error if there is a name for which no challenge can be answered.
func checkChallenges(c *config.Server) error {
	var failed failures
	for _, name := range c.HTTP.ACME.Names {
		if len(Challenges(c, name)) == 0 {
			failed = append(failed, noChallenge(name, c.HTTP.ACME.Challenge, ReachOf(c, name)))
		}
	}
	if len(failed) == 0 {
		return nil
	}
	return failed
}

// CAADomain returns the domain by which CAA records name the authority with a directory, or "" if that is not known
// here.
func CAADomain(directory string) string {
	u, err := url.Parse(directory)
	if err == nil && strings.HasSuffix(u.Hostname(), ".api.letsencrypt.org") {
		return "letsencrypt.org"
	}
	return ""
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
	case r.OwnZone && !r.OtherServers:
		order = slices.Insert(order, 0, dns)
	case r.OwnZone, r.UpdatedAt != "":
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
