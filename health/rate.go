package health

import (
	"fmt"
	"math/bits"
	"time"
)

const (
	// A rate covers the latest rateChecks checks: ten minutes of them with the default interval.
	rateChecks = 20
	// With more than maxFailures an endpoint is out, until there are no more than calmFailures.
	maxFailures, calmFailures = rateChecks / 5, 2

	// A check hesitates if it takes hesitationTimes as long as the endpoint typically needs, and hesitation at least. With
	// more than maxHesitations the endpoint's weight counts for slowWeight.
	hesitationTimes = 4
	hesitation      = 250 * time.Millisecond
	maxHesitations  = 2
	slowWeight      = 0.5
	typicalShare    = 16 // how fast the typical latency grows; it shrinks at once
)

// failureShares say how much of the weight counts, by the number of failures among the latest checks. One failure alone
// costs nothing.
var failureShares = [maxFailures + 1]float64{1, 1, 0.25, 0.125, 0.125}

// A Rate is how an endpoint has done of late besides the outages that its state tells. The zero Rate is that of one
// which has always passed.
type Rate struct {
	// Failed and Hesitated have a bit for each of the latest rateChecks checks that were conclusive, the lowest for the
	// latest one.
	Failed    uint32 `json:"failed,omitzero"`
	Hesitated uint32 `json:"hesitated,omitzero"`
	// Typical is how long a check takes that does not hesitate.
	Typical time.Duration `json:"typical,omitzero"`
	// Unsteady is true while the endpoint is down because too many checks failed, and it is not calm yet.
	Unsteady bool `json:"unsteady,omitzero"`
}

// Failures is how many of the latest checks failed, besides those that ended in an outage.
func (r *Rate) Failures() int { return bits.OnesCount32(r.Failed) }

func (r *Rate) hesitations() int { return bits.OnesCount32(r.Hesitated) }

// note takes in a check that failed, or passed within a time. Failures on end count once: the later ones are checks
// made sooner because of the first.
func (r Rate) note(failed bool, took time.Duration) Rate {
	if failed && r.Failed&1 != 0 {
		return r
	}
	r.Failed = record(r.Failed, failed)
	if failed {
		return r
	}
	r.Hesitated = record(r.Hesitated, r.Typical > 0 && took > max(hesitationTimes*r.Typical, hesitation))
	if r.Typical == 0 || took < r.Typical {
		r.Typical = took
	} else {
		r.Typical += (took - r.Typical) / typicalShare
	}
	return r
}

func record(ring uint32, bit bool) uint32 {
	ring = ring << 1 & (1<<rateChecks - 1)
	if bit {
		ring |= 1
	}
	return ring
}

// forgetRun takes the latest failures out: they were the beginning of an outage.
func (r Rate) forgetRun() Rate {
	r.Failed >>= bits.TrailingZeros32(^r.Failed)
	return r
}

// Share is how much of an endpoint's weight counts: 1, or less where its checks fail or hesitate now and then.
func (r *Rate) Share() float64 {
	share := failureShares[min(r.Failures(), maxFailures)]
	if r.hesitations() > maxHesitations {
		share = min(share, slowWeight)
	}
	return share
}

// Warning says why the weight of an endpoint that is up does not count in full, or returns "".
func (r *Rate) Warning() string {
	if r.Share() == 1 {
		return ""
	}
	text := fmt.Sprintf("fails now and then: %d of the latest %d checks", r.Failures(), rateChecks)
	if r.hesitations() > maxHesitations {
		text = fmt.Sprintf("hangs now and then: %d of the latest %d checks took over %d times the usual %v",
			r.hesitations(), rateChecks, hesitationTimes, r.Typical.Round(time.Millisecond))
	}
	return fmt.Sprintf("%s; its weight counts for %.0f %%", text, 100*r.Share())
}

// unsteady is the reason of an endpoint that is down because of its rate.
func (r *Rate) unsteady() string {
	return fmt.Sprintf("unsteady: %d of the latest %d checks failed, no more than %d may", r.Failures(), rateChecks, calmFailures)
}

// valid reports whether a rate may have come of checks.
func (r *Rate) valid() bool {
	return r.Failed>>rateChecks == 0 && r.Hesitated>>rateChecks == 0 && r.Typical >= 0
}
