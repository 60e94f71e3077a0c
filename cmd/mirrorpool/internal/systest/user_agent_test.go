package systest

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestProbeUserAgent probes a mirror that does not want curl. It is up, with a warning, and has seen the User-Agent
// that the configuration gives.
func TestProbeUserAgent(t *testing.T) {
	t.Parallel()
	var seen sync.Map
	trace := &traceMirror{trace: time.Now()}
	mirror := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen.Store(r.UserAgent(), true)
		if strings.HasPrefix(r.UserAgent(), "curl/") {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		trace.ServeHTTP(w, r)
	}))
	t.Cleanup(mirror.Close)
	c, _ := newServerConfig(t)
	c.json["dns"] = map[string]any{"listen": "-"}
	const agent = "example.org mirror monitor (mirrors@example.org)"
	c.set("health", "user_agent", agent)
	c.write(t, "mirrorpool.json", c.json)
	c.write(t, "mirrors.json", map[string]any{"version": 1, "mirrors": []any{map[string]any{"url_prefix": mirror.URL, "weight": 1}}})
	code, stdout, stderr := command(t, "probe", "--config", filepath.Join(c.dir, "mirrorpool.json"))
	if code != exitOK || !strings.Contains(stdout, "refuses curl (403) by the User-Agent") {
		t.Errorf("exit code %d, %s%s", code, stdout, stderr)
	}
	if _, ok := seen.Load(agent); !ok {
		t.Errorf("the mirror never saw %q", agent)
	}
}
