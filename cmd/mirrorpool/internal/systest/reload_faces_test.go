package systest

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"mirrorpool/testdata/testbed"
)

// TestReloadOfFaces: base path, proxies, stickiness, Metalinks, databases and the administrator's token take effect on
// a reload.
func TestReloadOfFaces(t *testing.T) {
	t.Parallel()
	c, where := geoConfig(t)
	city := c.json["geoip"].(map[string]any)["city"]
	c.json["geoip"] = map[string]any{}
	secret := func(name, text string) string {
		path := filepath.Join(c.dir, name)
		if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	token := secret("token", "0123456789abcdef-one")
	c.set("admin", "token_file", token)
	p := c.serve(t, where, geoPool)
	reload := func(flags ...string) (code int, stdout, stderr string) {
		return command(t, append([]string{"reload", "--admin", p.admin}, flags...)...)
	}
	status := func(path string) int {
		resp, err := http.DefaultTransport.RoundTrip(httptest.NewRequest("GET", "http://"+p.web+path, nil).WithContext(t.Context()))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	if code, _, stderr := reload(); code != 1 || !strings.Contains(stderr, "token") {
		t.Errorf("without the token: %d, %s", code, stderr)
	}
	before := status("/x.iso")
	c.set("http", "base_path", "/pub/")
	c.set("http", "trusted_proxies", []string{})
	c.set("http", "sticky", "2h")
	c.set("http", "sticky_secret", "fedcba9876543210")
	c.set("http", "metalinks", false)
	c.json["geoip"] = map[string]any{"city": city}
	c.write(t, "mirrorpool.json", c.json)
	secret("token", "0123456789abcdef-two")
	old := secret("old", "0123456789abcdef-one")
	code, stdout, stderr := reload("--token-file", old)
	const want = "configuration: http.base_path, http.trusted_proxies, http.sticky, http.sticky_secret, http.metalinks, " +
		"geoip.city, admin.token_file changed\n"
	if code != 0 || !strings.HasPrefix(stdout, want) {
		t.Fatalf("%d, %q, %s; want %q", code, stdout, stderr, want)
	}
	if before != 302 || status("/x.iso") != 404 || status("/pub/x.iso") != 302 || status("/pub/x.iso.meta4") != 302 {
		t.Errorf("before %d, /x.iso %d, below the base path %d, a Metalink %d; want 302, 404, 302, 302",
			before, status("/x.iso"), status("/pub/x.iso"), status("/pub/x.iso.meta4"))
	}
	if code, _, _ := reload("--token-file", old); code != 1 {
		t.Errorf("the old token still passes: %d", code)
	}
	if code, stdout, stderr := reload("--token-file", token); code != 0 || !strings.Contains(stdout, "nothing new") {
		t.Errorf("the new token: %d, %s, %s", code, stdout, stderr)
	}
	out, err := exec.Command(p.cmd.Path, "explain", "--admin", p.admin, "--client", "198.18.2.9").CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("DE")) {
		t.Errorf("with the database: %v\n%s", err, out)
	}

	c.json["geoip"] = map[string]any{"city": "missing.mmdb"}
	c.set("http", "base_path", "/")
	c.write(t, "mirrorpool.json", c.json)
	if code, _, stderr := reload("--token-file", token); code != 1 || !strings.Contains(stderr, "geoip.city: ") ||
		!strings.Contains(stderr, "missing.mmdb") {
		t.Errorf("a database that is missing: %d, %s", code, stderr)
	}
	if status("/pub/x.iso") != 302 {
		t.Error("a reload that was refused has changed something")
	}
	p.stop(t)
}

// TestReloadReportsWatcher wants an update that the server applied unasked to be printed by the next reload, once.
func TestReloadReportsWatcher(t *testing.T) {
	t.Parallel()
	c, where := newServerConfig(t)
	c.set("health", "enabled", false)
	p := c.serve(t, where, mirrorsText(t, "1 10", "2 10"))
	c.write(t, "mirrors.json", mirrorsText(t, "1 10", "2 10", "3 10"))
	testbed.Eventually(t, "the server takes the new list", func() bool { return len(p.status(t).Mirrors) == 3 })
	code, stdout, stderr := command(t, "reload", "--admin", p.admin)
	if code != 0 || stderr != "" || !strings.HasPrefix(stdout, "pool: already up to date; the server applied this update ") ||
		!strings.HasSuffix(stdout, "\n  added     https://m3.example.org/\n") {
		t.Errorf("exit code %d, %q, %q", code, stdout, stderr)
	}
	p.wantReload(t, 0, "pool: nothing new")
}

// TestReloadUnderLoad reloads all the time, by all ways, while clients ask both faces. None may go unanswered.
func TestReloadUnderLoad(t *testing.T) {
	t.Parallel()
	c, where := newServerConfig(t)
	c.set("health", "enabled", false)
	c.json["mirrors_refresh"] = "100ms"
	lists := []string{
		mirrorsText(t, "1 10", "2 10", "3 10"), mirrorsText(t, "1 10", "2 20", "4 10"), mirrorsText(t, "1 5", "2 5", "3 5", "5 1"),
	}
	p := c.serve(t, where, lists[0])
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	var running sync.WaitGroup
	var queries, requests atomic.Int64
	for range 2 {
		running.Go(func() { queries.Add(queryUntil(ctx, t, p.dns)) })
		running.Go(func() { requests.Add(requestUntil(ctx, t, p.web)) })
	}
	reloads := 0
	for ; ctx.Err() == nil; reloads++ {
		c.write(t, "mirrors.json", lists[reloads%len(lists)])
		if reloads%4 == 0 {
			p.cmd.Process.Signal(syscall.SIGHUP)
		}
		resp, err := http.Post("http://"+p.admin+"/api/v1/reload", "", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("reload %d: %s", reloads, resp.Status)
		}
	}
	running.Wait()
	t.Logf("%d reloads, %d queries, %d requests", reloads, queries.Load(), requests.Load())
	if reloads < 10 || queries.Load() < 100 || requests.Load() < 100 {
		t.Errorf("%d reloads, %d queries, %d requests: too few to tell", reloads, queries.Load(), requests.Load())
	}
	p.stop(t)
}

// queryUntil asks for addresses over UDP until ctx ends, and wants an answer each time.
func queryUntil(ctx context.Context, t testing.TB, server string) (n int64) {
	conn, err := dns.DialTimeout("udp", server, time.Second)
	if err != nil {
		t.Error(err)
		return 0
	}
	defer conn.Close()
	for ; ctx.Err() == nil; n++ {
		req := new(dns.Msg)
		req.SetQuestion("dl.example.org.", dns.TypeA)
		conn.SetDeadline(time.Now().Add(5 * time.Second))
		err := conn.WriteMsg(req)
		var resp *dns.Msg
		if err == nil {
			resp, err = conn.ReadMsg()
		}
		if err != nil || resp.Rcode != dns.RcodeSuccess || len(resp.Answer) == 0 || resp.Id != req.Id {
			t.Errorf("query %d: %v, %v", n, err, resp)
			return n
		}
	}
	return n
}

// requestUntil asks for files until ctx ends, and wants a redirect each time.
func requestUntil(ctx context.Context, t testing.TB, server string) (n int64) {
	client := http.Client{
		Transport: &http.Transport{}, Timeout: 5 * time.Second,
		CheckRedirect: noRedirect,
	}
	defer client.CloseIdleConnections()
	for ; ctx.Err() == nil; n++ {
		resp, err := client.Get("http://" + server + "/x")
		if err != nil {
			t.Errorf("request %d: %v", n, err)
			return n
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusFound {
			t.Errorf("request %d: %s", n, resp.Status)
			return n
		}
	}
	return n
}
