package health

import (
	"time"

	"go.uber.org/zap"
)

// surveyShare is how many times in an interval the pool as a whole is surveyed.
const surveyShare = 20

// A survey watches the pool as a whole: what the mirrors should carry, and whether most of them fail alike.
type survey struct {
	fresh      Freshness
	surveyed   time.Time // the last time
	suspects   []Suspect // see Report
	controlled time.Time // when the resolver was last tried with many hosts
	cleared    time.Time // when the resolver was last suspected no more; zero if it never was
	ahead      int       // mirrors that are ahead of the reference
	passing    [3]bool   // by role: some check passed
	local      string    // why checks cannot be made, for a reason on this host's side; "" if they can
}

// noteLocal logs why checks cannot be made, once until the reason changes.
func (s *survey) noteLocal(mirrors map[string]*mirror, log *zap.Logger) {
	reason, checks := "", 0
	for _, m := range mirrors {
		for k := range m.all {
			if k.verdict.Cause == CauseLocal && !k.failingSince.IsZero() {
				checks++
				reason = max(reason, k.lastReason)
			}
		}
	}
	switch {
	case reason == s.local:
	case reason != "":
		log.Warn("checks cannot be made, for a reason on this host", zap.String("reason", reason), zap.Int("checks", checks))
	default:
		log.Info("all checks can be made again")
	}
	s.local = reason
}

// noteAhead logs how many mirrors carry something newer than the reference, when that changes.
func (s *survey) noteAhead(voters []voter, log *zap.Logger) {
	reference, ahead := s.fresh.Reference().Trace, 0
	for _, v := range voters {
		if !reference.IsZero() && v.trace.After(reference) && !v.down {
			ahead++
		}
	}
	if ahead > 0 && ahead != s.ahead {
		log.Info("mirrors carry something newer than the reference", zap.Int("mirrors", ahead), zap.Int("of", len(voters)))
	}
	s.ahead = ahead
}

// takeSurvey surveys the whole pool: which trace most of it carries, and whether its mirrors fail alike.
func (c *Checker) takeSurvey(now time.Time) {
	c.survey.surveyed = now
	var t tally
	for _, m := range c.mirrors {
		t.add(m, now, now.Add(-c.policy.Interval))
	}
	if c.settings.referenceURL == nil {
		trace := majorityTrace(t.voters)
		if present := c.survey.fresh.Reference().Trace; !trace.Before(present) || goesBack(t.voters, present, trace) {
			c.learnReference(trace, now)
		}
		c.survey.noteAhead(t.voters, c.log)
	}
	c.policy.Lossy = t.lossy()
	c.survey.noteLocal(c.mirrors, c.log)
	for role, passing := range t.passing {
		if passing && !c.survey.passing[role] && !c.sweeping {
			c.recheckDown(now) // the network is back: many wait long for their next check
			break
		}
	}
	c.survey.passing = t.passing
	c.setSuspects(c.findSuspects(&t, now))
}

// recheckDown makes the checks due that are down: they may have failed for a reason on this host's side that is gone.
func (c *Checker) recheckDown(now time.Time) {
	for _, m := range c.mirrors {
		for k := range m.all {
			if k.verdict.State == Down {
				c.schedule.move(k.task, now)
			}
		}
	}
	signal(c.wake)
}

// A tally counts over all mirrors at one moment.
type tally struct {
	voters  []voter // the enabled mirrors
	wereUp  int     // checks that are up, or were when they began to fail
	failing int     // those of them that fail
	recent  int     // those that began within the last interval
	passing [3]bool // by role: some check passed the last time
	all     int     // enabled mirrors
	shaky   int     // those of them that fail now and then

	// The mirrors with such checks.
	upMirrors, failingMirrors, recentMirrors int
}

// lossy reports whether most mirrors fail now and then.
func (t *tally) lossy() bool { return t.shaky >= suspectMirrors && 2*t.shaky > t.all }

// add adds m. A failure that began after since is recent.
func (t *tally) add(m *mirror, now, since time.Time) {
	before, shaky := *t, false
	for k := range m.all {
		if k.passes() {
			t.passing[k.role] = true
		}
		// One that is down as a whole says nothing of it: its rate is that of the time before.
		shaky = shaky || k.verdict.Failures() > 1 && (k.verdict.State == Up || k.verdict.Unsteady)
		switch {
		case !k.failingSince.IsZero() && k.failedUp:
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
		t.voters = append(t.voters, m.voter(now))
		if t.all++; shaky {
			t.shaky++
		}
	}
	t.upMirrors += min(t.wereUp-before.wereUp, 1)
	t.failingMirrors += min(t.failing-before.failing, 1)
	t.recentMirrors += min(t.recent-before.recent, 1)
}

// voteTime is how long a mirror that is down keeps its vote: an outage of the majority must not make a minority's
// trace the reference.
const voteTime = 24 * time.Hour

// voter returns m's vote on the reference.
func (m *mirror) voter(now time.Time) voter {
	v := voter{host: m.web.host, weight: uint64(m.Weight), down: len(m.checks) > 0}
	for _, k := range m.checks {
		v.down = v.down && k.verdict.lastKnown() == Down && now.Sub(k.verdict.Since) > voteTime
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
