package health

import (
	"context"
	"fmt"
	"net/url"
	"time"

	"go.uber.org/zap"
)

// A ReferenceReader reads the trace of the origin, which all mirrors should carry. It returns by ctx's
// deadline.
type ReferenceReader interface {
	ReadReference(ctx context.Context, u *url.URL, userAgent string) (time.Time, error)
}

// A Reference is the trace that mirrors should carry, and how many do.
type Reference struct {
	ReferenceChange
	// Problem says why the reference may be out of date, or is not known; empty if all is well.
	Problem string

	// Mirrors of the Enabled ones carry the reference at each address where their trace is known, and
	// their weights are Weight of EnabledWeight.
	Mirrors, Enabled      int
	Weight, EnabledWeight uint64

	// Ahead is the newest trace that is newer than the reference, and AheadMirrors how many of the enabled mirrors
	// carry something newer: a release that others are yet to copy, or something wrong. It is zero if none does, or
	// the reference comes from reference_url.
	Ahead        time.Time
	AheadMirrors int
}

// An origin is where the reference is read.
type origin struct {
	reader  ReferenceReader
	task    *task  // nil without a reference_url
	problem string // why the last read failed, or ""
}

// setReference starts reading reference_url, if there is one, and forgets the reference: that of another source may
// differ.
func (c *Checker) setReference(now time.Time) {
	c.schedule.drop(c.origin.task)
	c.origin.task, c.origin.problem, c.survey.fresh.changes = nil, "", nil
	if c.settings.referenceURL != nil {
		c.origin.task = c.schedule.add(&task{due: now, work: c.readReference})
	}
}

// readReference reads reference_url. The returned function, called under the lock, takes it in.
func (c *Checker) readReference(ctx context.Context) func(time.Time) time.Duration {
	c.mu.Lock()
	s := c.settings
	c.mu.Unlock()
	if s.referenceURL == nil { // it was removed just now, and this task with it
		return func(time.Time) time.Duration { return s.Interval }
	}
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	trace, err := c.origin.reader.ReadReference(ctx, s.referenceURL, s.UserAgent)
	return func(now time.Time) time.Duration {
		problem := ""
		if err != nil {
			problem = referenceProblem(err, c.survey.fresh.Reference())
		} else {
			c.learnReference(trace, now)
		}
		switch {
		case problem == c.origin.problem:
		case problem == "":
			c.log.Info("reference_url can be read again")
		default:
			c.log.Warn("cannot read reference_url", zap.String("problem", problem))
		}
		c.origin.problem = problem
		return c.policy.Interval
	}
}

// referenceProblem describes why reference_url could not be read.
func referenceProblem(err error, known ReferenceChange) string {
	if known.Trace.IsZero() {
		return fmt.Sprintf("reference_url cannot be read: %v; no reference is known", err)
	}
	return fmt.Sprintf("reference_url cannot be read: %v; keeping the last one known", err)
}

// learnReference takes in what the reference is now.
func (c *Checker) learnReference(trace, now time.Time) {
	if c.survey.fresh.Learn(trace, now, c.sweeping) {
		c.log.Info("reference changed", zap.Time("trace", c.survey.fresh.Reference().Trace))
	}
}
