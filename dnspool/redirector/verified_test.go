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
	"mirrorpool/health/files"
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

	e := explainAll(t, w, "/x.iso?mirrorlist")
	for _, m := range e.Mirrors {
		if strings.Contains(m.Why, "verified") {
			t.Errorf("a page has all mirrors, and %s: %s", m.URLPrefix, m.Why)
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
	e = explainAll(t, w, "/x.iso")
	for _, m := range e.Mirrors {
		if served := m.URLPrefix != worldMirror(3); served != (m.Share > 0.3) || served == strings.Contains(m.Why, "not verified yet") {
			t.Errorf("with one pardoned, %s has a share of %v: %s", m.URLPrefix, m.Share, m.Why)
		}
	}
}

// explainAll explains the answer to some client.
func explainAll(t *testing.T, w *fileWorld, path string) dnspool.Explanation {
	t.Helper()
	_, e, err := w.handler.Explain(netip.MustParseAddr("198.51.7.1"), false, path)
	if err != nil {
		t.Error(err)
	}
	return e
}

// TestVerifiedResumes has downloads go on at another mirror: one with a verified copy, if there is another.
func TestVerifiedResumes(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		mirrors, verified int
		others            bool // a download may go on at others
	}{
		"three of six": {6, 3, false},
		"two of three": {3, 2, false},
		"one of two":   {2, 1, true},
	} {
		w := newFileWorld(t, config.Files{Origin: "/o"}, test.mirrors, map[string]int64{"x.iso": 1})
		bits, sent := uint64(0), map[string]bool{}
		for i := range test.verified {
			bits |= 1 << w.catalog.Number(worldMirror(i))
			sent[worldMirror(i)+"x.iso"] = true
		}
		w.catalog.SetVerified(map[uint64][]uint64{xxhash.Sum64String("x.iso"): {bits}})
		w.catalog.Withhold(nil) // forgets what is at hand
		for i := range 256 {
			client := fmt.Sprintf("198.51.%d.1", i)
			first := get(w.handler, "/x.iso", client).Header().Get("Location")
			again := get(w.handler, "/x.iso", client, "Range: bytes=5-").Header().Get("Location")
			if !sent[first] || again == first || sent[again] == test.others {
				t.Errorf("%s verified: after %s, a download goes on at %s", name, first, again)
			}
		}
	}
}

// TestVerifiedOfOrigin explains a page on a file that clients get from the fallback alone: no copy is the reason.
func TestVerifiedOfOrigin(t *testing.T) {
	t.Parallel()
	w := newFileWorld(t, config.Files{Origin: "/o", Fallback: "http://fallback.example.org/", FromOrigin: []string{"*.sig"}}, 2,
		map[string]int64{"x.sig": 1})
	_, e, _ := w.handler.Explain(netip.MustParseAddr("198.51.7.1"), false, "/x.sig?mirrorlist")
	for _, m := range e.Mirrors {
		if strings.Contains(m.Why, "verified") {
			t.Errorf("%s: %s", m.URLPrefix, m.Why)
		}
	}
}

// TestHalfVerified has half of the mirrors be enough, however many there are; not less.
func TestHalfVerified(t *testing.T) {
	t.Parallel()
	for n := 2; n <= 62; n += 2 {
		var prefixes []string
		for i := range n {
			prefixes = append(prefixes, worldMirror(i))
		}
		number := func(prefix string) int { return slices.Index(prefixes, prefix) }
		snapshot := testCurrentWith(t, number, prefixes...).Load()
		half := uint64(1)<<(n/2) - 1
		for verified, want := range map[uint64]bool{half: true, half >> 1: false} {
			s := scratch{known: &files.Carriers{Verified: []uint64{verified}}}
			s.request.Carriers = []uint64{1<<n - 1}
			snapshot.Choose(&s.choice, &s.request)
			if s.prefersVerified() != want {
				t.Errorf("of %d mirrors, %b are verified, and preferred: %t", n, verified, !want)
			}
		}
	}
}
