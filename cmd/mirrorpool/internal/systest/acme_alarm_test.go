package systest

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"mirrorpool/testdata/testbed"
)

// TestCertificateAlarm serves a certificate that should have been renewed: the log, a metric, the status and a mail to
// the team say so. Of one with more time left they say nothing.
func TestCertificateAlarm(t *testing.T) {
	t.Parallel()
	const name = "dl.example.org"
	for title, test := range map[string]struct {
		left  time.Duration // it began a day ago
		alarm bool
	}{
		"ends soon": {6 * time.Hour, true},
		"is new":    {20 * 24 * time.Hour, false},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			cert, key := testbed.NewAuthority(t).IssueFiles(t, name, time.Now().Add(test.left))
			c, where := newServerConfig(t)
			c.json["state_dir"] = "state"
			c.json["mail"] = map[string]any{"smtp": "smtp://127.0.0.1:9", "from": "a@example.org", "team": "team@example.org"}
			c.set("health", "enabled", false)
			c.set("http", "tls", map[string]any{"cert": cert, "key": key, "listen": []string{"127.0.0.1:" + testbed.FreePort(t)}})
			p := c.serve(t, where, onePool)
			if !test.alarm {
				checkNoAlarm(t, p)
				return
			}
			testbed.Eventually(t, "the log says so", func() bool {
				return strings.Contains(p.log.String(), "certificate ends soon and has not been renewed")
			})
			metrics := string(fetch(t, http.DefaultClient, "http://"+p.admin+"/metrics"))
			if !strings.Contains(metrics, `mirrorpool_certificate_overdue{name="dl.example.org"} 1`) {
				t.Error("no metric says so")
			}
			if _, stdout, _ := command(t, "status", "--admin", p.admin); !strings.Contains(stdout, "certificate for dl.example.org ends at") {
				t.Errorf("the status does not say so:\n%s", stdout)
			}
			testbed.Eventually(t, "a mail will say so", func() bool { // it is sent within minutes
				_, stdout, _ := command(t, "mail", "--dry-run", "--admin", p.admin)
				return strings.Contains(stdout, "To: team@example.org") &&
					strings.Contains(stdout, "certificate for dl.example.org ends in")
			})
			p.stop(t)
		})
	}
}

// checkNoAlarm looks for an alarm about a certificate where there must be none.
func checkNoAlarm(t *testing.T, p *program) {
	t.Helper()
	metrics := string(fetch(t, http.DefaultClient, "http://"+p.admin+"/metrics"))
	if !strings.Contains(metrics, `mirrorpool_certificate_overdue{name="dl.example.org"} 0`) {
		t.Error("no metric says that it is not overdue")
	}
	if _, stdout, _ := command(t, "status", "--admin", p.admin); strings.Contains(stdout, "certificate") {
		t.Errorf("the status has an alarm:\n%s", stdout)
	}
	code, stdout, _ := command(t, "mail", "--dry-run", "--admin", p.admin)
	if code != exitOK || !strings.Contains(stdout, "0 mails to be sent, 0 more mails would follow now.") {
		t.Errorf("mail: %d\n%s", code, stdout)
	}
	p.stop(t)
	if strings.Contains(p.log.String(), "ends soon") {
		t.Error("the log has an alarm")
	}
}
