package publish

import (
	"sync/atomic"
	"time"
)

// A Condition says whether another server can be notified, or kept up to date.
type Condition struct {
	Server, Zone string    // host:port, and absolute
	Problem      string    // of the latest attempt, or ""
	Since        time.Time // of the first of the attempts in a row that failed, or of those that did not; zero before any
}

// An outcome remembers what came of the latest attempt. One goroutine notes, any may look.
type outcome struct{ latest atomic.Pointer[Condition] }

// note takes in what came of an attempt, and reports whether that is news: another problem than before, or none any
// more.
func (o *outcome) note(err error, now time.Time) (news bool) {
	next := Condition{Since: now}
	if err != nil {
		next.Problem = err.Error()
	}
	before := o.condition("", "")
	if !before.Since.IsZero() && (before.Problem == "") == (next.Problem == "") {
		next.Since = before.Since
	}
	o.latest.Store(&next)
	return next.Problem != before.Problem
}

// condition is the outcome as that of a zone at a server.
func (o *outcome) condition(server, zone string) Condition {
	c := Condition{Server: server, Zone: zone}
	if latest := o.latest.Load(); latest != nil {
		c.Problem, c.Since = latest.Problem, latest.Since
	}
	return c
}
