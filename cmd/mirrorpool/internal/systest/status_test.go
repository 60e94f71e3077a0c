package systest

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"

	"mirrorpool/dnspool/admin"
)

// TestStatusCommand asks a running server.
func TestStatusCommand(t *testing.T) {
	t.Parallel()
	c, where := newServerConfig(t)
	c.set("health", "enabled", false)
	p := c.serve(t, where, `{"version": 1, "mirrors": [{"url_prefix": "http://127.0.1.7/tails/", "weight": 1}]}`)
	out, err := exec.Command(p.cmd.Path, "status", "--admin", p.admin).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "1 of 1 enabled mirror eligible") ||
		!strings.Contains(string(out), "127.0.1.7") {
		t.Errorf("%v:\n%s", err, out)
	}
	out, err = exec.Command(p.cmd.Path, "status", "--admin", p.admin, "--json").Output()
	var status admin.Status
	if err == nil {
		err = json.Unmarshal(out, &status)
	}
	if err != nil || len(status.Mirrors) != 1 {
		t.Errorf("--json: %v, %s", err, out)
	}
	p.stop(t)
	out, err = exec.Command(p.cmd.Path, "status", "--admin", p.admin).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "no server answers at") {
		t.Errorf("without a server: %v:\n%s", err, out)
	}
}
