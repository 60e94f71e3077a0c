package probe

import (
	"crypto/x509"
	"math/rand/v2"
	"time"

	"mirrorpool/health"
)

// NewChecker returns a checker of mirrors on the network, with the system's resolver, and its clock where o has none.
// It trusts roots, or the system's certificates if roots is nil.
func NewChecker(o health.Options, roots *x509.CertPool) (*health.Checker, error) {
	prober := New(roots, time.Now)
	o.Prober, o.CheckAgents = prober, prober.CheckAgents
	o.Resolver, o.Reference = NewResolver(), NewReference(nil, time.Now)
	if o.Now == nil {
		o.Now = time.Now
	}
	o.Rand = rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	return health.NewChecker(o)
}
