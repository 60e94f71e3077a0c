package admin

import (
	"fmt"

	"mirrorpool/dnspool"
	"mirrorpool/health"
)

// Works says how much of an enabled mirror works.
type Works string

// The degrees. They do not apply to disabled mirrors.
const (
	WorksFully  Works = "fully"      // in all its roles, at all its addresses that can be judged
	WorksPartly Works = "partly"     // in some role
	WorksNot    Works = "not_at_all" // in none
)

// WorksCount counts the enabled mirrors by how much of each works.
type WorksCount struct {
	Fully    int `json:"fully"`
	Partly   int `json:"partly"`
	NotAtAll int `json:"not_at_all"`
}

// String returns the count for people.
func (c WorksCount) String() string {
	return fmt.Sprintf("%d fully, %d partly, %d not at all", c.Fully, c.Partly, c.NotAtAll)
}

func (c *WorksCount) add(w Works) {
	switch w {
	case WorksFully:
		c.Fully++
	case WorksPartly:
		c.Partly++
	case WorksNot:
		c.NotAtAll++
	}
}

// countWorks sets how much of each mirror works, and counts them.
func (s *Status) countWorks() {
	s.Works = WorksCount{}
	for i := range s.Mirrors {
		s.Mirrors[i].Works = worksOf(&s.Mirrors[i])
		s.Works.add(s.Mirrors[i].Works)
	}
}

// worksOf returns how much of a mirror works, by the rules of selection: redirects over a family need all addresses of
// the family up, and the rsync daemon, if there is one, not down; DNS needs one address. Unknown endpoints count
// neither way. Role dns does not count for a mirror that is kept out of DNS.
func worksOf(m *MirrorStatus) Works {
	if m.Weight == 0 {
		return ""
	}
	var webFamilies, webFails [2]bool // whether there are addresses, and whether one of them is not up
	dns, rsyncDown, faulty := false, false, false
	for i := range m.Endpoints {
		e := &m.Endpoints[i]
		if e.Role == health.DNS && m.DNSWeight == 0 || e.Aside != "" {
			continue
		}
		faulty = faulty || e.State == health.Down || e.State == health.Stale
		switch e.Role {
		case health.DNS:
			dns = dns || e.State == health.Up
		case health.HTTP:
			f := dnspool.FamilyOf(e.Address)
			webFamilies[f], webFails[f] = true, webFails[f] || e.State != health.Up
		case health.Rsync:
			rsyncDown = e.State == health.Down && e.Suspect == ""
		}
	}
	web := !rsyncDown && (webFamilies[dnspool.IPv4] && !webFails[dnspool.IPv4] ||
		webFamilies[dnspool.IPv6] && !webFails[dnspool.IPv6])
	switch {
	case !web && !dns:
		return WorksNot
	case web && !faulty && (dns || !m.judgedInDNS()):
		return WorksFully
	}
	return WorksPartly
}

// judgedInDNS reports whether the mirror is in DNS and judged for it.
func (m *MirrorStatus) judgedInDNS() bool {
	for i := range m.Endpoints {
		if m.Endpoints[i].Role == health.DNS {
			return m.DNSWeight > 0
		}
	}
	return false
}
