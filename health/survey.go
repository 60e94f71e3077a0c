package health

import (
	"time"

	"go.uber.org/zap"
)

const (
	// The pool as a whole is surveyed this many times in an interval.
	surveyShare = 20

	// The local network is suspected if at least suspectMirrors mirrors, and more than half of the checks
	// that were up, begin to fail within one interval; for suspectIntervals at most.
	suspectMirrors   = 3
	suspectIntervals = 10
	suspectNetwork   = "local network"
)

// A survey watches the pool as a whole: what the mirrors should carry, and whether most of them fail at once.
type survey struct {
	fresh       Freshness
	surveyed    time.Time // the last time
	suspect     string    // see Report
	suspectedAt time.Time // when that began
}

// takeSurvey surveys the whole pool: which trace most of it carries, and whether its mirrors fail together.
func (c *Checker) takeSurvey(now time.Time) {
	c.survey.surveyed = now
	var t tally
	for _, m := range c.mirrors {
		t.add(m, now.Add(-c.policy.Interval))
	}
	if c.settings.referenceURL == nil {
		trace := majorityTrace(t.voters)
		if present := c.survey.fresh.Reference().Trace; !trace.Before(present) || goesBack(t.voters, present, trace) {
			c.learnReference(trace, now)
		}
	}
	if !c.survey.judgeNetwork(&t, now, c.policy.Interval) {
		return
	}
	counts := []zap.Field{zap.Int("failing", t.failing), zap.Int("of", t.wereUp)}
	if c.survey.suspect != "" {
		c.log.Warn("most mirrors failed at once, suspecting the local network", counts...)
	} else {
		c.log.Info("local network no longer suspected", counts...)
	}
}

// judgeNetwork begins or ends the suspicion against the local network, and reports whether it did.
func (s *survey) judgeNetwork(t *tally, now time.Time, interval time.Duration) (changed bool) {
	switch {
	case s.suspect == "" && t.failedAtOnce():
		s.suspect, s.suspectedAt = suspectNetwork, now
		return true
	case s.suspect != "" && (!t.mostFail() || now.Sub(s.suspectedAt) > suspectIntervals*interval):
		s.suspect = ""
		return true
	}
	return false
}

// A tally counts over all mirrors at one moment.
type tally struct {
	voters  []voter // the enabled mirrors
	wereUp  int     // checks that are up, or were when they began to fail
	failing int     // those of them that fail
	recent  int     // those that began within the last interval
	mirrors int     // with such checks
}

// add adds m. A failure that began after since is recent.
func (t *tally) add(m *mirror, since time.Time) {
	recent := t.recent
	for k := range m.all {
		switch {
		case !k.failingSince.IsZero():
			t.wereUp++
			t.failing++
			if k.failingSince.After(since) {
				t.recent++
			}
		case k.verdict.State == Up:
			t.wereUp++
		}
	}
	if m.Enabled() {
		t.voters = append(t.voters, m.voter())
	}
	if t.recent > recent {
		t.mirrors++
	}
}

// failedAtOnce reports whether most checks that did not fail an interval ago do now.
func (t *tally) failedAtOnce() bool {
	before := t.wereUp - (t.failing - t.recent)
	return t.mirrors >= suspectMirrors && 2*t.recent > before
}

func (t *tally) mostFail() bool { return 2*t.failing > t.wereUp }

// voter returns m's vote on the reference.
func (m *mirror) voter() voter {
	v := voter{host: m.web.host, weight: uint64(m.Weight)}
	for _, k := range m.checks {
		trace := k.verdict.Trace
		if trace.IsZero() {
			continue
		}
		v.networks = append(v.networks, networkOf(k.address))
		if trace.After(v.trace) {
			v.trace = trace
		}
	}
	return v
}

// reconsider ends the first sweep: endpoints that were found up before the reference was known are judged once more.
func (c *Checker) reconsider(now time.Time) {
	c.takeSurvey(now)
	for _, m := range c.mirrors {
		for _, k := range m.checks {
			v := k.verdict
			if !k.decidedEarly || v.State != Up || v.Count > 0 {
				continue
			}
			o := c.survey.fresh.Judge(new(Verdict), Observation{
				At: v.Checked, Took: v.Latency, Result: Up, Trace: v.Trace, CertExpires: v.CertExpires, TLSWarning: v.TLSWarning,
				Timings: v.Timings,
			})
			if o.Result != Up {
				k.verdict = Verdict{}.Next(o, c.policy)
				c.announce(k, &v)
			}
		}
	}
}
