package source

import (
	"math/rand/v2"
	"time"
)

// firstRetry is the longest wait after a first failure; each further one doubles it, up to the refresh
// interval.
const firstRetry = time.Second

// nextLook is how long to wait before the source is looked at again, after a number of failures on end.
//
// Both are spread: without that, all servers of a pool would ask at once after the web server was away. It is
// a pure function but for r.
func nextLook(refresh time.Duration, failures int, r *rand.Rand) time.Duration {
	if failures == 0 {
		return spread(refresh, 0.9, 1.1, r)
	}
	wait := refresh
	if shift := failures - 1; shift < 32 {
		wait = min(refresh, firstRetry<<shift)
	}
	return spread(wait, 0.5, 1, r)
}

// spread returns d times a number from least to most.
func spread(d time.Duration, least, most float64, r *rand.Rand) time.Duration {
	return time.Duration(float64(d) * (least + (most-least)*r.Float64()))
}
