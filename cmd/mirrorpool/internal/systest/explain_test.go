package systest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"mirrorpool/dnspool/admin"
	"mirrorpool/testdata/testbed"
)

// geoConfig is a configuration with the test databases, and geoPool a pool of mirrors at their places.
func geoConfig(t testing.TB) (*serverConfig, *program) {
	t.Helper()
	c, where := newServerConfig(t)
	c.set("health", "enabled", false)
	c.json["files"] = map[string]any{"on_demand": false} // the mirrors are at no address of this machine
	c.set("http", "sticky", "1h")
	c.set("http", "sticky_secret", "0123456789abcdef")
	c.set("http", "trusted_proxies", []string{"127.0.0.1"})
	databases := map[string]any{}
	for key, name := range map[string]string{"city": "city.mmdb", "asn": "asn.mmdb"} {
		databases[key] = testbed.Root(t, "testdata/geo", name)
	}
	c.json["geoip"] = databases
	return c, where
}

const geoPool = `{"version": 1, "mirrors": [
 {"url_prefix": "https://berlin.example.org/tails/", "weight": 10, "dns": {"addresses": ["198.18.2.7"]}},
 {"url_prefix": "https://paris.example.org/tails/", "weight": 10, "dns": {"addresses": ["198.18.6.7"]}},
 {"url_prefix": "https://sydney.example.org/tails/", "weight": 10, "dns": {"addresses": ["198.18.96.7"]}},
 {"url_prefix": "http://lisbon.example.org/tails/", "weight": 10, "location": {"country": "PT"},
  "dns": {"addresses": ["192.0.2.7"]}},
 {"url_prefix": "https://french.example.org/tails/", "weight": 10, "serve_only": {"countries": ["FR"]},
  "dns": {"addresses": ["198.18.7.7"]}},
 {"url_prefix": "https://off.example.org/tails/", "weight": 0, "dns": {"addresses": ["198.18.7.8"]}}]}`

// TestExplainCommand asks a running server, and compares what it says with what clients get, before a restart and
// after.
func TestExplainCommand(t *testing.T) {
	t.Parallel()
	c, where := geoConfig(t)
	p := c.serve(t, where, geoPool)
	explain := func(args ...string) (string, error) {
		out, err := exec.Command(p.cmd.Path, append([]string{"explain", "--admin", p.admin}, args...)...).CombinedOutput()
		return string(out), err
	}
	client := http.Client{CheckRedirect: noRedirect}
	redirect := func(from string) string {
		req, err := http.NewRequest("GET", "http://"+p.web+"/x.iso?a=b", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Forwarded-For", from)
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.Header.Get("Location")
	}
	first, ends := map[string]string{}, map[string]time.Time{}
	for i := range 40 {
		from := fmt.Sprintf("%s.%d", []string{"198.18.1", "198.18.6", "198.18.96", "203.0.113", "198.18.48"}[i%5], 50+i)
		out, err := explain("--client", from, "--json", "/x.iso?a=b")
		var answer admin.ExplainAnswer
		if err == nil {
			err = json.Unmarshal([]byte(out), &answer)
		}
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		first[from] = redirect(from)
		if answer.Ends == nil {
			t.Fatalf("no end of the window: %s", out)
		}
		ends[from] = *answer.Ends
		moved := answer.Location != first[from] && time.Now().Before(ends[from])
		if moved || answer.Location == "" || len(answer.Mirrors) != 6 {
			t.Errorf("%s: explained %s, and a redirect leads to %s", from, out, first[from])
		}
	}
	out, err := explain("--client", "198.18.6.9", "--https", "x.iso")
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, want := range []string{
		"198.18.6.9 is in FR, on the continent EU, at 48.86, 2.35, in AS3215, as all of 198.18.6.0/24.\n",
		"Over https, /x.iso leads to https://",
		"All clients in 198.18.6.0/24 get the same mirror until 20", "does not speak https", "disabled",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("want %q in\n%s", want, out)
		}
	}
	if out, err := explain("--client", "198.18.6.9", "/../x"); err != nil ||
		!strings.Contains(out, "leads to nothing: forbidden path") {
		t.Errorf("%v: %s", err, out)
	}
	if out, err := explain("--client", "paris"); err == nil ||
		!strings.Contains(out, `want an IP address after --client, got "paris"`) {
		t.Errorf("%v: %s", err, out)
	}
	p.stop(t)
	p = c.serve(t, where, geoPool)
	for from, location := range first {
		if again := redirect(from); again != location && time.Now().Before(ends[from]) {
			t.Errorf("%s was sent to %s, and to %s after a restart", from, location, again)
		}
	}
	for from := range first {
		if strings.Contains(p.log.String(), from) {
			t.Errorf("the client %s is in the log", from)
		}
	}
}

// TestBadDatabase: without its database the server serves, and says what is wrong.
func TestBadDatabase(t *testing.T) {
	t.Parallel()
	c, where := geoConfig(t)
	c.json["geoip"] = map[string]any{"city": "missing.mmdb"}
	p := c.serve(t, where, geoPool)
	resp, err := http.Get("http://" + p.web + "/robots.txt")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if !strings.Contains(p.log.String(), "cannot use a geographical database") || !strings.Contains(p.log.String(), "missing.mmdb") {
		t.Error("the log does not say what is wrong")
	}
}
