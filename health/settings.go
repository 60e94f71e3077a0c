package health

import (
	"net/url"
	"time"

	"mirrorpool/config"
)

// settings are those of the configuration, with their URLs parsed.
type settings struct {
	config.Health
	dnsURL       *url.URL // nil if role DNS is not judged
	referenceURL *url.URL // nil if there is none
}

// parseSettings parses the URLs of h. Without checkDNS, role DNS is not judged.
func parseSettings(h config.Health, checkDNS bool) (s settings, err error) {
	s.Health = h
	if checkDNS && h.DNSURL != "" {
		if s.dnsURL, err = url.Parse(h.DNSURL); err != nil {
			return settings{}, err
		}
	}
	if h.ReferenceURL != "" && h.Enabled {
		if s.referenceURL, err = url.Parse(h.ReferenceURL); err != nil {
			return settings{}, err
		}
	}
	return s, nil
}

func (s *settings) policy() Policy {
	return Policy{Interval: s.Interval, Timeout: s.Timeout, Rise: s.Rise, Fall: s.Fall}
}

// SetSettings puts other settings in force. Verdicts are kept; all endpoints are checked anew within an interval. If
// the error is not nil, nothing has changed.
func (c *Checker) SetSettings(h config.Health) error {
	next, err := parseSettings(h, c.checkDNS)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now, before := c.now(), c.settings
	c.settings, c.policy = next, next.policy()
	c.fresh.MaxLag, c.fresh.MaxAge = next.MaxLag, next.MaxAge
	if before.Enabled != next.Enabled || before.ReferenceURL != next.ReferenceURL {
		c.setReference(now)
	}
	for _, m := range c.mirrors {
		m.trace = m.URL.JoinPath(next.Path)
		if before.Enabled != next.Enabled {
			c.switchChecks(m, now)
		}
		c.setRsync(m)
		c.findAddresses(m, now)
		m.web.findProblems(next.AllowPrivate)
		m.rsyncLookup().findProblems(next.AllowPrivate)
		c.setAddresses(m, now)
		c.spread(m, now)
	}
	c.sweepEnds(now)
	notify(c.changed)
	notify(c.wake)
	return nil
}

// setReference sees to it that reference_url is read, if there is one. What the reference was is forgotten: of
// another source, it is found out anew.
func (c *Checker) setReference(now time.Time) {
	c.drop(c.referenceTask)
	c.referenceTask, c.referenceProblem, c.fresh.releases = nil, "", nil
	if c.settings.referenceURL != nil {
		c.referenceTask = c.add(&task{due: now, work: c.readReference})
	}
}

// switchChecks starts or stops the checks of m. While they are off it is taken to be up.
func (c *Checker) switchChecks(m *mirror, now time.Time) {
	m.everUp = [3]bool{true, true, true}
	for k := range m.all {
		if c.settings.Enabled {
			c.startCheck(k, now)
		} else {
			c.drop(k.task)
			k.task = nil
		}
	}
}

// spread makes m's checks due at the same time within an interval from now, unless they are due before.
func (c *Checker) spread(m *mirror, now time.Time) {
	due := now.Add(time.Duration(c.rand.Float64() * float64(c.policy.Interval)))
	for k := range m.all {
		if k.task != nil && k.task.due.After(due) {
			c.tasks.move(k.task, due)
		}
	}
}
