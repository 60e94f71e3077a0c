package health

import (
	"time"

	"go.uber.org/zap"
)

// agentsInterval is how often a mirror is checked with the User-Agents of download clients.
const agentsInterval = time.Hour

// wantsAgents reports whether it is time to check k's mirror with those User-Agents, and notes that this happens now.
func (c *Checker) wantsAgents(k *check, o Observation) bool {
	if c.checkAgents == nil || k.role != HTTP || o.Result != Up {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	m, now := k.mirror, c.now()
	if !m.agentsChecked.IsZero() && now.Sub(m.agentsChecked) < agentsInterval {
		return false
	}
	m.agentsChecked = now
	return true
}

// noteAgents takes in which download clients k's mirror refuses.
func (c *Checker) noteAgents(k *check, refuses string) {
	m := k.mirror
	if refuses != m.refuses {
		if refuses != "" {
			c.log.Warn("mirror refuses download clients", zap.String("mirror", m.URLPrefix),
				zap.Stringer("endpoint", k.address), zap.String("warning", refuses))
		} else {
			c.log.Info("mirror no longer refuses download clients", zap.String("mirror", m.URLPrefix))
		}
	}
	m.refuses, m.refusesAt = refuses, k.endpointKey
}
