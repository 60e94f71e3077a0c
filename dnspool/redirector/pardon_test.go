package redirector

import (
	"math/rand/v2"
	"net/netip"
	"net/url"
	"testing"
	"time"

	"mirrorpool/config"
	"mirrorpool/dnspool"
	"mirrorpool/health"
)

// publish puts a snapshot of so many mirrors in force, of which one is down.
func (w *fileWorld) publish(n int, down string, overrides dnspool.Overrides) {
	in := dnspool.Input{
		Pool: &config.Pool{}, Health: &health.Report{Mirrors: map[string]health.MirrorReport{}},
		Policy: dnspool.Policy{PanicThreshold: 0.1, MaxAnswers: 2}, Now: time.Unix(1_800_000_000, 0),
		Rand: rand.New(rand.NewPCG(1, 2)), Number: w.catalog.Number, Overrides: overrides,
	}
	for i := range n {
		prefix := worldMirror(i)
		u, _ := url.Parse(prefix)
		in.Pool.Mirrors = append(in.Pool.Mirrors, config.Mirror{URLPrefix: prefix, URL: u, Weight: 1})
		var r health.MirrorReport
		for _, addr := range []string{"192.0.2.1", "2001:db8::1"} {
			state := health.Up
			if prefix == down {
				state = health.Down
			}
			r.Endpoints = append(r.Endpoints, health.Endpoint{
				Address: netip.MustParseAddr(addr), Role: health.HTTP, Verdict: health.Verdict{State: state}})
		}
		in.Health.Mirrors[prefix] = r
	}
	w.current.Publish(dnspool.Build(in))
}

// TestPardonedMirrorsServeFiles: a mirror without rsync_url that a person has forced up serves files, though this host
// cannot ask it; but not those that it is known to lack.
func TestPardonedMirrorsServeFiles(t *testing.T) {
	t.Parallel()
	const n = listedMirrors + 1
	pardoned := worldMirror(n - 1)
	w := newFileWorld(t, config.Files{Origin: "/o"}, n, map[string]int64{"new.iso": 1})
	w.do(func() { w.hangs = pardoned })
	w.publish(n, pardoned, dnspool.Overrides{}.With(dnspool.Override{Mirror: pardoned, Role: health.HTTP, Kind: dnspool.ForceUp,
		Until: time.Unix(1_900_000_000, 0)}))
	if got := w.targets("new.iso", 700)[pardoned]; got < 50 || got > 160 {
		t.Errorf("%d of 700 redirects, want about 100", got)
	}
	w.publish(n, pardoned, nil)
	if got := w.targets("new.iso", 700)[pardoned]; got != 0 {
		t.Errorf("not pardoned, it gets %d of 700 redirects", got)
	}
}
