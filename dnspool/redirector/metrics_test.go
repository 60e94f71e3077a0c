package redirector

import (
	"fmt"
	"math/rand/v2"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"mirrorpool/config"
	"mirrorpool/dnspool"
)

func TestRedirectCounts(t *testing.T) {
	t.Parallel()
	current := testCurrent(t, "http://m1.example.org/", "http://m2.example.org/")
	h := NewHandler(Options{Config: config.HTTP{BasePath: "/"}, Current: current, Source: &lockedSource{src: rand.NewPCG(1, 2)}})
	ask := func(n int) {
		for range n {
			h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/x", nil))
		}
	}
	ask(100)
	counts := h.Redirects()
	if one, two := counts["http://m1.example.org/"], counts["http://m2.example.org/"]; one+two != 100 || one == 0 || two == 0 {
		t.Errorf("counted %v", counts)
	}
	if problems, err := testutil.CollectAndLint(h); err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
	want := fmt.Sprintf(`
# HELP mirrorpool_redirects_total Redirects to a mirror, by the reason it was picked for.
# TYPE mirrorpool_redirects_total counter
mirrorpool_redirects_total{mirror="http://m1.example.org/",reason="weight"} %d
mirrorpool_redirects_total{mirror="http://m2.example.org/",reason="weight"} %d
`, counts["http://m1.example.org/"], counts["http://m2.example.org/"])
	if err := testutil.CollectAndCompare(h, strings.NewReader(want), "mirrorpool_redirects_total"); err != nil {
		t.Error(err)
	}
	before := counts["http://m1.example.org/"]
	current.Publish(testCurrent(t, "http://m1.example.org/").Load())
	ask(10)
	if got := h.Redirects(); len(got) != 1 || got["http://m1.example.org/"] != before+10 {
		t.Errorf("of another pool: %v, want 10 more than %d for the mirror that stays, and nothing for the one that is gone", got,
			before)
	}
	current.Publish(new(dnspool.Snapshot))
	ask(3)
	want = `
# HELP mirrorpool_redirects_unavailable_total Requests that no mirror could serve.
# TYPE mirrorpool_redirects_unavailable_total counter
mirrorpool_redirects_unavailable_total 3
`
	if err := testutil.CollectAndCompare(h, strings.NewReader(want), "mirrorpool_redirects_unavailable_total"); err != nil {
		t.Error(err)
	}
}
