package health

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"go.uber.org/zap"
)

// clientAgents are the User-Agents of common download clients, by the clients' names. Some web servers refuse them, as
// a measure against robots, so that a mirror which a browser can use is none for them.
var clientAgents = [...]struct{ client, agent string }{
	{"wget", "Wget/1.21.3"},
	{"curl", "curl/7.88.1"},
}

// agentsInterval is how often a mirror is asked under the names of the clients.
const agentsInterval = time.Hour

// probeAgents asks for t once in the name of each client, and returns which are refused, for people; or "". It is for a
// mirror that has just passed.
func (c *Checker) probeAgents(ctx context.Context, t Target) string {
	var refused []string
	for _, a := range clientAgents {
		t.UserAgent = a.agent
		if o := c.probers[HTTP].Probe(ctx, t); refusesByName(o.Status) {
			refused = append(refused, fmt.Sprintf("%s (%d)", a.client, o.Status))
		}
	}
	if len(refused) == 0 {
		return ""
	}
	return "refuses " + strings.Join(refused, " and ") + " by the User-Agent"
}

// refusesByName reports whether a status means that the client is not wanted. Other failures may be chance, since
// the same request has just passed in another name.
func refusesByName(status int) bool {
	return status >= 400 && status < 500 && status != http.StatusRequestTimeout && status != http.StatusTooManyRequests
}

// wantsAgents reports whether it is time to ask k's mirror under the names of the clients, and notes that this is done
// now.
func (c *Checker) wantsAgents(k *check, o Observation) bool {
	if !c.checkAgents || k.role != HTTP || o.Result != Up {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	m, now := k.mirror, c.now()
	if !m.agentsAsked.IsZero() && now.Sub(m.agentsAsked) < agentsInterval {
		return false
	}
	m.agentsAsked = now
	return true
}

// noteAgents takes in which clients k's mirror refuses.
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
	m.refuses, m.refusesAt = refuses, k.place
}
