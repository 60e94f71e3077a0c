package redirector

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"mirrorpool/config"
)

// TestMetalinkOrFile asks for Metalinks of which mirrors have some.
func TestMetalinkOrFile(t *testing.T) {
	t.Parallel()
	h := placedHandler(t, config.HTTP{Sticky: time.Hour})
	asked := map[string]int{}
	h.FileSize = func(_ context.Context, u *url.URL, addr netip.Addr) (int64, error) {
		path := u.Path[strings.LastIndexByte(u.Path, '/')+1:]
		asked[path]++
		switch {
		case !hasEligiblePrefix(u.String()) || !addr.IsValid():
			t.Errorf("%s is asked at %s", u, addr)
		case path == "slow.iso":
			return 0, errors.New("no answer")
		case path == "own.iso.meta4", path == "plain.iso":
			return 1234, nil
		}
		return 0, fs.ErrNotExist
	}
	for range 2 {
		for path, want := range map[string]string{
			"/a/own.iso.meta4": "302", "/a/own.iso.metalink": `name="own.iso"`, "/a/plain.iso.meta4": "<size>1234</size>",
			"/a/slow.iso.meta4": `name="slow.iso"`,
			"/a/none.iso.meta4": `name="none.iso"`,
		} {
			w := get(h, path, "198.18.4.1")
			if got := fmt.Sprint(w.Code, " ", w.Body); !strings.Contains(got, want) || strings.Contains(got, "<hash") {
				t.Errorf("%s: %s, want %s", path, got, want)
			}
		}
	}
	for path, n := range map[string]int{"own.iso.meta4": 1, "plain.iso": 1, "none.iso": 1, "slow.iso": 2} {
		if asked[path] != n {
			t.Errorf("%s is asked for %d times, want %d", path, asked[path], n)
		}
	}
	if w := get(h, "/a/plain.iso.meta4", "198.18.4.1", "User-Agent: Wget2/2.0"); !strings.Contains(w.Body.String(), "<hash type=") {
		t.Errorf("for GNU Wget2: %s", w.Body)
	}
	c := h.Config
	c.NoMetalinks = true
	h.SetConfig(c)
	if w := get(h, "/a/x.iso.meta4", "198.18.4.1"); w.Code != 302 ||
		!strings.HasSuffix(w.Header().Get("Location"), "/a/x.iso.meta4") {
		t.Errorf("where none are made: %d to %q", w.Code, w.Header().Get("Location"))
	}
	if w := get(h, "/a/x.iso?mirrorlist", "198.18.4.1"); strings.Contains(w.Body.String(), "Metalink") {
		t.Error("where none are made, a page links to one")
	}
}

// TestFileSizesAreBounded asks for more than mirrors may be asked, and remembered.
func TestFileSizesAreBounded(t *testing.T) {
	t.Parallel()
	h := placedHandler(t, config.HTTP{Sticky: time.Hour})
	now, asked := time.Unix(1_800_000_000, 0), 0
	h.Now = func() time.Time { return now }
	h.FileSize = func(context.Context, *url.URL, netip.Addr) (int64, error) { asked++; return 1, nil }
	m := &h.Current.Load().Mirrors[0]
	for i := range 3 * maxSizeAsks {
		h.fileSizeOf(t.Context(), networkNumber(i), m, fmt.Sprint(i))
	}
	if asked != maxSizeAsks {
		t.Errorf("a mirror is asked %d times in a second, want %d", asked, maxSizeAsks)
	}
	for i := range 2 * maxSizes {
		now = now.Add(time.Second / maxSizeAsks)
		h.fileSizeOf(t.Context(), networkNumber(i), m, fmt.Sprint("another ", i))
	}
	if n := len(h.sizes.known); n > maxSizes {
		t.Errorf("%d sizes are remembered, want %d at most", n, maxSizes)
	}
	asked = 0
	h.fileSizeOf(t.Context(), networkNumber(1), m, "x")
	now = now.Add(sizeLifetime - time.Second)
	h.fileSizeOf(t.Context(), networkNumber(1), m, "x")
	if asked != 1 {
		t.Errorf("asked %d times within %v", asked, sizeLifetime)
	}
	now = now.Add(2 * time.Second)
	h.fileSizeOf(t.Context(), networkNumber(1), m, "x")
	if asked != 2 {
		t.Errorf("asked %d times, though it was long ago", asked)
	}
}

// TestSizeAsksOfOneNetwork: a client that asks for many files leaves the others theirs.
func TestSizeAsksOfOneNetwork(t *testing.T) {
	t.Parallel()
	var s fileSizes
	now := time.Unix(1e9, 0)
	asked := 0
	for range 3 * maxSizeAsks {
		if s.mayAsk(now, networkNumber(1)) {
			asked++
		}
	}
	if asked != maxNetworkSizeAsks || !s.mayAsk(now, networkNumber(2)) {
		t.Errorf("one network has %d questions of %d, and then another one none", asked, maxNetworkSizeAsks)
	}
}

func networkNumber(i int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 51, byte(i), 0}), 24)
}
