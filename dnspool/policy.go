package dnspool

import (
	"math"

	"mirrorpool/config"
)

// A Policy is what the operator says of selection.
type Policy struct {
	PanicThreshold float64 // see config.Health
	MaxAnswers     int     // see config.DNS
	DNSGeo         bool    // DNS answers by place too, see config.DNS
	config.Selection
}

// PolicyOf is what a configuration says of selection.
func PolicyOf(c *config.Server) Policy {
	return Policy{PanicThreshold: c.Health.PanicThreshold, MaxAnswers: c.DNS.MaxAnswers, DNSGeo: c.DNS.Geo, Selection: c.Selection}
}

// wanted is how many mirrors are to compete for a client, where so many are eligible.
func (p *Policy) wanted() int { return max(p.MinCandidates, int(math.Ceil(1/p.MaxShare-1e-9))) }
