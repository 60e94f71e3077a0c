package systest

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"mirrorpool/health"
	"mirrorpool/testdata/testbed"
)

// TestMirrorWithoutAddress has a mirror whose name is in no DNS. It keeps its series, counts as enabled, and raises an
// alert.
func TestMirrorWithoutAddress(t *testing.T) {
	t.Parallel()
	c, where := newServerConfig(t)
	c.json["dns"] = map[string]any{"listen": "-"}
	m := httptest.NewServer(&traceMirror{trace: time.Now()})
	t.Cleanup(m.Close)
	const gone = "http://nohost.invalid/" // RFC 6761 section 6.4
	p := c.serve(t, where, map[string]any{"version": 1, "mirrors": []any{
		map[string]any{"url_prefix": m.URL, "weight": 10}, map[string]any{"url_prefix": gone, "weight": 30}}})
	testbed.Eventually(t, "both are judged", func() bool {
		s := p.status(t)
		return s.Mirrors[0].State == health.Up && s.Mirrors[1].Reason != ""
	})
	var metrics string
	want := []string{
		`mirrorpool_mirror_addresses{mirror="` + gone + `"} 0`,
		`mirrorpool_mirror_eligible{mirror="` + gone + `",role="http"} 0`,
		`mirrorpool_mirror_eligible{mirror="` + m.URL + `/",role="http"} 1`,
		`mirrorpool_enabled_weight{family="ipv4",role="http",secure="no"} 40`,
		`mirrorpool_up_weight{family="ipv4",role="http",secure="no"} 10`,
		`mirrorpool_panic{family="ipv4",role="http",secure="no"} 0`,
		`mirrorpool_mirrors{works="fully"} 1`,
		`mirrorpool_mirrors{works="partly"} 0`,
		`mirrorpool_mirrors{works="not_at_all"} 1`,
	}
	testbed.Eventually(t, "the metrics tell", func() bool {
		metrics = string(fetch(t, http.DefaultClient, "http://"+p.admin+"/metrics"))
		for _, line := range want {
			if !strings.Contains(metrics, "\n"+line+"\n") {
				return false
			}
		}
		return true
	})
	const works = "1 fully, 0 partly, 1 not at all"
	if s := p.status(t); s.Works.String() != works {
		t.Errorf("the status says %v, want %s", s.Works, works)
	}
	if _, stdout, _ := command(t, "status", "--admin", p.admin); !strings.Contains(stdout, "Enabled mirrors work: "+works+".") {
		t.Errorf("mirrorpool status says %s", stdout)
	}
	if page := string(fetch(t, http.DefaultClient, "http://"+p.admin+"/")); !strings.Contains(page, "Enabled mirrors work: "+works) {
		t.Errorf("the page says %s", page)
	}
	p.stop(t)
}
