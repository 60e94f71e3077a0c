package systest

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"mirrorpool/testdata/testbed"
)

// TestNewcomerCausesNoPanic adds a mirror with most of the weight, at which nothing listens, to a pool of two that
// work. That is held back; once confirmed, it causes no panic, and the correction is not held back.
func TestNewcomerCausesNoPanic(t *testing.T) {
	t.Parallel()
	c, where := newServerConfig(t)
	c.json["dns"] = map[string]any{"listen": "-"}
	trace := &traceMirror{trace: time.Now()}
	var mirrors []any
	for range 2 {
		m := httptest.NewServer(trace)
		t.Cleanup(m.Close)
		mirrors = append(mirrors, map[string]any{"url_prefix": m.URL, "weight": 10})
	}
	p := c.serve(t, where, map[string]any{"version": 1, "mirrors": mirrors})
	const newcomer = "http://127.0.6.10:9/"
	put := func(weight int) {
		c.write(t, "mirrors.json", map[string]any{"version": 1, "mirrors": append(mirrors, map[string]any{"url_prefix": newcomer,
			"weight": weight})})
	}
	put(1000)
	const why = "it moves 98 % of the clients to other mirrors (http://127.0.6.10:9/ alone gets 98 %), and mirrors_guard allows 50 %"
	if code, _, stderr := command(t, "reload", "--admin", p.admin); code != exitFailure || !strings.Contains(stderr, why) {
		t.Fatalf("exit code %d, want it held back: %s", code, stderr)
	}
	if code, _, stderr := command(t, "reload", "--admin", p.admin, "--confirm"); code != exitOK {
		t.Fatal(stderr)
	}
	testbed.Eventually(t, "the newcomer is down", func() bool {
		status := p.status(t)
		if status.Panic {
			t.Fatalf("panic: %+v", status.Groups)
		}
		return len(status.Mirrors) == 3 && status.Mirrors[2].Reason == "http at 127.0.6.10: connect: connection refused"
	})
	if got := p.inRedirects(t, "/x"); len(got) != 2 || got[newcomer] {
		t.Errorf("redirected to %v", got)
	}
	put(10)
	if code, _, stderr := command(t, "reload", "--admin", p.admin); code != exitOK {
		t.Errorf("the correction: exit code %d: %s", code, stderr)
	}
	if resp, err := http.Get("http://" + p.admin + "/readyz"); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("readyz: %v, %v", resp, err)
	}
	p.stop(t)
}
