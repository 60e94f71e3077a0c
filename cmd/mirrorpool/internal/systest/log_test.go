package systest

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"mirrorpool/testdata/testbed"
)

// TestLogLevel changes the level while the server runs.
func TestLogLevel(t *testing.T) {
	t.Parallel()
	c, where := newServerConfig(t)
	c.set("health", "enabled", false)
	c.json["log"] = map[string]any{"level": "error"}
	p := c.serve(t, where, `{"version": 1, "mirrors": [{"url_prefix": "http://192.0.2.1/tails/", "weight": 1}]}`)
	if text := p.log.String(); strings.Contains(text, `"level":"info"`) {
		t.Errorf("at level error the log has %s", text)
	}
	c.json["log"] = map[string]any{"level": "info"}
	c.write(t, "mirrorpool.json", c.json)
	resp, err := http.Post(fmt.Sprintf("http://%s/api/v1/reload", p.admin), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	testbed.Eventually(t, "the new level holds", func() bool {
		return strings.Contains(p.log.String(), `"configuration has changed","keys":["log.level"]`)
	})
	p.stop(t)
}
