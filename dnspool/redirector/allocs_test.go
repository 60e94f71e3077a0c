//go:build !race

// The race detector makes a sync.Pool lose what is put into it.

package redirector

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

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
