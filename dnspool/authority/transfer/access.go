package transfer

import (
	"fmt"
	"net"
	"net/netip"

	"mirrorpool/dnspool/tsig"

	"github.com/miekg/dns"
)

// An Access says which servers may transfer.
type Access struct {
	networks []netip.Prefix
	keyNames map[string]bool
}

// NewAccess reads networks and names of keys, as the configuration has them. Each key has to be in keys.
func NewAccess(allowed []string, keys *tsig.Ring) (*Access, error) {
	a := &Access{keyNames: map[string]bool{}}
	for _, entry := range allowed {
		if network, err := netip.ParsePrefix(entry); err == nil {
			a.networks = append(a.networks, network)
			continue
		}
		if keys.Key(entry) == nil {
			return nil, fmt.Errorf("dns.allow_transfer: no file in dns.tsig_keys has the key %q", entry)
		}
		a.keyNames[entry] = true
	}
	return a, nil
}

// SetAccess changes which servers may transfer. If there were none before, the next Publish makes the zone known.
func (s *Server) SetAccess(a *Access) {
	before := s.enabled()
	s.access.Store(a)
	if !before && s.enabled() {
		s.latest.Store(nil)
	}
}

// permits reports whether the sender of a request may transfer the zone. What its signature is worth has been found
// before: a wrong one has been refused.
func (s *Server) permits(from net.Addr, signature *dns.TSIG) bool {
	if signature != nil && s.access.Load().keyNames[dns.CanonicalName(signature.Hdr.Name)] {
		return true
	}
	at, err := netip.ParseAddrPort(from.String())
	if err != nil {
		return false
	}
	for _, network := range s.access.Load().networks {
		if network.Contains(at.Addr().Unmap().WithZone("")) {
			return true
		}
	}
	return false
}

// Wants reports whether a request is for a transfer of this zone that its sender may have. All others are refused by
// the zone, as is AXFR over UDP, which there is not (RFC 5936 section 4.2).
func (s *Server) Wants(from net.Addr, req *dns.Msg) bool {
	q := req.Question[0]
	if !IsTransfer(q.Qtype) {
		return false
	}
	ok := s.enabled() && q.Qclass == dns.ClassINET && dns.CanonicalName(q.Name) == s.origin &&
		(q.Qtype == dns.TypeIXFR || from.Network() == "tcp") && s.permits(from, req.IsTsig())
	if !ok && s != nil {
		s.requests.WithLabelValues("none", "refused").Inc()
	}
	return ok
}
