package probe

import (
	"math/rand/v2"
	"time"

	"mirrorpool/health"
)

// NewChecker returns a checker of mirrors on the network, with the system's certificates and resolver, and its clock
// where o has none.
func NewChecker(o health.Options) (*health.Checker, error) {
	prober := New(nil, time.Now)
	o.Prober, o.CheckAgents = prober, prober.CheckAgents
	o.Resolver, o.Reference = NewResolver(), NewReference(nil, time.Now)
	if o.Now == nil {
		o.Now = time.Now
	}
	o.Rand = rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	return health.NewChecker(o)
}
