package systest

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mirrorpool/config"
	"mirrorpool/health"
	"mirrorpool/testdata/testbed"
)

// TestReloadHealth edits the settings of the checks while the server runs, and has mirrorpool reload put them in force.
func TestReloadHealth(t *testing.T) {
	t.Parallel()
	var seen sync.Map // "PATH by USER-AGENT"
	trace := &traceMirror{trace: time.Now()}
	mirror := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen.Store(r.URL.Path+" by "+r.UserAgent(), true)
		trace.ServeHTTP(w, r)
	}))
	t.Cleanup(mirror.Close)
	origin := httptest.NewServer(&traceMirror{trace: trace.trace.Add(-time.Hour)})
	t.Cleanup(origin.Close)
	c, where := newServerConfig(t)
	c.json["dns"] = map[string]any{"listen": "-"}
	c.set("health", "interval", "24h") // so that what is seen comes of the reload
	p := c.serve(t, where, map[string]any{"version": 1, "mirrors": []any{map[string]any{"url_prefix": mirror.URL, "weight": 1}}})
	testbed.Eventually(t, "the mirror is up", func() bool { return p.status(t).Mirrors[0].State == health.Up })

	c.set("health", "interval", "200ms")
	c.set("health", "path", "new/trace")
	c.set("health", "user_agent", "example.org monitor")
	c.set("health", "reference_url", origin.URL)
	c.write(t, "mirrorpool.json", c.json)
	p.wantReload(t, 0, `configuration: health.interval, health.path, health.reference_url, health.user_agent changed
pool: nothing new`)
	testbed.Eventually(t, "the new path is asked for by the new name", func() bool {
		_, ok := seen.Load("/new/trace by example.org monitor")
		return ok
	})
	testbed.Eventually(t, "the new reference is known", func() bool {
		r := p.status(t).Reference.Trace
		return r != nil && r.Unix() == trace.trace.Add(-time.Hour).Unix()
	})

	c.set("health", "max_age", "1ms")
	c.set("health", "fall", 1)
	c.write(t, "mirrorpool.json", c.json)
	p.wantReload(t, 0, "configuration: health.fall, health.max_age changed\npool: nothing new")
	testbed.Eventually(t, "the mirror is stale by the new limit", func() bool {
		return p.status(t).Mirrors[0].State == health.Stale
	})
	c.set("health", "enabled", false)
	c.write(t, "mirrorpool.json", c.json)
	p.wantReload(t, 0, "configuration: health.enabled changed\npool: nothing new")
	testbed.Eventually(t, "the mirror is up without checks", func() bool { return p.status(t).Mirrors[0].State == health.Up })
	p.stop(t)

	waits := slices.DeleteFunc(config.RestartKeys(), func(key string) bool { return !strings.HasPrefix(key, "health.") })
	if !slices.Equal(waits, []string{"health.startup_timeout"}) {
		t.Errorf("a restart is needed for %v, want startup_timeout alone, which speaks of the start", waits)
	}
}
