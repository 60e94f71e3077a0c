package daemon

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mirrorpool/health"
	"mirrorpool/health/files/verify"
)

// TestJudgeCopies has a mirror with corrupt files be down in the roles in which it serves, and a slow one be stale for
// redirects, if it is up.
func TestJudgeCopies(t *testing.T) {
	t.Parallel()
	states := func(states ...health.State) map[health.Role]health.State {
		return map[health.Role]health.State{health.HTTP: states[0], health.DNS: states[1], health.Rsync: states[2]}
	}
	corrupt := &verify.Finding{Path: "x", Algorithm: "sha-256", Found: "a1", Want: "b2", Since: time.Unix(100, 0)}
	for name, test := range map[string]struct {
		found  verify.MirrorReport
		before map[health.Role]health.State
		after  map[health.Role]health.State
		reason string // of its redirects
	}{
		"nothing found": {verify.MirrorReport{Speed: 1e6}, states(health.Up, health.Up, health.Up), states(health.Up, health.Up, health.Up), ""},
		"a corrupt file that it does not serve": {verify.MirrorReport{Corrupt: []*verify.Finding{corrupt}},
			states(health.Up, health.Up, health.Up), states(health.Up, health.Up, health.Up), ""},
		"condemned": {verify.MirrorReport{Condemned: corrupt}, states(health.Up, health.Stale, health.Up),
			states(health.Down, health.Down, health.Up), "content: sha-256 of x is a1, want b2"},
		"slow": {verify.MirrorReport{Slow: true, Speed: 120e3}, states(health.Up, health.Up, health.Up),
			states(health.Stale, health.Up, health.Up), "throughput: 120 kB/s at the median of the latest reads, less than files.min_rate"},
		"slow, and down": {verify.MirrorReport{Slow: true, Speed: 120e3}, states(health.Down, health.Up, health.Up),
			states(health.Down, health.Up, health.Up), ""},
	} {
		report := &health.Report{Mirrors: map[string]health.MirrorReport{"http://m/": {}}}
		var endpoints []health.Endpoint
		for role, state := range test.before {
			endpoints = append(endpoints, health.Endpoint{Role: role, Verdict: health.Verdict{State: state}})
		}
		report.Mirrors["http://m/"] = health.MirrorReport{Endpoints: endpoints}
		judgeCopies(report, map[string]verify.MirrorReport{"http://m/": test.found, "http://gone/": test.found})
		after, reason := map[health.Role]health.State{}, ""
		for _, e := range report.Mirrors["http://m/"].Endpoints {
			after[e.Role] = e.State
			if e.Role == health.HTTP {
				reason = e.Reason
			}
		}
		if diff := cmp.Diff(test.after, after); diff != "" || reason != test.reason {
			t.Errorf("%s: the reason is %q, want %q; states: -want +got:\n%s", name, reason, test.reason, diff)
		}
	}
}
