package daemon

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mirrorpool/health"
	"mirrorpool/health/files/verify"
)

// TestCopyURL has the file be read that the path names, whatever is in the name.
func TestCopyURL(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"stable/x.img":    "https://a.example.net/a%2Fb/stable/x.img",
		"a b.img":         "https://a.example.net/a%2Fb/a%20b.img",
		"a%20b.img":       "https://a.example.net/a%2Fb/a%2520b.img",
		"100%.img":        "https://a.example.net/a%2Fb/100%25.img",
		"a%2Fb/c%zz":      "https://a.example.net/a%2Fb/a%252Fb/c%25zz",
		"what?#1 & ö.img": "https://a.example.net/a%2Fb/what%3F%231%20&%20%C3%B6.img",
		`back\slash:img`:  "https://a.example.net/a%2Fb/back%5Cslash:img",
	} {
		u, err := copyURL("https://a.example.net/a%2Fb/", path)
		if err != nil || u.String() != want || !strings.HasSuffix(u.Path, "/"+path) {
			t.Errorf("%q: %v, %v, want %s", path, u, err, want)
		}
	}
}

// TestForRedirects has no address be forgotten that is not up.
func TestForRedirects(t *testing.T) {
	t.Parallel()
	var endpoints []health.Endpoint
	for i, state := range []health.State{health.Up, health.Down, health.Stale, health.Unknown} {
		for _, role := range []health.Role{health.HTTP, health.DNS} {
			endpoints = append(endpoints, health.Endpoint{
				Address: netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), Role: role, Verdict: health.Verdict{State: state},
			})
		}
	}
	up, down := forRedirects(endpoints)
	if got := fmt.Sprint(up, down); got != "[192.0.2.0] [192.0.2.1 192.0.2.2 192.0.2.3]" {
		t.Error(got)
	}
}

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
