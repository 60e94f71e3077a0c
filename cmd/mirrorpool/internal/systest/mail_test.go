package systest

import (
	"os/exec"
	"strings"
	"testing"

	"mirrorpool/testdata/testbed"
)

// TestMailCommand has a running server send a test, and tell what it would send, as its configuration comes and goes.
func TestMailCommand(t *testing.T) {
	t.Parallel()
	box := testbed.NewMailbox(t, "")
	c, where := newServerConfig(t)
	c.set("health", "enabled", false)
	p := c.serve(t, where, `{"version": 1, "mirrors": [{"url_prefix": "http://127.0.1.7/tails/", "weight": 1}]}`)
	mail := func(want string, fails bool, flag string) {
		t.Helper()
		out, err := exec.Command(p.cmd.Path, "mail", flag, "--admin", p.admin).CombinedOutput()
		if (err != nil) != fails || !strings.Contains(string(out), want) {
			t.Errorf("mail %s: %v, want %q in\n%s", flag, err, want, out)
		}
	}
	mail("mail is not configured", true, "--dry-run")
	mail("mail is not configured", true, "--test")
	c.json["mail"] = map[string]any{"smtp": "smtp://" + box.Addr, "from": "a@example.org", "team": "team@example.org"}
	c.write(t, "mirrorpool.json", c.json)
	if code, stdout, stderr := command(t, "reload", "--admin", p.admin); code != exitOK || !strings.Contains(stdout, "mail") {
		t.Fatalf("reload: exit code %d, %s%s", code, stdout, stderr)
	}
	mail("0 mails to be sent, 0 more mails would follow now.", false, "--dry-run")
	mail("sent", false, "--test")
	mails := box.Mails()
	if len(mails) != 1 || mails[0].To[0] != "team@example.org" || !strings.Contains(mails[0].Text, "Subject: [dl.example.org] a test") {
		t.Errorf("%+v", mails)
	}
	box.SetDown(true)
	mail("come back later", true, "--test")
	p.stop(t)
}
