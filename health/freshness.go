package health

import (
	"fmt"
	"slices"
	"time"
)

// maxChanges is how many changes of the reference are remembered. Only an origin that changes on every check reaches
// this; then the second oldest is dropped, which can only make a lag look shorter.
const maxChanges = 512

// A ReferenceChange is one trace that the reference has had, and since when.
type ReferenceChange struct {
	Trace time.Time `json:"trace"`
	Since time.Time `json:"since"` // when it became the reference, as we saw it
}

// A Freshness judges how old a mirror's content is, by the reference: the trace of the content that all
// mirrors should carry. It has no clock.
type Freshness struct {
	MaxLag time.Duration // how long a mirror may be behind the reference
	MaxAge time.Duration // how old a trace may be at all; 0: no limit

	// changes are those that a mirror can be behind, oldest first, both by trace and by time. The last
	// one is the reference.
	changes []ReferenceChange
}

// Reference returns the present reference. It is zero while none is known.
func (f *Freshness) Reference() ReferenceChange {
	if len(f.changes) == 0 {
		return ReferenceChange{}
	}
	return f.changes[len(f.changes)-1]
}

// Learn takes in the reference as of now, and reports whether it has changed.
//
// If found is true, or nothing was known before, it is unknown when the trace became the reference: then it is taken
// to be as old as it says.
func (f *Freshness) Learn(trace, now time.Time, found bool) bool {
	if trace.IsZero() || trace.Equal(f.Reference().Trace) {
		return false
	}
	// If the origin goes back to older content, no mirror is behind the withdrawn content.
	f.changes = slices.DeleteFunc(f.changes, func(r ReferenceChange) bool { return r.Trace.After(trace) })
	if trace.Equal(f.Reference().Trace) {
		return true
	}
	since := now
	if (found || len(f.changes) == 0) && trace.Before(now) {
		since = trace
	}
	if last := f.Reference().Since; since.Before(last) {
		since = last
	}
	f.changes = append(f.changes, ReferenceChange{trace, since})
	// One change that is older than the limit is enough: all mirrors behind it are stale.
	for len(f.changes) > 1 && now.Sub(f.changes[1].Since) > f.MaxLag {
		f.changes = f.changes[1:]
	}
	if len(f.changes) > maxChanges {
		f.changes = slices.Delete(f.changes, 1, 2)
	}
	return true
}

// behind returns the first change to a trace newer than trace. ok is false if there is none.
func (f *Freshness) behind(trace time.Time) (r ReferenceChange, ok bool) {
	i, _ := slices.BinarySearchFunc(f.changes, trace, func(r ReferenceChange, t time.Time) int {
		if r.Trace.After(t) {
			return 1
		}
		return -1
	})
	if i == len(f.changes) {
		return ReferenceChange{}, false
	}
	return f.changes[i], true
}

// Judge returns o with freshness taken in, for the endpoint whose verdict so far is v.
//
// An endpoint that stays up may be behind the reference for MaxLag: it takes time to copy a release. One that comes
// back from being down is stale until it has caught up with the reference of the moment when it came back. A moving
// target would be out of reach for a mirror that copies less often than the origin changes.
func (f *Freshness) Judge(v *Verdict, o Observation) Observation {
	if o.Result != Up || o.Trace.IsZero() {
		return o
	}
	stale := func(format string, args ...any) Observation {
		o.Result, o.Reason = Stale, StepFreshness+": "+fmt.Sprintf(format, args...)
		return o
	}
	reference := f.Reference().Trace
	owes := v.Owes
	if owes.IsZero() && v.lastKnown() == Down {
		owes = reference
	}
	if owes.After(reference) {
		owes = reference // it was withdrawn
	}
	if o.Trace.Before(owes) {
		o.Owes = owes
	}
	lag := reference.Sub(o.Trace)
	age := o.At.Sub(o.Trace)
	since, behind := f.behind(o.Trace)
	switch {
	case f.MaxAge > 0 && age > f.MaxAge:
		return stale("the trace is %v old, max_age is %v", age.Round(time.Second), f.MaxAge)
	case behind && o.At.Sub(since.Since) > f.MaxLag:
		return stale("%v behind the reference, more than max_lag (%v) after it changed at %s",
			lag, f.MaxLag, since.Since.UTC().Format(time.RFC3339))
	case !o.Owes.IsZero():
		return stale("%v behind the reference, and has to catch up after an outage", lag)
	}
	return o
}
