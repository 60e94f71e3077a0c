package health

import (
	"context"
	"time"
)

const (
	// maxPace is the pause between two requests to one host: a mirror may allow one a second to a client. With short
	// intervals it is a share of the interval, and half of that in the first sweep.
	maxPace         = 1050 * time.Millisecond
	paceShare       = 20
	sweepPaceShare  = 2
	limitedPaceTime = time.Hour // for which a host that has refused for too many requests gets maxPace
)

// A pace says when the next request to a host may be sent. The zero pace is that of a host which was not asked yet.
type pace struct {
	next    time.Time
	limited time.Time // when the host last refused for too many requests
}

// pace returns the pace of a host.
func (c *Checker) pace(host string) *pace {
	p := c.paces[host]
	if p == nil {
		p = &pace{}
		c.paces[host] = p
	}
	return p
}

// paceOf returns the pause between requests to a host.
func (c *Checker) paceOf(p *pace, now time.Time) time.Duration {
	pause := min(maxPace, c.policy.Interval/paceShare)
	switch {
	case !p.limited.IsZero() && now.Sub(p.limited) < limitedPaceTime:
		return maxPace
	case c.sweeping:
		return pause / sweepPaceShare
	}
	return pause
}

// await waits for the turn of a request to a host, or until ctx ends, and returns how long that took.
func (c *Checker) await(ctx context.Context, host string) time.Duration {
	c.mu.Lock()
	now, p := c.now(), c.pace(host)
	turn := now
	if p.next.After(now) {
		turn = p.next
	}
	p.next = turn.Add(c.paceOf(p, now))
	c.mu.Unlock()
	if turn.Equal(now) {
		return 0
	}
	timer := time.NewTimer(turn.Sub(now))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	return c.now().Sub(now)
}

// maxAwait bounds how long the requests of one visit to a mirror wait for each other.
func (m *mirror) maxAwait() time.Duration { return time.Duration(m.requests()) * maxPace }

// visitTime is about how long one visit to a mirror takes.
func (c *Checker) visitTime(m *mirror, now time.Time) time.Duration {
	return time.Duration(m.requests()) * c.paceOf(c.pace(m.web.host), now)
}

// requests is how many requests a visit to a mirror sends.
func (m *mirror) requests() (n int) {
	for _, k := range m.checks {
		n += requestsOf(k.role)
	}
	return n
}

// maxRequests is how many requests a probe sends, redirects aside.
const maxRequests = 2

// requestsOf is how many requests a probe in a role sends one after the other, redirects aside.
func requestsOf(role Role) int {
	if role == DNS {
		return maxRequests // for the file, and for a part of it
	}
	return 1
}
