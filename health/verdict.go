package health

import (
	"fmt"
	"time"
)

const (
	// An endpoint may change state flapChanges times within flapWindow. With one change more it is
	// flapping, and has to pass for flapCalm intervals before it is up again.
	flapChanges = 6
	flapWindow  = time.Hour
	flapCalm    = 10

	flapping = "flapping: changed more than 6 times within an hour, has to pass for 10 intervals on end"

	// A verdict in doubt is checked again after 1/recheckShare of the interval, at most maxRecheck. The time that
	// the last probe took counts towards that pause, but 1/breathShare of the pause is always left.
	recheckShare = 10
	breathShare  = 10
	maxRecheck   = 2 * time.Second

	// A re-check may take patienceShare/10 of the timeout, or patienceUsual times as long as the endpoint
	// usually needs if that is more.
	patienceShare = 3
	patienceUsual = 4
	usualShare    = 8 // how fast the usual latency forgets: by an eighth of the difference per pass

	// maxBusy is how long an endpoint may refuse for too many requests before that counts as a failure.
	maxBusy = time.Minute

	// It takes starvedFall times as many inconclusive checks where this host was too busy to tell.
	starvedFall = 4

	// Endpoints that have long been down are checked less often, up to maxBackoff intervals apart.
	maxBackoff = 10
)

// A Verdict is the outcome of all checks of one endpoint in one role. The zero Verdict is that of an endpoint which was
// never checked.
type Verdict struct {
	State    State         `json:"state"`
	Reason   string        `json:"reason"` // why State is not Up; or, of one that is up, what the latest failure was
	Since    time.Time     `json:"since"`  // when State was entered
	Checked  time.Time     `json:"checked"`
	Cause    Cause         `json:"cause,omitzero"`    // of the latest failure
	Evidence bool          `json:"evidence,omitzero"` // the latest failure is one that [Observation.Evidence] says of
	Latency  time.Duration `json:"latency"`           // of the last probe
	Usual    time.Duration `json:"usual,omitzero"`    // the longest latency of late, of probes that got an answer

	Trace       time.Time `json:"trace,omitzero"`        // as last read; see Observation
	CertExpires time.Time `json:"cert_expires,omitzero"` // as last seen; see Observation
	Timings     Timings   `json:"timings,omitzero"`      // of the last probe
	TLSWarning  string    `json:"tls_warning,omitzero"`  // as last seen; see Observation

	// Restored is true while the verdict is one from before a restart.
	Restored bool `json:"-"`

	// Count is how many consecutive observations were of Pending, a state other than State. If State is Up, they may be
	// of any other states, the last one of Pending.
	Pending State `json:"pending,omitzero"`
	Count   int   `json:"count,omitzero"`
	// BusySince is when the endpoint began to refuse for too many requests, and RetryAfter when it wants the next one;
	// zero if it does not.
	BusySince  time.Time     `json:"busy_since,omitzero"`
	RetryAfter time.Duration `json:"retry_after,omitzero"`

	// Inconclusive is, while State is Up, how many consecutive observations were Unknown.
	Inconclusive int `json:"blind,omitzero"`
	// From is, while State is Unknown, what it was before; Unknown if nothing ever was.
	From State `json:"from,omitzero"`
	// Owes is what Observation.Owes was.
	Owes time.Time `json:"owes,omitzero"`

	Rate

	// Changes is a ring of the latest times at which Up was entered or left, and Change the index of the oldest. It is nil
	// if there were none, as of most endpoints. Copies of a verdict share it, so it is not changed once made.
	Changes *[flapChanges]time.Time `json:"changes,omitzero"`
	Change  int                     `json:"change,omitzero"`
	// PassingSince is when the present run of passes began; zero if there is none.
	PassingSince time.Time `json:"calm,omitzero"`
}

// Next is the whole rule of health: the verdict after o, under p. It has no clock, lock or log.
//
//   - The first observation decides: there is no earlier verdict to protect.
//   - Up is left after p.Fall consecutive observations that are not Up, for what the last one saw.
//   - Any other state is left after p.Rise (to Up, or from Down to Stale) or p.Fall (to Down or Unknown)
//     consecutive observations of the same result.
//   - An endpoint that refuses for too many requests is busy, not down, for up to maxBusy.
//   - An inconclusive observation is no failure: it takes p.Fall of them on end to go from Up to Unknown, and more
//     where this host was too busy.
//   - Unknown keeps the last known state, and one observation of that state restores it. An outage on our
//     side therefore neither condemns nor pardons an endpoint.
//   - An endpoint that passes too seldom, though it never fails p.Fall times on end, is Down until it is steady again:
//     see [Rate].
//   - An endpoint that entered or left Up more than flapChanges times within flapWindow is flapping: it
//     has to pass for flapCalm intervals on end before it is up again.
func (v Verdict) Next(o Observation, p Policy) Verdict {
	v = v.note(&o)
	known := v.lastKnown()
	switch busy := o.At.Sub(v.BusySince); {
	case v.RetryAfter > 0 && busy >= maxBusy:
		o.Result = Down // its clients meet the same
	case v.RetryAfter > 0 && known != Unknown:
		v.Reason = o.Reason
		return v
	}
	if v.State == Up && o.Result == Down && v.Failures() > maxFailures && !p.Lossy {
		v.Unsteady = true
		o.Reason = v.unsteady() + "; the latest: " + o.Reason
		return v.enter(&o)
	}
	switch {
	case o.Result == v.State:
		v.Pending, v.Count, v.Reason = Unknown, 0, o.Reason
		if v.Since.IsZero() {
			v.Since = o.At
		}
		return v
	case known == Unknown, v.State == Unknown && o.Result == known:
		return v.enter(&o)
	case v.State == Up && o.Result == Unknown:
		return v.inconclusive(&o, p)
	}
	if known != Up && v.Pending != o.Result {
		v.Count = 0
	}
	v.Pending = o.Result
	v.Count++
	if v.State == Up {
		v.Reason = o.Reason
	}
	if v.Count < p.threshold(known, o.Result) {
		return v
	}
	if restless := v.restless(&o, p); restless != "" && o.Result == Up {
		v.Reason = restless
		return v
	}
	return v.enter(&o)
}

// inconclusive is Next for an endpoint that is up, and an observation that says nothing of it.
func (v Verdict) inconclusive(o *Observation, p Policy) Verdict {
	limit := p.Fall
	if o.Late > 0 {
		limit *= starvedFall
	}
	v.Reason = o.Reason
	if v.Inconclusive++; v.Inconclusive < limit {
		return v
	}
	return v.enter(o)
}

// restless says why an endpoint that passes has to wait before it is up again, or returns "".
func (v *Verdict) restless(o *Observation, p Policy) string {
	switch {
	case v.Unsteady && v.Failures() > calmFailures && !p.Lossy:
		return v.unsteady()
	case v.Flapping(o.At) && o.At.Sub(v.PassingSince) < flapCalm*p.Interval:
		return flapping
	}
	return ""
}

// note takes over what o saw besides its result.
func (v Verdict) note(o *Observation) Verdict {
	v.Checked, v.Latency, v.Timings, v.Restored, v.Cause = o.At, o.Took, o.Timings, false, o.Cause
	v.Evidence = o.Evidence
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
	case o.Result == Down && v.lastKnown() == Down:
		v.Owes = time.Time{} // another outage: at its end the endpoint owes the reference of that moment
	case o.Result == Up || o.Result == Stale:
		v.Owes = o.Owes
		// Peaks decay slowly: one quick answer must not make the usual latency of a slow mirror look like a hang.
		v.Usual = max(o.Took, v.Usual-(v.Usual-o.Took)/usualShare)
	}
	if v.RetryAfter = o.RetryAfter; v.RetryAfter == 0 {
		v.BusySince = time.Time{}
	} else if v.BusySince.IsZero() {
		v.BusySince = o.At
	}
	if o.Result != Unknown {
		v.Inconclusive = 0
		if state := v.lastKnown(); state != Down || v.Unsteady { // an outage is none of the rate's business
			v.Rate = v.Rate.note(o.Result == Down, o.Took)
		}
	}
	if o.Result != Up {
		v.PassingSince = time.Time{}
	} else if v.PassingSince.IsZero() {
		v.PassingSince = o.At
	}
	return v
}

// lastKnown is the latest state other than Unknown, or Unknown if there never was one.
func (v *Verdict) lastKnown() State {
	if v.State == Unknown {
		return v.From
	}
	return v.State
}

// ForSelection is the state by which endpoints are selected. An endpoint that was unfit stays so while it cannot be
// judged for a reason on our side.
func (v *Verdict) ForSelection() State {
	if known := v.lastKnown(); known == Down || known == Stale {
		return known
	}
	return v.State
}

// Evident reports whether the endpoint is unfit because of something that it sent, and that anyone who asks sees: a
// wrong certificate, or wrong or old content. An endpoint that cannot be reached from here may well be from
// elsewhere.
func (v *Verdict) Evident() bool { return v.State == Stale || v.State == Down && v.Evidence }

// threshold is how many consecutive observations it takes to go from one state to another.
func (p *Policy) threshold(from, to State) int {
	if to == Up || from == Down && to == Stale {
		return p.Rise
	}
	return p.Fall
}

// enter returns v in the state that o saw.
func (v Verdict) enter(o *Observation) Verdict {
	known := v.lastKnown()
	if known != Unknown && o.Result != Unknown && (known == Up) != (o.Result == Up) {
		var changes [flapChanges]time.Time
		if v.Changes != nil {
			changes = *v.Changes
		}
		changes[v.Change] = o.At
		v.Changes = &changes
		v.Change = (v.Change + 1) % flapChanges
	}
	v.From = Unknown
	if o.Result == Unknown {
		v.From = known
	}
	v.State, v.Reason, v.Since = o.Result, o.Reason, o.At
	if v.Unsteady = v.Unsteady && o.Result != Up; known == Up && o.Result == Down && !v.Unsteady {
		v.Rate = v.forgetRun()
	}
	v.Pending, v.Count, v.Inconclusive = Unknown, 0, 0
	return v
}

// Flapping reports whether v has changed as often as it may: with one more change it is flapping.
func (v *Verdict) Flapping(now time.Time) bool {
	if v.Changes == nil {
		return false
	}
	oldest := v.Changes[v.Change]
	return !oldest.IsZero() && now.Sub(oldest) < flapWindow
}

// InDoubt reports whether the latest conclusive observation of an endpoint that is up was a failure.
func (v *Verdict) InDoubt() bool { return v.State == Up && v.Count > 0 }

// DecidesIn is how soon a verdict in doubt may change at the earliest, counted from the latest observation. It is 0 for
// one that is not in doubt. Answers that rest on the verdict should not be cached for longer.
func (v *Verdict) DecidesIn(p Policy) time.Duration {
	if !v.InDoubt() {
		return 0
	}
	return time.Duration(max(p.Fall-v.Count, 1)) * v.Wait(p)
}

// Wait is how long after the latest observation the next probe is due.
//
// It is p.Interval; less while the verdict is in doubt, to confirm a failure soon; and more while an endpoint is down,
// in proportion to the length of the outage.
func (v *Verdict) Wait(p Policy) time.Duration {
	return max(v.usualWait(p), v.RetryAfter)
}

func (v *Verdict) usualWait(p Policy) time.Duration {
	switch {
	case v.Checked.IsZero():
		return 0
	case v.RetryAfter > 0 && v.lastKnown() == Unknown:
		return v.RetryAfter
	case v.Inconclusive > 0:
		return p.Interval // the cause, such as a busy daemon, is likely to last for some seconds
	case v.lastKnown() == Up && v.Count > 0:
		pause := min(p.Interval/recheckShare, maxRecheck)
		return max(pause-v.Latency, pause/breathShare)
	case v.State == Down && v.Count == 0:
		// A mirror that was away for an hour is noticed to be back within ten intervals at the latest.
		return min(max(p.Interval, v.Checked.Sub(v.Since)/4), maxBackoff*p.Interval)
	case v.Hesitated&1 != 0:
		// The next check must not keep step with what makes the endpoint hang now and then.
		return p.Interval/2 + time.Duration(v.Checked.UnixNano())%(p.Interval/2)
	default:
		return p.Interval
	}
}

// Patience is how long the next probe may take.
//
// It is p.Timeout, but less while the verdict is in doubt: otherwise a hang would cost a whole timeout for each of
// p.Fall probes. An endpoint that is usually slow always gets a multiple of its longest latency of late.
func (v *Verdict) Patience(p Policy) time.Duration {
	if !v.InDoubt() || v.Usual == 0 {
		return p.Timeout
	}
	return min(max(p.Timeout*patienceShare/10, patienceUsual*v.Usual), p.Timeout)
}

// At returns v as of now: a verdict that no check has renewed for maxAge is unknown again.
func (v Verdict) At(now time.Time, maxAge time.Duration) Verdict {
	age := now.Sub(v.Checked)
	if v.State == Unknown || age <= maxAge {
		return v
	}
	v.From = v.State
	v.State, v.Since = Unknown, v.Checked.Add(maxAge)
	v.Reason = fmt.Sprintf("last checked %v ago", age.Round(time.Second))
	v.Pending, v.Count, v.Inconclusive = Unknown, 0, 0
	return v
}
