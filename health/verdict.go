package health

import (
	"fmt"
	"time"
)

const (
	// flapChanges state changes within flapWindow are as many as an endpoint may make. With one more it
	// is flapping, and has to pass for flapCalm intervals before it is up again.
	flapChanges = 6
	flapWindow  = time.Hour
	flapCalm    = 10

	flapping = "flapping: changed more than 6 times within an hour, has to pass for 10 intervals on end"

	// A verdict in doubt is checked again after recheckShare of the interval, at most maxRecheck. What
	// the last probe took counts as waiting, but a breath of breathShare of that is always taken.
	recheckShare = 10
	breathShare  = 10
	maxRecheck   = 2 * time.Second

	// A re-check may take patienceShare/10 of the timeout, or patienceUsual times as long as the endpoint
	// usually needs if that is more.
	patienceShare = 3
	patienceUsual = 4
	usualShare    = 8 // how fast the usual latency forgets: by an eighth of the difference per pass

	// The checks of what has long been down become rarer, up to maxBackoff intervals apart.
	maxBackoff = 10
)

// A Verdict is what the checks of one endpoint in one role have come to. The zero Verdict is that
// of an endpoint which was never checked.
type Verdict struct {
	State   State         `json:"state"`
	Reason  string        `json:"reason"` // why State is not Up; or, of one that is up, what the latest failure was
	Since   time.Time     `json:"since"`  // when State was entered
	Checked time.Time     `json:"checked"`
	Latency time.Duration `json:"latency"`        // of the last probe
	Usual   time.Duration `json:"usual,omitzero"` // the longest latency of late, of probes that got an answer

	Trace       time.Time `json:"trace,omitzero"`        // as last read; see Observation
	CertExpires time.Time `json:"cert_expires,omitzero"` // as last seen; see Observation
	Timings     Timings   `json:"timings,omitzero"`      // of the last probe
	TLSWarning  string    `json:"tls_warning,omitzero"`  // as last seen; see Observation

	// Restored is true while the verdict is one from before a restart.
	Restored bool `json:"-"`

	// Count consecutive observations speak for Pending, another state than State. Where State is Up they
	// all speak against it, the last one for Pending.
	Pending State `json:"pending,omitzero"`
	Count   int   `json:"count,omitzero"`
	// Blind is, while State is Up, how many consecutive observations told nothing.
	Blind int `json:"blind,omitzero"`
	// From is, while State is Unknown, what it was before; Unknown if nothing ever was.
	From State `json:"from,omitzero"`
	// Owes is what Observation.Owes was.
	Owes time.Time `json:"owes,omitzero"`

	Changes [flapChanges]time.Time `json:"changes,omitzero"` // the latest times at which Up was entered or left, in a ring
	Change  int                    `json:"change,omitzero"`  // index of the oldest of them
	Calm    time.Time              `json:"calm,omitzero"`    // when the present run of passes began; zero if there is none
}

// Next is the whole rule of health: the verdict after o, under p. It has no clock, lock or log.
//
//   - The first observation decides: there is no earlier verdict to protect.
//   - Up is left after p.Fall consecutive observations that are not Up, for what the last one saw.
//   - Any other state is left after p.Rise (to Up, or from Down to Stale) or p.Fall (to Down or Unknown)
//     consecutive observations of the same result.
//   - An observation that tells nothing is no failure: it takes p.Fall of them on end to go from Up to Unknown.
//   - Unknown forgets nothing. What an endpoint was before counts as if it still were, so that an outage
//     of our own neither condemns nor pardons anybody; it is that again after one observation.
//   - An endpoint that entered or left Up more than flapChanges times within flapWindow is flapping: it
//     has to pass for flapCalm intervals on end before it is up again.
func (v Verdict) Next(o Observation, p Policy) Verdict {
	v = v.note(&o)
	judged := v.judged()
	switch {
	case o.Result == v.State:
		v.Pending, v.Count, v.Reason = Unknown, 0, o.Reason
		if v.Since.IsZero() {
			v.Since = o.At
		}
		return v
	case judged == Unknown, v.State == Unknown && o.Result == judged:
		return v.enter(&o)
	case v.State == Up && o.Result == Unknown:
		v.Reason = o.Reason
		if v.Blind++; v.Blind < p.Fall {
			return v
		}
		return v.enter(&o)
	}

	if judged != Up && v.Pending != o.Result {
		v.Count = 0
	}
	v.Pending = o.Result
	v.Count++
	if v.State == Up {
		v.Reason = o.Reason
	}
	if v.Count < p.threshold(judged, o.Result) {
		return v
	}
	if o.Result == Up && v.Flapping(o.At) && o.At.Sub(v.Calm) < flapCalm*p.Interval {
		v.Reason = flapping
		return v
	}
	return v.enter(&o)
}

// note takes over what o saw besides its result.
func (v Verdict) note(o *Observation) Verdict {
	v.Checked, v.Latency, v.Timings, v.Restored = o.At, o.Took, o.Timings, false
	if !o.Trace.IsZero() {
		v.Trace = o.Trace
	}
	if !o.CertExpires.IsZero() {
		v.CertExpires = o.CertExpires
	}
	if o.Result == Up || o.Result == Stale {
		v.TLSWarning = o.TLSWarning
	}
	switch {
	case o.Result == Down && v.judged() == Down:
		v.Owes = time.Time{} // one more outage: what has to be caught up with is found out at its end
	case o.Result == Up || o.Result == Stale:
		v.Owes = o.Owes
		// The peaks are kept for a while, so that one quick answer does not make a slow mirror look late.
		v.Usual = max(o.Took, v.Usual-(v.Usual-o.Took)/usualShare)
	}
	if o.Result != Unknown {
		v.Blind = 0
	}
	if o.Result != Up {
		v.Calm = time.Time{}
	} else if v.Calm.IsZero() {
		v.Calm = o.At
	}
	return v
}

// judged is the last state in which something was known.
func (v *Verdict) judged() State {
	if v.State == Unknown {
		return v.From
	}
	return v.State
}

// Standing is the state to go by where a choice has to be made: an endpoint that was unfit, and cannot be judged now for
// a reason of ours, has not become better by that.
func (v *Verdict) Standing() State {
	if judged := v.judged(); judged == Down || judged == Stale {
		return judged
	}
	return v.State
}

// threshold is how many consecutive observations it takes to go from one state to another.
func (p *Policy) threshold(from, to State) int {
	if to == Up || from == Down && to == Stale {
		return p.Rise
	}
	return p.Fall
}

// enter is v in the state that o saw.
func (v Verdict) enter(o *Observation) Verdict {
	judged := v.judged()
	if judged != Unknown && o.Result != Unknown && (judged == Up) != (o.Result == Up) {
		v.Changes[v.Change] = o.At
		v.Change = (v.Change + 1) % flapChanges
	}
	v.From = Unknown
	if o.Result == Unknown {
		v.From = judged
	}
	v.State, v.Reason, v.Since = o.Result, o.Reason, o.At
	v.Pending, v.Count, v.Blind = Unknown, 0, 0
	return v
}

// Flapping reports whether v has changed as often as it may, so that one more change is too much.
func (v *Verdict) Flapping(now time.Time) bool {
	oldest := v.Changes[v.Change]
	return !oldest.IsZero() && now.Sub(oldest) < flapWindow
}

// InDoubt reports whether the latest observations speak against an endpoint that is up.
func (v *Verdict) InDoubt() bool { return v.State == Up && v.Count > 0 }

// Settles is how soon a verdict that is in doubt may change at the earliest, counted from the latest
// observation. It is 0 for one that is not in doubt. Answers that rest on the verdict should not be kept for
// longer than that.
func (v *Verdict) Settles(p Policy) time.Duration {
	if !v.InDoubt() {
		return 0
	}
	return time.Duration(max(p.Fall-v.Count, 1)) * v.Wait(p)
}

// Wait is how long after the latest observation the next probe is due.
//
// It is p.Interval, but less while the verdict is in doubt, so that a failure is known soon; and more,
// growing with the time that it has lasted, while an endpoint is down.
func (v *Verdict) Wait(p Policy) time.Duration {
	switch {
	case v.Checked.IsZero():
		return 0
	case v.Blind > 0:
		return p.Interval // what told nothing, such as a busy daemon, would tell nothing again
	case v.judged() == Up && v.Count > 0:
		pause := min(p.Interval/recheckShare, maxRecheck)
		return max(pause-v.Latency, pause/breathShare)
	case v.State == Down && v.Count == 0:
		// Four times in each doubling of the time: a mirror which was away for an hour is noticed to
		// be back within a quarter of an hour at most.
		return min(max(p.Interval, v.Checked.Sub(v.Since)/4), maxBackoff*p.Interval)
	default:
		return p.Interval
	}
}

// Patience is how long the next probe may take.
//
// It is p.Timeout, but less while the verdict is in doubt: an endpoint that has just failed gets a shorter
// second chance, or a hang would cost a whole timeout for each of p.Fall probes. An endpoint that is slow by
// habit is not hurried: it always gets a multiple of what it needs at the worst of times.
func (v *Verdict) Patience(p Policy) time.Duration {
	if !v.InDoubt() || v.Usual == 0 {
		return p.Timeout
	}
	return min(max(p.Timeout*patienceShare/10, patienceUsual*v.Usual), p.Timeout)
}

// At is v as it stands at now: a verdict that no check has renewed for maxAge is unknown again.
func (v Verdict) At(now time.Time, maxAge time.Duration) Verdict {
	age := now.Sub(v.Checked)
	if v.State == Unknown || age <= maxAge {
		return v
	}
	v.From = v.State
	v.State, v.Since = Unknown, v.Checked.Add(maxAge)
	v.Reason = fmt.Sprintf("last checked %v ago", age.Round(time.Second))
	v.Pending, v.Count, v.Blind = Unknown, 0, 0
	return v
}
