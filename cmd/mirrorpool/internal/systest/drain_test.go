package systest

import (
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"mirrorpool/dnspool"
	"mirrorpool/health"
	"mirrorpool/testdata/testbed"
)

// A drainRig is a running server with three mirrors: a, b and c.
type drainRig struct {
	*program
	config  *serverConfig
	where   *program
	pool    string
	mirrors [3]*testMirror
}

func newDrainRig(t *testing.T, addresses ...string) *drainRig {
	t.Helper()
	c, where := newServerConfig(t)
	c.json["state_dir"] = t.TempDir()
	r := &drainRig{config: c, where: where}
	port := testbed.FreePort(t, addresses...)
	var entries []string
	for i := range r.mirrors {
		r.mirrors[i] = &testMirror{address: addresses[i], root: newTree(t, time.Now().Add(-time.Hour))}
		r.mirrors[i].start(t, port)
		entries = append(entries, fmt.Sprintf(`{"url_prefix": "http://%s:%s/tails/", "name": "%c", "weight": 1}`, addresses[i], port, 'a'+i))
	}
	c.set("health", "dns_url", "http://{zone}:"+port+"/tails/project/trace")
	r.pool = `{"version": 1, "mirrors": [` + strings.Join(entries, ",\n") + `]}`
	r.program = c.serve(t, where, r.pool)
	testbed.Eventually(t, "all mirrors serve", func() bool { return len(r.serving(t)) == 3 })
	return r
}

// serving are the last digits of the mirrors that DNS answers and redirects name.
func (r *drainRig) serving(t *testing.T) map[string]string {
	t.Helper()
	roles := map[string]string{}
	for address := range r.inDNS(t) {
		roles[address[len(address)-1:]] += "dns "
	}
	for prefix := range r.inRedirects(t, "/x") {
		roles[strings.SplitN(prefix, ":", 3)[1][len("//127.0.1.6"):]] += "http "
	}
	return roles
}

// run runs a command against the server, and wants its exit code, and its output to contain a text.
func (r *drainRig) run(t *testing.T, code int, want string, args ...string) {
	t.Helper()
	cmd := exec.Command(r.cmd.Path, append(args, "--admin", r.admin, "--by", "ann")...)
	out, _ := cmd.CombinedOutput()
	if got := cmd.ProcessState.ExitCode(); got != code || !strings.Contains(string(out), want) {
		t.Errorf("%v: exit code %d, want %d, and %q in\n%s", args, got, code, want, out)
	}
}

// TestDrain drains a mirror under load: no query fails, and no answer names it once the command has returned.
func TestDrain(t *testing.T) {
	t.Parallel()
	r := newDrainRig(t, "127.0.1.61", "127.0.1.62", "127.0.1.63")
	load := startLoad(t.Context(), r.program, 1)
	r.run(t, 0, "http: drained from", "drain", "b", "--for", "1h", "--reason", "disk swap")
	if got := r.serving(t); got["2"] != "" || got["1"] != "dns http " || got["3"] != "dns http " {
		t.Errorf("%v serve, want the first and the third in all roles", got)
	}
	load.stop()
	load.running.Wait()
	for _, lost := range load.lost {
		t.Error(lost)
	}
	r.isShown(t)

	// Neither another list nor a restart changes it.
	r.config.write(t, "mirrors.json", strings.ReplaceAll(r.pool, `"weight": 1`, `"weight": 2`))
	r.shows(t, "1 -> 2", "reload") // the watch may have been first
	r.cmd.Process.Kill()
	<-r.exited
	r.program = r.config.start(t, r.where)
	r.waitReady(t)
	if got := r.serving(t); got["2"] != "" || len(got) != 2 {
		t.Errorf("after kill -9, %v serve, want the first and the third", got)
	}
	r.run(t, 0, "ended", "undrain", r.mirrors[1].address+":"+port(r), "--role", "dns")
	if got := r.serving(t); got["2"] != "dns " {
		t.Errorf("no drain for DNS any more: %v", got)
	}
	r.run(t, 0, "ended", "undrain", "b")
	r.run(t, 1, "is neither drained nor pardoned", "undrain", "b")
	r.run(t, 0, "until", "drain", "b", "--for", "2s", "--reason", "short")
	testbed.Eventually(t, "the drain ends by itself", func() bool { return r.serving(t)["2"] == "dns http " })
	if status := r.status(t); len(status.Mirrors[1].Overrides) > 0 {
		t.Errorf("overrides %v after the end", status.Mirrors[1].Overrides)
	}
}

func port(r *drainRig) string {
	_, after, _ := strings.Cut(r.pool, r.mirrors[0].address+":")
	number, _, _ := strings.Cut(after, "/")
	return number
}

// isShown looks for the drain of b wherever an administrator may look.
func (r *drainRig) isShown(t *testing.T) {
	t.Helper()
	const why = "by ann: disk swap"
	r.shows(t, why, "status")
	r.shows(t, "no failure in half a year", "status", "b")
	r.shows(t, "ann: disk swap", "ledger", "b")
	r.shows(t, why, "explain", "--client", "127.0.0.1")
	for _, path := range []string{"/", "/api/v1/status?"} {
		if text := string(fetch(t, http.DefaultClient, "http://"+r.admin+path)); !strings.Contains(text, "disk swap") {
			t.Errorf("%s: no reason in %s", path, text)
		}
	}
	if text := string(fetch(t, http.DefaultClient, "http://"+r.admin+"/metrics")); !strings.Contains(text,
		`mirrorpool_mirror_override_end_timestamp_seconds{kind="drain",mirror="http://127.0.1.62`) {
		t.Error("no metric of it")
	}
	request := new(dns.Msg)
	request.SetQuestion("_mirrors.dl.example.org.", dns.TypeTXT)
	resp, _, err := (&dns.Client{Net: "tcp"}).Exchange(request, r.dns)
	if err != nil || !strings.Contains(resp.String(), why) {
		t.Errorf("_mirrors: %v, %v", resp, err)
	}
}

// shows wants a text in the output of a command that succeeds.
func (r *drainRig) shows(t *testing.T, want string, args ...string) {
	t.Helper()
	out, err := exec.Command(r.cmd.Path, append(args, "--admin", r.admin)...).CombinedOutput()
	if err != nil || !strings.Contains(string(out), want) {
		t.Errorf("%v: %v, want %q in\n%s", args, err, want, out)
	}
}

// TestDrainTheLast: a drain that leaves no mirror that is up is refused, unless the person insists.
func TestDrainTheLast(t *testing.T) {
	t.Parallel()
	r := newDrainRig(t, "127.0.1.61", "127.0.1.62", "127.0.1.63")
	r.run(t, 2, "want --for and --reason", "drain", "a")
	r.run(t, 1, `no mirror has the url_prefix, name or host "x"`, "drain", "x", "--for", "1h", "--reason", "r")
	r.run(t, 1, "want a duration from 1s to 2160h", "drain", "a", "--for", "9999h", "--reason", "r")
	r.run(t, 1, "want role=dns or role=http", "drain", "a", "--for", "1h", "--reason", "r", "--role", "rsync")
	r.run(t, 0, "", "drain", "a", "--for", "1h", "--reason", "r")
	r.run(t, 0, "", "drain", "b", "--for", "1h", "--reason", "r", "--role", "dns")
	r.run(t, 1, "would leave no mirror that is up for DNS answers over IPv4; --anyway does it",
		"drain", "c", "--for", "1h", "--reason", "r", "--role", "dns")
	r.mirrors[2].stop()
	testbed.Eventually(t, "c is down", func() bool { return r.status(t).Mirrors[2].State == health.Down })
	r.run(t, 1, "would leave no mirror that is up for redirects", "drain", "b", "--for", "1h", "--reason", "r")
	if got := r.serving(t); got["1"]+got["2"]+got["3"] == "" || got["1"] != "" {
		t.Errorf("%v serve, want those that are not drained", got)
	}
	r.run(t, 0, "drained from", "drain", "b", "--for", "1h", "--reason", "r", "--anyway")
	if got := r.serving(t); got["2"] != "" || got["3"] != "dns http " {
		t.Errorf("%v serve, want the one that is down, as nothing else is left", got)
	}
	r.run(t, 0, "drained from", "drain", "c", "--for", "1h", "--reason", "r", "--anyway")
	r.run(t, 0, "drained from", "drain", "a", "--for", "1h", "--reason", "r", "--anyway")
	request := new(dns.Msg)
	request.SetQuestion("dl.example.org.", dns.TypeA)
	if resp, err := dns.Exchange(request, r.dns); err != nil || resp.Rcode != dns.RcodeSuccess || len(resp.Answer) > 0 {
		t.Errorf("%v, %v, want an answer without records", resp, err)
	}
	if resp, err := http.Get("http://" + r.web + "/x"); err != nil || resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("%v, %v, want 503", resp, err)
	}
}

// TestPardon has a mirror serve that is down, but not one that is disabled.
func TestPardon(t *testing.T) {
	t.Parallel()
	r := newDrainRig(t, "127.0.1.61", "127.0.1.62", "127.0.1.63")
	r.mirrors[1].stop()
	testbed.Eventually(t, "b is out", func() bool { return r.serving(t)["2"] == "" })
	r.run(t, 0, "http: forced up from", "pardon", "b", "--for", "1h", "--reason", "the trace is wrong")
	if got := r.serving(t)["2"]; got != "dns http " {
		t.Errorf("it serves %q", got)
	}
	r.shows(t, "http 127.0.1.62", "ledger", "b")
	r.shows(t, "check: connect: connection refused", "ledger", "--since", "1h")
	r.shows(t, ",forced up,", "ledger", "--csv")
	r.shows(t, `"noticed": "check"`, "ledger", "b", "--json")
	r.shows(t, "1 failure in half a year", "status", "127.0.1.62:"+port(r))
	m := r.status(t).Mirrors[1]
	if m.State != health.Down || len(m.Overrides) != 2 || m.Overrides[0].Kind != dnspool.ForceUp {
		t.Errorf("status %v, %v, want what the checks say, and the person", m.State, m.Overrides)
	}
	r.config.write(t, "mirrors.json", strings.Replace(r.pool, `"b", "weight": 1`, `"b", "weight": 0`, 1))
	r.shows(t, "disabled", "reload")
	testbed.Eventually(t, "disabled, it does not serve", func() bool { return r.serving(t)["2"] == "" })
	r.run(t, 1, "is disabled (weight 0)", "drain", "b", "--force-up", "--for", "1h", "--reason", "r")
}

// TestDrainOfTwoCopies: during an upgrade, two copies of the program run with one state_dir. What one is asked for
// holds in both, and after either has ended.
func TestDrainOfTwoCopies(t *testing.T) {
	t.Parallel()
	r := newDrainRig(t, "127.0.1.81", "127.0.1.82", "127.0.1.83")
	other, where := newServerConfig(t)
	other.dir = t.TempDir()
	for key, value := range r.config.json {
		if key != "dns" && key != "http" && key != "admin" {
			other.json[key] = value
		}
	}
	second := &drainRig{config: other, where: where, mirrors: r.mirrors, pool: r.pool, program: other.serve(t, where, r.pool)}
	r.run(t, 0, "drained from", "drain", "a", "--for", "1h", "--reason", "r")
	testbed.Eventually(t, "the second copy has the drain, too", func() bool { return second.serving(t)["1"] == "" })
	second.run(t, 0, "drained from", "drain", "b", "--for", "1h", "--reason", "r", "--role", "http")
	testbed.Eventually(t, "the first copy has both", func() bool {
		serving := r.serving(t)
		return serving["1"] == "" && serving["2"] == "dns "
	})
	second.run(t, 0, "ended", "undrain", "a")
	testbed.Eventually(t, "the first copy has one", func() bool { return r.serving(t)["1"] == "dns http " })
	second.stop(t)
	if got := r.serving(t); got["1"] != "dns http " || got["2"] != "dns " {
		t.Errorf("after the second copy has ended, %v serve", got)
	}
}
