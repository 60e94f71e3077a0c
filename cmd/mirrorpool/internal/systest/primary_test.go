package systest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"mirrorpool/dnspool/tsig"
	"mirrorpool/testdata/testbed"
)

const updatedName = "dl.example.org."

// updater is a deployment that keeps the pool's addresses at a primary.
func updater(t testing.TB, primary string) (*deployment, *site) {
	t.Helper()
	s := newSite(t, "")
	d := deploy(t, "updater.json", "192.0.2.53:53", primary, "/etc/mirrorpool/mirrorpool.key", s.key)
	return d, s
}

// holds waits until the primary has exactly these addresses.
func holds(t *testing.T, addr string, want []string) {
	t.Helper()
	slices.Sort(want)
	var got []string
	defer func() {
		if t.Failed() {
			t.Logf("it has %v", got)
		}
	}()
	testbed.Eventually(t, fmt.Sprintf("the primary has %v", want), func() bool {
		got = addressesAt(addr, updatedName, dns.TypeA)
		return slices.Equal(got, want)
	})
}

// TestPrimaries has BIND, Knot and PowerDNS be kept up to date through all that may happen.
func TestPrimaries(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"bind", "knot", "pdns"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			at := "127.0.0.1:" + testbed.FreePort(t, "127.0.0.1")
			d, s := updater(t, at)
			primary := s.primary(t, name, at)
			serial := serialAt(at, "example.org.")
			testPublishCommand(t, d, s, at)
			if now := serialAt(at, "example.org."); now == serial {
				t.Errorf("the serial of %s is %d still", name, now)
			}
			p := d.start(t)
			holds(t, at, d.addresses("a", "b", "c"))
			d.mirrors["c"].stop()
			holds(t, at, d.addresses("a", "b"))
			up := fmt.Sprintf(`mirrorpool_publish_up{server=%q,zone="example.org."}`, at)
			testbed.Eventually(t, "the metric says so", func() bool { return metric(t, d.admin, up) == 1 })

			// The primary is away, and comes back with what it had.
			primary.stop()
			d.mirrors["c"].start(t, d.port)
			testbed.Eventually(t, "the failure is seen", func() bool { return metric(t, d.admin, up) == 0 })
			primary.run()
			holds(t, at, d.addresses("a", "b", "c"))

			// What else is in the zone is left alone.
			resp, _, err := (&dns.Client{Net: "tcp"}).Exchange(new(dns.Msg).SetQuestion("example.org.", dns.TypeTXT), at)
			if err != nil || len(resp.Answer) != 1 {
				t.Errorf("the TXT record: %v, %v", resp, err)
			}
			p.stop(t)
			if strings.Contains(p.log.String(), s.secret) {
				t.Error("the secret is in the log")
			}
			testWrongSignatures(t, s, name, at)
		})
	}
}

// testPublishCommand sends nothing, then what the script says, by nsupdate, and then the rest.
func testPublishCommand(t *testing.T, d *deployment, s *site, at string) {
	t.Helper()
	d.write(t, "mirrors.json", d.pool("c"))
	d.write(t, "mirrorpool.json", d.json)
	publish := func(flag string, want int) string {
		t.Helper()
		code, stdout, stderr := command(t, "publish", "--config", filepath.Join(d.dir, "mirrorpool.json"), flag)
		if code != want {
			t.Fatalf("publish %s: exit code %d, want %d: %s", flag, code, want, stderr)
		}
		if strings.Contains(stdout+stderr, s.secret) {
			t.Errorf("publish %s shows the secret", flag)
		}
		return stdout + stderr
	}
	script := publish("--dry-run", exitOK)
	host, port, _ := net.SplitHostPort(at)
	for _, want := range []string{"; to be done, by nsupdate -v -k " + s.key, "server " + host + " " + port, "zone example.org.",
		"prereq nxrrset dl.example.org. A\n", "update add dl.example.org. 60 A " + d.mirrors["b"].address + "\n", "send\n"} {
		if !strings.Contains(script, want) {
			t.Errorf("%q is not in the script\n%s", want, script)
		}
	}
	if got := addressesAt(at, updatedName, dns.TypeA); len(got) > 0 {
		t.Errorf("--dry-run has written %v", got)
	}
	nsupdate := exec.Command(testbed.Need(t, "nsupdate", "bind9-dnsutils"), "-v", "-k", s.key)
	nsupdate.Stdin = strings.NewReader(script)
	if out, err := nsupdate.CombinedOutput(); err != nil {
		t.Errorf("nsupdate does not take the script: %v: %s\n%s", err, out, script)
	}
	holds(t, at, d.addresses("a", "b"))
	if out := publish("--once", exitOK); !strings.Contains(out, "; "+at+": example.org. is up to date") {
		t.Errorf("after nsupdate: %s", out)
	}
	d.write(t, "mirrors.json", d.pool("a"))
	if out := publish("--once", exitOK); !strings.Contains(out, "; done, by nsupdate") ||
		!strings.Contains(out, "prereq yxrrset dl.example.org. A "+d.mirrors["a"].address) {
		t.Errorf("--once: %s", out)
	}
	holds(t, at, d.addresses("b", "c"))

	// Another secret, under the same name.
	d.write(t, "mirrors.json", d.pool("b"))
	good, err := os.ReadFile(s.key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.key, []byte(strings.Replace(string(good), s.secret, "d3Jvbmctd3Jvbmctd3Jvbmctd3Jvbmctd3Jvbmctd3I=",
		1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := publish("--once", exitFailure); !strings.Contains(out, at+": ") || !strings.Contains(out, "mirrorpool.") {
		t.Errorf("with another secret: %s", out)
	}
	if err := os.WriteFile(s.key, good, 0o600); err != nil {
		t.Fatal(err)
	}
	holds(t, at, d.addresses("b", "c"))
}

// testWrongSignatures asks for an update with a clock that is wrong, and with keys that are, and wants it to be said
// as what it is.
func testWrongSignatures(t *testing.T, s *site, name, at string) {
	t.Helper()
	good, err := tsig.LoadOne(s.key)
	if err != nil {
		t.Fatal(err)
	}
	wrong, _ := tsig.NewKey("mirrorpool.", "hmac-sha256", []byte(strings.Repeat("wrong", 8)))
	slow, fast := "ahead of ours: set the clocks", "behind ours: set the clocks"
	if name == "pdns" { // it says REFUSED, and not why
		slow, fast = "its clock may differ from ours", "its clock may differ from ours"
	}
	unknown, _ := tsig.NewKey("unknown.", "hmac-sha256", []byte(strings.Repeat("wrong", 8)))
	for what, test := range map[string]struct {
		key  *tsig.Key
		skew time.Duration
		want string
	}{
		"slow clock":     {good, -time.Hour, slow},
		"fast clock":     {good, time.Hour, fast},
		"another secret": {wrong, 0, "mirrorpool."},
		"unknown key":    {unknown, 0, "unknown."},
	} {
		req := new(dns.Msg).SetUpdate("example.org.")
		req.RRsetNotUsed([]dns.RR{&dns.ANY{Hdr: dns.RR_Header{Name: "nothing.example.org.", Rrtype: dns.TypeA}}})
		now := time.Now().Add(test.skew)
		test.key.Sign(req, now)
		client := dns.Client{Net: "tcp", TsigProvider: test.key.Ring()}
		resp, _, err := client.Exchange(req, at)
		if got := fmt.Sprint(tsig.Explain(test.key, resp, err, now)); !strings.Contains(got, test.want) {
			t.Errorf("%s: %s, want %q", what, got, test.want)
		}
	}
}

// TestUpdaterAlone has dns.listen and http.listen off: nothing but updates goes on.
func TestUpdaterAlone(t *testing.T) {
	t.Parallel()
	at := "127.0.0.1:" + testbed.FreePort(t, "127.0.0.1") // without a server
	d, _ := updater(t, at)
	p := d.start(t)
	testbed.Eventually(t, "the log says what is wrong", func() bool {
		return strings.Contains(p.log.String(), at+": connection: connect: connection refused")
	})
	if !strings.Contains(p.log.String(), `"dns":[],"http":[]`) {
		t.Error("something listens")
	}
	p.stop(t)
}

// TestAloneAndEqual runs what README.md recommends for one server, and for two that do not know of each other.
func TestAloneAndEqual(t *testing.T) {
	t.Parallel()
	ours := [2]string{"127.0.0.1:" + testbed.FreePort(t, "127.0.0.1"), "127.0.0.1:" + testbed.FreePort(t, "127.0.0.1")}
	for i, file := range []string{"alone.json", "equal.json"} {
		d := deploy(t, file, "192.0.2.1:53", ours[i], "192.0.2.1:80", "127.0.0.1:"+testbed.FreePort(t, "127.0.0.1"))
		d.dns = ours[i]
		p := d.start(t)
		if got := p.inDNS(t); len(got) != 3 {
			t.Errorf("%s: %v, want three mirrors", file, got)
		}
		d.mirrors["a"].stop()
		testbed.Eventually(t, "the failed mirror is out", func() bool { return len(p.inDNS(t)) == 2 })
	}
}
