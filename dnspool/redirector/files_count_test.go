package redirector

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"mirrorpool/config"
)

// TestFileRequestsAreCounted by what the answers rest on.
func TestFileRequestsAreCounted(t *testing.T) {
	t.Parallel()
	w := newPartialWorld(t, config.Files{Origin: "/o", Unpublished: "404"}, 8, map[string]int64{"old.iso": 100, "none.iso": 1})
	for _, target := range []string{"/old.iso", "/none.iso", "/nothing.iso", "/folder/"} {
		r := httptest.NewRequest(http.MethodGet, target, nil)
		w.handler.ServeHTTP(httptest.NewRecorder(), r)
	}
	want := map[basis]uint64{notYet: 1, unpublished: 1, byNothing: 1}
	for b, n := range want {
		if got := w.handler.counts.bases[b].Load(); got != n {
			t.Errorf("%v: %d, want %d", b, got, n)
		}
	}
	if w.handler.counts.bases[byListing].Load()+w.handler.counts.bases[byAsking].Load() != 1 {
		t.Error("the redirect to a carrier is not counted")
	}
}
