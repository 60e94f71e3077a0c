package health

import (
	"context"
	"net/netip"
	"time"

	"go.uber.org/zap"
)

const (
	// The pool as a whole is looked over this many times in an interval.
	surveyShare = 20

	// Our own network is suspected if at least suspectMirrors mirrors, and more than half of the checks
	// that were up, begin to fail within one interval; for suspectIntervals at most.
	suspectMirrors   = 3
	suspectIntervals = 10
	suspectNetwork   = "local network"

	certWarnEvery = 24 * time.Hour
)

// probe looks once. The returned function, called under the lock, takes in what was seen.
func (c *Checker) probe(ctx context.Context, k *check) func(time.Time) time.Duration {
	c.mu.Lock()
	target, patience := c.target(k), k.verdict.Patience(c.policy)
	withoutAddress := c.blind(k)
	var further []netip.Addr
	if k.role == Rsync {
		further = furtherAddresses(k.mirror.rsyncLookup().addresses(c.settings.AllowPrivate), k.address)
	}
	c.mu.Unlock()
	if withoutAddress != nil {
		return c.finish(k, *withoutAddress, target.Address, target.Address)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var o Observation
	reached := target.Address
	if target.Role == Rsync {
		o, reached = c.probeRsync(ctx, target, further)
	} else {
		o = c.prober.Probe(ctx, target)
	}
	if c.watch != nil {
		c.watch(target.Role, o)
	}
	finish := c.finish(k, o, target.Address, reached)
	if !c.wantsAgents(k, o) {
		return finish
	}
	refuses := c.checkAgents(ctx, target)
	return func(now time.Time) time.Duration {
		c.noteAgents(k, refuses)
		return finish(now)
	}
}

// finish returns what takes in o, which was seen by a probe that was to look at one address and reached another, or the
// same one.
func (c *Checker) finish(k *check, o Observation, address, reached netip.Addr) func(time.Time) time.Duration {
	return func(now time.Time) time.Duration {
		c.observe(k, o, now)
		if k.address == address { // it may have got another one meanwhile
			k.address = reached
		}
		return k.verdict.Wait(c.policy)
	}
}

func (c *Checker) target(k *check) Target {
	m := k.mirror
	t := Target{
		Role: k.role, URL: m.trace, Rsync: m.rsyncURL, Address: k.address, OwnHost: m.web.host, UserAgent: c.settings.UserAgent,
	}
	if k.role == DNS {
		t.URL = c.settings.dnsURL
	}
	return t
}

// observe takes in what a probe has seen.
func (c *Checker) observe(k *check, o Observation, now time.Time) {
	if now.Sub(c.surveyed) >= c.policy.Interval/surveyShare {
		c.survey(now)
	}
	old := k.verdict
	if c.sweeping && old.judged() == Unknown {
		k.rash = true
	}
	if k.role != Rsync {
		o = c.fresh.Judge(&old, o)
	}
	if c.suspect != "" && old.State == Up && o.Result == Stale {
		o.Result, o.Reason = Up, o.Reason+" (not counted: suspect: "+c.suspect+")"
	}
	switch {
	case o.Result == Up || o.Result == Stale:
		k.failing = time.Time{}
	case k.role == Rsync && o.Result == Unknown: // a busy daemon is no sign of trouble here
	case old.State == Up && k.failing.IsZero():
		k.failing = o.At
	}
	k.verdict = old.Next(o, c.policy)
	if k.verdict.State == Up {
		k.mirror.everUp[k.role] = true
	}
	c.tell(k, &old)
	c.warnOfCertificate(k, now)
}

// tell says how k's verdict differs from old.
func (c *Checker) tell(k *check, old *Verdict) {
	next := &k.verdict
	if next.State != old.State {
		c.log.Info("endpoint changed state",
			zap.String("mirror", k.mirror.URLPrefix), zap.Stringer("endpoint", k.address), zap.Stringer("role", k.role),
			zap.Stringer("from", old.State), zap.Stringer("to", next.State), zap.String("reason", next.Reason))
	}
	if next.State != old.State || next.InDoubt() != old.InDoubt() {
		notify(c.changed)
	}
}

func (c *Checker) warnOfCertificate(k *check, now time.Time) {
	warning := k.verdict.CertWarning(now)
	if warning == "" || !k.warned.IsZero() && now.Sub(k.warned) < certWarnEvery {
		return
	}
	k.warned = now
	c.log.Warn("certificate has to be renewed", zap.String("mirror", k.mirror.URLPrefix), zap.Stringer("endpoint", k.address),
		zap.Stringer("role", k.role), zap.String("warning", warning))
}

// readReference reads reference_url. The returned function, called under the lock, takes it in.
func (c *Checker) readReference(ctx context.Context) func(time.Time) time.Duration {
	c.mu.Lock()
	s := c.settings
	c.mu.Unlock()
	if s.referenceURL == nil { // it was taken away just now, and this task with it
		return func(time.Time) time.Duration { return s.Interval }
	}
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	trace, err := c.reference.ReadReference(ctx, s.referenceURL, s.UserAgent)
	return func(now time.Time) time.Duration {
		problem := ""
		if err != nil {
			problem = referenceProblem(err, c.fresh.Reference())
		} else {
			c.learnReference(trace, now)
		}
		switch {
		case problem == c.referenceProblem:
		case problem == "":
			c.log.Info("reference_url can be read again")
		default:
			c.log.Warn("no news of the reference", zap.String("problem", problem))
		}
		c.referenceProblem = problem
		return c.policy.Interval
	}
}

func (c *Checker) learnReference(trace, now time.Time) {
	if c.fresh.Learn(trace, now, c.sweeping) {
		c.log.Info("reference changed", zap.Time("trace", c.fresh.Reference().Trace))
	}
}

// survey looks over the whole pool: which trace most of it carries, and whether its mirrors fail together.
func (c *Checker) survey(now time.Time) {
	c.surveyed = now
	var seen survey
	for _, m := range c.mirrors {
		seen.add(m, now.Add(-c.policy.Interval))
	}
	if c.settings.referenceURL == nil {
		c.learnReference(majorityTrace(seen.voters), now)
	}
	switch {
	case c.suspect == "" && seen.beginsTogether():
		c.suspect, c.suspected = suspectNetwork, now
		c.log.Warn("suspect: local network: most mirrors began to fail together",
			zap.Int("failing", seen.failing), zap.Int("of", seen.wereUp))
	case c.suspect != "" && (!seen.mostFail() || now.Sub(c.suspected) > suspectIntervals*c.policy.Interval):
		c.suspect = ""
		c.log.Info("local network no longer suspected", zap.Int("failing", seen.failing), zap.Int("of", seen.wereUp))
	}
}

// A survey is what all mirrors together look like.
type survey struct {
	voters  []voter // the enabled mirrors
	wereUp  int     // checks that are up, or were when they began to fail
	failing int     // those of them that fail
	recent  int     // those that began within the last interval
	mirrors int     // with such checks
}

// add adds m. What began to fail after since is recent.
func (s *survey) add(m *mirror, since time.Time) {
	recent := s.recent
	for k := range m.all {
		switch {
		case !k.failing.IsZero():
			s.wereUp++
			s.failing++
			if k.failing.After(since) {
				s.recent++
			}
		case k.verdict.State == Up:
			s.wereUp++
		}
	}
	if m.Enabled() {
		s.voters = append(s.voters, m.voter())
	}
	if s.recent > recent {
		s.mirrors++
	}
}

// voter returns m's say in what the reference is.
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

// beginsTogether reports whether most of what did not fail an interval ago does now.
func (s *survey) beginsTogether() bool {
	before := s.wereUp - (s.failing - s.recent)
	return s.mirrors >= suspectMirrors && 2*s.recent > before
}

func (s *survey) mostFail() bool { return 2*s.failing > s.wereUp }

// reconsider judges once more, now that the reference is known, what the first sweep found up before it was.
func (c *Checker) reconsider(now time.Time) {
	c.survey(now)
	for _, m := range c.mirrors {
		for _, k := range m.checks {
			v := k.verdict
			if !k.rash || v.State != Up || v.Count > 0 {
				continue
			}
			o := c.fresh.Judge(new(Verdict), Observation{
				At: v.Checked, Took: v.Latency, Result: Up, Trace: v.Trace, CertExpires: v.CertExpires, TLSWarning: v.TLSWarning,
				Timings: v.Timings,
			})
			if o.Result != Up {
				k.verdict = Verdict{}.Next(o, c.policy)
				c.tell(k, &v)
			}
		}
	}
}
