package health

import (
	"context"
	"net/netip"
	"time"

	"go.uber.org/zap"
)

// maxLate is how late this host may notice a time-out. It is less than a millisecond or two while it has time for us;
// with more, what takes several turns, such as a TLS handshake, is slow because of this host.
const maxLate = 20 * time.Millisecond

// certWarnEvery is how often the log warns of one certificate.
const certWarnEvery = 24 * time.Hour

// probe runs one probe of k. The returned function, called under the lock, takes in what was seen.
func (c *Checker) probe(ctx context.Context, k *check) func(time.Time) time.Duration {
	c.mu.Lock()
	target, patience, await := c.target(k), k.verdict.Patience(c.policy), time.Duration(0)
	if k.role != Rsync {
		await = k.mirror.maxAwait()
	}
	notLooked := c.observeWithoutAddress(k)
	if notLooked == nil {
		notLooked = c.observeOtherFamily(k)
	}
	var further []netip.Addr
	if k.role == Rsync {
		further = furtherAddresses(k.mirror.rsyncLookup().addresses(c.settings.AllowPrivate), k.address)
	}
	c.mu.Unlock()
	if notLooked != nil {
		return c.finish(k, *notLooked, target.Address, target.Address)
	}
	target.RequestTimeout = patience
	ctx, cancel := context.WithTimeout(ctx, time.Duration(requestsOf(k.role))*patience+await)
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

// observeOtherFamily returns what is known of an endpoint of a family in which nothing is checked; nil for others.
func (c *Checker) observeOtherFamily(k *check) *Observation {
	family := "ipv4"
	if k.address.Is6() {
		family = "ipv6"
	}
	if c.settings.Family == "" || c.settings.Family == family {
		return nil
	}
	return &Observation{At: c.now(), Reason: "not checked: health.family is " + c.settings.Family}
}

// finish returns the function that takes in o, the result of a probe of address. The probe may have reached another
// address of the same host.
func (c *Checker) finish(k *check, o Observation, address, reached netip.Addr) func(time.Time) time.Duration {
	return func(now time.Time) time.Duration {
		c.observe(k, o, now)
		if k.address == address { // it may have another one by now
			k.address = reached
		}
		return k.verdict.Wait(c.policy)
	}
}

func (c *Checker) target(k *check) Target {
	m := k.mirror
	t := Target{
		Role: k.role, Rsync: m.rsyncURL, Address: k.address,
		OwnHost: m.web.host, UserAgent: c.settings.UserAgent,
		Route: Route{Proxy: c.settings.Proxy, Source: c.settings.Source},
	}
	switch k.role {
	case HTTP:
		t.URL = m.URL.JoinPath(c.settings.Path)
	case DNS:
		t.URL = c.settings.dnsURL
	}
	if k.role != Rsync {
		t.Await = func(ctx context.Context) time.Duration { return c.await(ctx, t.OwnHost) }
	}
	return t
}

// observe takes in what a probe has seen.
func (c *Checker) observe(k *check, o Observation, now time.Time) {
	if now.Sub(c.survey.surveyed) >= c.policy.Interval/surveyShare {
		c.takeSurvey(now)
	}
	if o.RetryAfter > 0 {
		c.pace(k.mirror.web.host).limited = now
	}
	if !o.Date.IsZero() {
		k.clockAhead, k.dated = o.At.Sub(o.Date), true
	}
	if o.Result == Down && o.Late > maxLate {
		o.Result, o.Cause, o.Reason = Unknown, CauseLocal, o.Reason+", and this host is too busy to tell why"
	}
	k.lastReason = o.Reason
	old := k.verdict
	if c.sweeping && old.lastKnown() == Unknown {
		k.decidedEarly = true
	}
	if k.role != Rsync {
		o = c.survey.fresh.Judge(&old, o)
	}
	if c.survey.suspectsNetwork() && old.State == Up && o.Result == Stale {
		o.Result, o.Reason = Up, o.Reason+" (not counted: suspect: "+SuspectNetwork+")"
	}
	switch {
	case o.Result == Up || o.Result == Stale:
		k.failingSince = time.Time{}
	case k.role == Rsync && o.Result == Unknown: // a busy daemon says nothing of the local network
	case k.failingSince.IsZero():
		k.failingSince, k.failedUp = o.At, old.State == Up
	}
	k.verdict = old.Next(o, c.policy)
	if k.verdict.State == Up {
		k.mirror.everUp[k.role] = true
	}
	c.announce(k, &old)
	c.settleAddresses(k.mirror, now)
	c.warnOfCertificate(k, now)
}

// announce logs and signals how k's verdict differs from old.
func (c *Checker) announce(k *check, old *Verdict) {
	next := &k.verdict
	if next.State != old.State {
		c.log.Info("endpoint changed state",
			zap.String("mirror", k.mirror.URLPrefix), zap.Stringer("endpoint", k.address), zap.Stringer("role", k.role),
			zap.Stringer("from", old.State), zap.Stringer("to", next.State), zap.String("reason", next.Reason))
	}
	if next.State != old.State || next.InDoubt() != old.InDoubt() || next.Share() != old.Share() {
		signal(c.changed)
	}
}

func (c *Checker) warnOfCertificate(k *check, now time.Time) {
	warning := k.verdict.CertWarning(now)
	if warning == "" || !k.warned.IsZero() && now.Sub(k.warned) < certWarnEvery {
		return
	}
	k.warned = now
	c.log.Warn("certificate must be renewed", zap.String("mirror", k.mirror.URLPrefix),
		zap.Stringer("endpoint", k.address), zap.Stringer("role", k.role), zap.String("warning", warning))
}
