package systest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestKeptAtStart: without its web site a server starts with the list that it kept, or says why it cannot.
func TestKeptAtStart(t *testing.T) {
	t.Parallel()
	c, where := newServerConfig(t)
	c.set("health", "enabled", false)
	c.json["state_dir"] = "state"
	list := newWebList(t, c)
	list.set(t, "1 10", "2 10")
	p := c.serve(t, where, "")
	p.stop(t)
	list.Close()
	p = c.serve(t, where, "")
	if got := p.inDNS(t); len(got) != 2 {
		t.Errorf("answers %v", got)
	}
	if s := p.status(t).Pool; !s.Kept || s.AgeSeconds <= 0 || s.Checked != nil || !strings.Contains(s.Error, "connection refused") {
		t.Errorf("status %+v", s)
	}
	if !strings.Contains(p.log.String(), "serving the saved list of mirrors") {
		t.Error("the log does not tell")
	}
	p.stop(t)
	if err := os.RemoveAll(filepath.Join(c.dir, "state")); err != nil {
		t.Fatal(err)
	}
	code, _, stderr := command(t, "serve", "--config", filepath.Join(c.dir, "mirrorpool.json"))
	if code != exitFailure || !strings.Contains(stderr, "mirrors.json: ") || !strings.Contains(stderr, "connection refused") {
		t.Errorf("with nothing kept: exit code %d, want 1: %s", code, stderr)
	}
}

// TestStartCodes holds the exit codes of a start that fails: 2 if a file has to be edited, and 1 if the same
// start may succeed later.
func TestStartCodes(t *testing.T) {
	t.Parallel()
	const good = `{"version": 1, "mirrors": [{"url_prefix": "https://m1.example.org/", "weight": 1, "name": "www"}]}`
	for name, tt := range map[string]struct {
		config, pool string
		code         int
		want         string
	}{
		"the configuration is bad": {`{`, good, exitUsage, "mirrorpool.json:1:1: (document): not valid JSON"},
		"the list is bad":          {`{ZONE}`, `{"mirrors": []}`, exitUsage, "mirrors.json:1:13: /mirrors: "},
		"the list has no mirror": {`{ZONE}`, strings.Replace(good, `"weight": 1`, `"weight": 0`, 1), exitUsage,
			"no mirror is enabled"},
		"the list is not there": {`{"mirrors": "none.json", ZONE}`, good, exitFailure, "none.json: no such file"},
		"the web site is away":  {`{"mirrors": "http://127.0.0.1:1/mirrors.json", ZONE}`, good, exitFailure, "connection refused"},
		"the list has no signature": {`{"mirrors_key": "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3", ZONE}`, good,
			exitUsage, "the list has to come with a signature"},
		"a name is the pool's": {`{"dns": {"zone": "dl.example.org", "nameservers": ["ns1.example.org"], "names": ["www"]}}`,
			good, exitUsage, `mirrors.json:1:91: /mirrors/0/name: "www" is the name of the pool`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := &serverConfig{dir: t.TempDir()}
			c.write(t, "mirrors.json", tt.pool)
			c.write(t, "mirrorpool.json", strings.Replace(tt.config, "ZONE",
				`"dns": {"zone": "dl.example.org", "nameservers": ["ns1.example.org"]}`, 1))
			code, _, stderr := command(t, "serve", "--config", filepath.Join(c.dir, "mirrorpool.json"))
			if code != tt.code || !strings.Contains(stderr, tt.want) {
				t.Errorf("exit code %d, want %d with %q:\n%s", code, tt.code, tt.want, stderr)
			}
		})
	}
}
