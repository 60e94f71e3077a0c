//go:build !race

// The race detector makes a sync.Pool lose what is put into it.

package redirector

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"

	"mirrorpool/config"
)

// TestRedirectAllocates as little as it can: the header's values, and the map that net/http gave.
func TestRedirectAllocates(t *testing.T) {
	h := placedHandler(t, config.HTTP{Sticky: time.Hour})
	r := httptest.NewRequest("GET", "/stable/image.iso", nil)
	r.RemoteAddr = "198.18.4.1:1234"
	w := discard{http.Header{}}
	if n := testing.AllocsPerRun(1000, func() { h.ServeHTTP(w, r) }); n > 3.5 {
		t.Errorf("a redirect allocates %v times, want 3: two texts, and their slice", n)
	}
}

// TestVerifiedAllocates: where clients are sent to verified copies, a redirect allocates no more.
func TestVerifiedAllocates(t *testing.T) {
	w := newFileWorld(t, config.Files{Origin: "/o"}, 4, map[string]int64{"x.iso": 1})
	allocs := func(verified uint64) (web, plain float64) {
		w.catalog.SetVerified(map[uint64][]uint64{xxhash.Sum64String("x.iso"): {verified}})
		w.catalog.Withhold(nil) // forgets what is at hand
		r := httptest.NewRequest("GET", "/x.iso", nil)
		out := discard{http.Header{}}
		web = testing.AllocsPerRun(1000, func() { w.handler.ServeHTTP(out, r) })
		request := &plainRequest{path: []byte("/x.iso"), resumes: true}
		c := client{addr: netip.MustParseAddr("198.51.100.1")}
		plain = testing.AllocsPerRun(1000, func() { _, _ = w.handler.answerPlain(io.Discard, request, c) })
		return web, plain
	}
	web, plain := allocs(0)
	if moreWeb, morePlain := allocs(0b0101); moreWeb > web+0.5 || morePlain > plain+0.5 {
		t.Errorf("a redirect allocates %v and %v times, without verified copies %v and %v", moreWeb, morePlain, web, plain)
	}
}
