package redirector

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"

	"mirrorpool/config"
	"mirrorpool/dnspool"
	"mirrorpool/health"
)

// TestVerifiedCopies sends clients to mirrors whose copy is verified, once these would get half of them.
func TestVerifiedCopies(t *testing.T) {
	t.Parallel()
	const n = 4
	w := newFileWorld(t, config.Files{Origin: "/o"}, n, map[string]int64{"x.iso": 1, "y.iso": 1})
	verify := func(mirrors ...int) {
		bits := uint64(0)
		for _, i := range mirrors {
			bits |= 1 << w.catalog.Number(worldMirror(i))
		}
		w.catalog.SetVerified(map[uint64][]uint64{xxhash.Sum64String("x.iso"): {bits}})
		w.catalog.Withhold(nil) // forgets what is at hand
	}
	sentTo := func(path string) (mirrors []string) { return slices.Sorted(maps.Keys(w.targets(path, 200))) }
	all := []string{worldMirror(0), worldMirror(1), worldMirror(2), worldMirror(3)}
	for name, test := range map[string]struct {
		verified []int
		want     []string
	}{
		"none":        {nil, all},
		"one of four": {[]int{2}, all},
		"half":        {[]int{0, 2}, []string{worldMirror(0), worldMirror(2)}},
		"three":       {[]int{0, 1, 2}, all[:3]},
		"all":         {[]int{0, 1, 2, 3}, all},
	} {
		verify(test.verified...)
		if got := sentTo("x.iso"); !slices.Equal(got, test.want) {
			t.Errorf("%s verified: clients are sent to %q, want %q", name, got, test.want)
		}
		if got := sentTo("y.iso"); !slices.Equal(got, all) {
			t.Errorf("%s verified: for another file, clients are sent to %q", name, got)
		}
	}

	verify(0, 2)
	resp := get(w.handler, "/x.iso", "198.51.100.1")
	if links := resp.Header().Get("Link"); strings.Count(links, "rel=duplicate") != 2 || strings.Contains(links, "//m1.") || strings.Contains(links, "//m3.") {
		t.Errorf("links: %s", links)
	}
	first := resp.Header().Get("Location")
	if again := get(w.handler, "/x.iso", "198.51.100.1", "Range: bytes=5-").Header().Get("Location"); again == first ||
		again != worldMirror(0)+"x.iso" && again != worldMirror(2)+"x.iso" {
		t.Errorf("after %s, a download goes on at %s", first, again)
	}
	metalink := get(w.handler, "/x.iso.meta4", "198.51.100.1").Body.String()
	page := get(w.handler, "/x.iso?mirrorlist", "198.51.100.1").Body.String()
	for i, prefix := range all {
		if named := strings.Contains(metalink, prefix); named != (i == 0 || i == 2) {
			t.Errorf("the Metalink names %s: %v", prefix, named)
		}
		if !strings.Contains(page, prefix) {
			t.Errorf("the list of mirrors lacks %s", prefix)
		}
	}
	for i := range 20 { // also where one was drawn at once
		client := fmt.Sprintf("198.51.%d.1", i)
		answer, why, err := w.handler.Explain(netip.MustParseAddr(client), false, "/x.iso")
		if want := get(w.handler, "/x.iso", client).Header().Get("Location"); err != nil || answer.Location != want ||
			why.Mirrors[0].URLPrefix+"x.iso" != want {
			t.Errorf("explained: %+v, %v, want %s", answer, err, want)
		}
		for _, m := range why.Mirrors {
			unverified := m.URLPrefix == worldMirror(1) || m.URLPrefix == worldMirror(3)
			if unverified != strings.Contains(m.Why, "not verified yet") {
				t.Errorf("%s: %s", m.URLPrefix, m.Why)
			}
		}
	}

	w.publish(n, worldMirror(0), nil) // of three that are up, one is verified
	if got := sentTo("x.iso"); !slices.Equal(got, all[1:]) {
		t.Errorf("with a verified one down: clients are sent to %q", got)
	}
	w.publish(n, worldMirror(1), dnspool.Overrides{}.With(dnspool.Override{Mirror: worldMirror(1), Role: health.HTTP, Kind: dnspool.ForceUp,
		Until: time.Unix(1_900_000_000, 0)}))
	if got := sentTo("x.iso"); !slices.Equal(got, all[:3]) {
		t.Errorf("with one pardoned: clients are sent to %q", got)
	}
}
