package probe

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"mirrorpool/health"
)

// clientAgents are the User-Agents of common download clients. Some web servers refuse these as robots, so a mirror may
// work in a browser and fail for such a client.
var clientAgents = [...]struct{ client, agent string }{
	{"wget", "Wget/1.21.3"},
	{"curl", "curl/7.88.1"},
}

// CheckAgents requests t once with the User-Agent of each client, and describes which clients are refused, or returns
// "". Call it for a target that has just passed.
func (p *Prober) CheckAgents(ctx context.Context, t health.Target) string {
	var refused []string
	for _, a := range clientAgents {
		t.UserAgent = a.agent
		if o := p.Probe(ctx, t); refusesByName(o.Status) {
			refused = append(refused, fmt.Sprintf("%s (%d)", a.client, o.Status))
		}
	}
	if len(refused) == 0 {
		return ""
	}
	return "refuses " + strings.Join(refused, " and ") + " by the User-Agent"
}

// refusesByName reports whether a status means that the server refuses the client. Other failures are ignored: the same
// request has just passed with another User-Agent.
func refusesByName(status int) bool {
	return status >= 400 && status < 500 && status != http.StatusRequestTimeout && status != http.StatusTooManyRequests
}
