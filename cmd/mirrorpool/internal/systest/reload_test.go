package systest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"mirrorpool/dnspool/admin"
	"mirrorpool/testdata/testbed"
)

// A webList is a list of mirrors on a web server of this machine, which is read on request only.
type webList struct {
	*httptest.Server
	text atomic.Pointer[string]
}

func newWebList(t testing.TB, c *serverConfig) *webList {
	t.Helper()
	l := &webList{}
	l.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, *l.text.Load())
	}))
	t.Cleanup(l.Close)
	c.json["mirrors"] = l.URL + "/mirrors.json"
	c.json["mirrors_refresh"] = "1h"
	return l
}

// set publishes a list of mirrors "number weight more", at addresses of their own.
func (l *webList) set(t testing.TB, mirrors ...string) {
	text := mirrorsText(t, mirrors...)
	l.text.Store(&text)
}

func mirrorsText(t testing.TB, mirrors ...string) string {
	t.Helper()
	var list []string
	for _, m := range mirrors {
		var number, weight int
		if _, err := fmt.Sscan(m, &number, &weight); err != nil {
			t.Fatal(err)
		}
		_, more, _ := strings.Cut(m, ",")
		if more != "" {
			more = ", " + more
		}
		addr := netip.AddrFrom4([4]byte{127, 0, 3, byte(number)})
		list = append(list, fmt.Sprintf(`{"url_prefix": "https://m%d.example.org/", "rsync_url": "rsync://m%d.example.org/x/", `+
			`"weight": %d, "dns": {"addresses": [%q]}%s}`,
			number, number, weight, addr, more))
	}
	return `{"version": 1, "mirrors": [` + strings.Join(list, ",\n") + "]}"
}

// wantReload runs mirrorpool reload, and wants an exit code and these lines, warnings aside.
func (p *program) wantReload(t testing.TB, code int, lines string, flags ...string) {
	t.Helper()
	gotCode, stdout, stderr := command(t, append([]string{"reload", "--admin", p.admin}, flags...)...)
	var got []string
	for line := range strings.Lines(stderr + stdout) {
		if !strings.HasPrefix(line, "warning: ") {
			got = append(got, strings.TrimSpace(line))
		}
	}
	if diff := cmp.Diff(strings.Split(lines, "\n"), got); diff != "" || gotCode != code {
		t.Fatalf("reload %v: exit code %d, want %d (-want +got):\n%s", flags, gotCode, code, diff)
	}
}

// TestReload is the path of a list of mirrors from its web site to who asks, and what an administrator sees.
func TestReload(t *testing.T) {
	t.Parallel()
	c, where := newServerConfig(t)
	c.set("health", "enabled", false)
	list := newWebList(t, c)
	list.set(t, "1 10", "2 10", "3 10")
	p := c.serve(t, where, "")
	source := c.json["mirrors"].(string)
	p.wantReload(t, 0, "pool: nothing new")

	list.set(t, "1 10", `2 0`, "3 20", `4 10, "name": "m4"`)
	p.wantReload(t, 0, `pool: would change:
added     https://m4.example.org/
weight    https://m2.example.org/ 10 -> 0 (disabled)
weight    https://m3.example.org/ 10 -> 20`, "--dry-run")
	if got := p.inDNS(t); len(got) != 3 || !got["127.0.3.2"] {
		t.Errorf("after a dry run the answers are %v, want them as before", got)
	}
	p.wantReload(t, 0, `pool: changed:
added     https://m4.example.org/
weight    https://m2.example.org/ 10 -> 0 (disabled)
weight    https://m3.example.org/ 10 -> 20`)
	testbed.Eventually(t, "the new pool is served", func() bool {
		got := p.inDNS(t)
		return len(got) == 3 && got["127.0.3.4"] && !got["127.0.3.2"]
	})

	t.Run("guard", func(t *testing.T) { testGuardHolds(t, p, list, source) })
	t.Run("settings", func(t *testing.T) { testSettingsReload(t, p, c) })
	t.Run("api", func(t *testing.T) { testReloadAPI(t, p, list) })
	t.Run("mirrors.json", func(t *testing.T) { testLegacyList(t, p, list) })

	list.Close()
	if code, _, stderr := command(t, "reload", "--admin", p.admin); code != 1 || !strings.Contains(stderr, source+": ") ||
		!strings.Contains(stderr, "connection refused") {
		t.Errorf("with the web site away: %d, %s", code, stderr)
	}
	p.stop(t)
	if code, _, stderr := command(t, "reload", "--admin", p.admin); code != 1 || !strings.Contains(stderr, "is it running") {
		t.Errorf("with the server away: %d, %s", code, stderr)
	}
}

func testGuardHolds(t *testing.T, p *program, list *webList, source string) {
	list.set(t, "1 10")
	numbers := "it removes or disables 2 of 3 enabled mirrors, 75 % of the weight, and mirrors_guard allows 50 %"
	change := `pool: unchanged; held back:
removed   https://m2.example.org/
removed   https://m3.example.org/
removed   https://m4.example.org/`
	p.wantReload(t, 1, "mirrorpool: "+source+": held back: "+numbers+"; if it is meant, confirm it: mirrorpool reload "+
		"--confirm\n"+change)
	status := p.status(t).Pool
	if status.Held == nil || status.Held.Lost != 2 || status.Held.Share != 0.75 || len(status.Held.Change.Removed) != 3 ||
		!strings.Contains(status.Error, numbers) {
		t.Errorf("status %+v", status)
	}
	if got := p.inDNS(t); len(got) != 3 {
		t.Errorf("answers %v, want the pool before", got)
	}
	if !strings.Contains(p.log.String(), "held back; if it is meant: mirrorpool reload --confirm") {
		t.Error("the log does not tell")
	}
	resp, err := http.Get("http://" + p.admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, _ := io.ReadAll(resp.Body); !bytes.Contains(text, []byte("\nmirrorpool_pool_held 1\n")) {
		t.Error("the metrics do not tell")
	}
	p.wantReload(t, 0, "pool: changed:\n"+strings.TrimPrefix(change, "pool: unchanged; held back:\n"), "--confirm")
	testbed.Eventually(t, "the confirmed pool is served", func() bool { return len(p.inDNS(t)) == 1 })
	if status := p.status(t).Pool; status.Held != nil || status.Error != "" {
		t.Errorf("status %+v", status)
	}
	// A pool without mirrors is a mistake.
	list.set(t, "1 0")
	p.wantReload(t, 1, "mirrorpool: "+source+": no mirror is enabled: give at least one a weight above 0\npool: unchanged",
		"--confirm")
	list.set(t, "1 10", "2 10", "3 10", `4 10, "name": "m4"`)
	p.wantReload(t, 1, "mirrorpool: "+source+": held back: it moves 75 % of the clients to other mirrors (https://m2.example.org/ "+
		"alone gets 25 %), and mirrors_guard allows 50 %; if it is meant, confirm it: mirrorpool reload --confirm\n"+
		"pool: unchanged; held back:\nadded     https://m2.example.org/\nadded     https://m3.example.org/\nadded     "+
		"https://m4.example.org/")
	list.set(t, "1 10", "2 10")
	p.wantReload(t, 0, "pool: changed:\nadded     https://m2.example.org/")
	list.set(t, "1 10", "2 10", "3 10", `4 10, "name": "m4"`)
	p.wantReload(t, 0, "pool: changed:\nadded     https://m3.example.org/\nadded     https://m4.example.org/")
}

// testSettingsReload edits mirrorpool.json while the server runs.
func testSettingsReload(t *testing.T, p *program, c *serverConfig) {
	file := filepath.Join(c.dir, "mirrorpool.json")
	before := p.log.String()
	c.set("dns", "ttl", "7s")
	c.set("dns", "names", []string{"@", "www"})
	c.set("dns", "max_answers", 3)
	c.set("dns", "udp_size", 1400)
	c.json["selection"] = map[string]any{"near": 3}
	c.set("http", "listen", []string{"127.0.0.1:1"})
	c.json["log"] = map[string]any{"level": "debug"}
	c.write(t, "zone", "@ SOA ns1.example.org. hostmaster.example.org. 1 2 3 4 5\n@ NS ns1.example.org.\nstatic A 192.0.2.1\n")
	c.set("dns", "zone_file", "zone")
	c.write(t, "mirrorpool.json", c.json)
	p.wantReload(t, 0, `configuration: dns.names, dns.zone_file, dns.ttl, dns.max_answers, dns.udp_size, selection, `+
		`log.level would change
configuration: http.listen changed, which needs a restart
pool: nothing new`, "--dry-run")
	req := new(dns.Msg).SetQuestion("www.dl.example.org.", dns.TypeA)
	if resp, err := dns.Exchange(req, p.dns); err != nil || resp.Rcode != dns.RcodeNameError {
		t.Errorf("after a dry run: %v, %v; want NXDOMAIN for www", resp, err)
	}
	p.wantReload(t, 0, `configuration: dns.names, dns.zone_file, dns.ttl, dns.max_answers, dns.udp_size, selection, log.level changed
configuration: http.listen changed, which needs a restart
pool: nothing new`)
	if got := p.ask(t, "www.dl.example.org.", dns.TypeA); len(got) != 3 {
		t.Errorf("www: %v, want 3 addresses", got)
	}
	req = new(dns.Msg).SetQuestion("dl.example.org.", dns.TypeA)
	resp, err := dns.Exchange(req, p.dns)
	if err != nil || len(resp.Answer) == 0 || resp.Answer[0].Header().Ttl != 7 {
		t.Errorf("%v, %v; want a TTL of 7", resp, err)
	}
	req.SetQuestion("static.dl.example.org.", dns.TypeA)
	if resp, err = dns.Exchange(req, p.dns); err != nil || len(resp.Answer) != 1 {
		t.Errorf("%v, %v; want the record of the zone file", resp, err)
	}
	req.SetEdns0(4096, false)
	if resp, err = dns.Exchange(req, p.dns); err != nil || resp.IsEdns0() == nil || resp.IsEdns0().UDPSize() != 1400 {
		t.Errorf("%v, %v; want a payload size of 1400", resp, err)
	}
	// What is wrong changes nothing, and the list is looked at all the same.
	for text, want := range map[string]string{
		`{"dns": {"zone": "dl.example.org", "nameservers": ["ns1.example.org"], "tll": "1s"}}`: `mirrorpool: ` + file +
			`:1:72: /dns/tll: unknown key "tll"; did you mean "ttl"?`,
		strings.ReplaceAll(string(mustJSON(t, c.json)), `"www"`, `"m4"`): `mirrorpool: ` +
			c.json["mirrors"].(string) + `: the mirror https://m4.example.org/ in force: "m4" is the name of the pool (dns.names) ` +
			`already; want another one`,
	} {
		c.write(t, "mirrorpool.json", text)
		p.wantReload(t, 1, want+"\npool: nothing new")
		if got := p.ask(t, "www.dl.example.org.", dns.TypeA); len(got) != 3 {
			t.Errorf("www: %v, want 3 addresses", got)
		}
	}
	c.set("http", "listen", []string{p.web})
	delete(c.json["dns"].(map[string]any), "udp_size")
	delete(c.json["dns"].(map[string]any), "zone_file")
	c.write(t, "mirrorpool.json", c.json)
	p.wantReload(t, 0, "configuration: dns.zone_file, dns.udp_size changed\npool: nothing new")
	if strings.Contains(before, "list of mirrors is unchanged") {
		t.Error("debug messages at level info")
	}
}

func mustJSON(t testing.TB, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func testReloadAPI(t *testing.T, p *program, list *webList) {
	post := func(method, body string, header ...string) (int, admin.ReloadAnswer) {
		t.Helper()
		req, err := http.NewRequest(method, "http://"+p.admin+"/api/v1/reload", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
			if header[i] == "Host" {
				req.Host = header[i+1]
			}
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var answer admin.ReloadAnswer
		if text, _ := io.ReadAll(resp.Body); resp.Header.Get("Content-Type") == "application/json" {
			if err := json.Unmarshal(text, &answer); err != nil {
				t.Fatalf("%v in %s", err, text)
			}
		}
		return resp.StatusCode, answer
	}
	if code, answer := post("POST", ""); code != 200 || !answer.OK || answer.Pool.Applied || answer.Pool.Change != nil {
		t.Errorf("nothing new: %d %+v", code, answer)
	}
	list.set(t, "1 10")
	if code, answer := post("POST", ""); code != 409 || answer.OK || answer.Pool.Held == nil || answer.Pool.Held.Lost != 3 {
		t.Errorf("held back: %d %+v", code, answer)
	}
	for name, header := range map[string][]string{
		"another site's page": {"Origin", "https://evil.example"}, "a rebound name": {"Host", "evil.example"},
	} {
		if code, _ := post("POST", `{"confirm": true}`, header...); code != 403 {
			t.Errorf("%s: %d, want 403", name, code)
		}
	}
	if code, _ := post("GET", ""); code != 405 {
		t.Errorf("GET: %d", code)
	}
	if code, answer := post("POST", `{"confirm": true}`); code != 200 || !answer.Pool.Applied ||
		len(answer.Pool.Change.Removed) != 3 {
		t.Errorf("confirmed: %d %+v", code, answer)
	}
}

func testLegacyList(t *testing.T, p *program, list *webList) {
	list.set(t, `1 10, "email": "ops@example.org", "notes": "n"`, "2 0", "5 7")
	p.wantReload(t, 0, "pool: changed:\nadded     https://m2.example.org/\nadded     https://m5.example.org/\nchanged   "+
		"https://m1.example.org/ email, notes")
	want := `{"version":1,"mirrors":[{"url_prefix":"https://m1.example.org/","weight":10},` +
		`{"url_prefix":"https://m5.example.org/","weight":7}]}`
	var got bytes.Buffer
	testbed.Eventually(t, "/mirrors.json follows the pool", func() bool {
		resp, err := http.Get("http://" + p.web + "/mirrors.json")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		got.Reset()
		return json.Compact(&got, text) == nil && got.String() == want
	})
}
