package systest

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"mirrorpool/dnspool/admin"
	"mirrorpool/testdata/testbed"
)

const poolZone = "dl.example.org."

// hiddenPrimary is a deployment whose secondaries are at the given addresses.
func hiddenPrimary(t testing.TB, notify ...string) (*deployment, *site) {
	t.Helper()
	ours := "127.0.0.1:" + testbed.FreePort(t, "127.0.0.1")
	s := newSite(t, ours)
	var targets []string
	for _, addr := range notify {
		targets = append(targets, fmt.Sprintf("%q", addr+" mirrorpool"))
	}
	d := deploy(t, "hidden-primary.json", "192.0.2.1:53", ours, `"192.0.2.2:53 mirrorpool"`, strings.Join(targets, ", "),
		"/etc/mirrorpool/mirrorpool.key", s.key)
	d.dns = ours
	return d, s
}

// startSecondaries starts hiddenPrimary, with its section "dns" as change leaves it, and BIND, Knot and NSD as its
// secondaries.
func startSecondaries(t *testing.T, change func(dns map[string]any)) (*deployment, *site, *program, []*neighbour) {
	t.Helper()
	names := []string{"bind", "knot", "nsd"}
	var at []string
	for range names {
		at = append(at, "127.0.0.1:"+testbed.FreePort(t, "127.0.0.1"))
	}
	d, s := hiddenPrimary(t, at...)
	if change != nil {
		change(d.json["dns"].(map[string]any))
	}
	p := d.start(t)
	var secondaries []*neighbour
	for i, name := range names {
		secondaries = append(secondaries, s.secondary(t, name, at[i], s.ours, s.secret))
	}
	return d, s, p, secondaries
}

// metric returns the value of a metric with its labels as they are printed, or 0.
func metric(t testing.TB, admin, name string) float64 {
	t.Helper()
	text := fetch(t, http.DefaultClient, "http://"+admin+"/metrics")
	found := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + ` (\S+)$`).FindSubmatch(text)
	if found == nil {
		return 0
	}
	value, err := strconv.ParseFloat(string(found[1]), 64)
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// follow waits until all secondaries serve what mirrorpool has, which is the given addresses.
func follow(t *testing.T, p *program, secondaries []*neighbour, want []string) {
	t.Helper()
	slices.Sort(want)
	for _, n := range secondaries {
		var got []string
		testbed.Eventually(t, fmt.Sprintf("%s serves %v", n.name, want), func() bool {
			got = addressesAt(n.addr, poolZone, dns.TypeA)
			return slices.Equal(got, want) && serialAt(n.addr, poolZone) == serialAt(p.dns, poolZone)
		})
	}
}

// TestSecondaries has BIND, Knot and NSD follow mirrorpool through all that may happen.
func TestSecondaries(t *testing.T) {
	t.Parallel()
	d, s, p, secondaries := startSecondaries(t, nil)
	follow(t, p, secondaries, d.addresses("a", "b", "c"))
	for _, n := range secondaries {
		if got := addressesAt(n.addr, "b."+poolZone, dns.TypeA); !slices.Equal(got, d.addresses("b")) {
			t.Errorf("%s has %v for a named mirror", n.name, got)
		}
	}
	incremental := func() float64 {
		return metric(t, d.admin, `mirrorpool_transfer_requests_total{kind="ixfr",result="ok"}`)
	}

	// A mirror fails: the change is transferred, and served.
	d.mirrors["c"].stop()
	follow(t, p, secondaries, d.addresses("a", "b"))
	testbed.Eventually(t, "all have asked for what has changed", func() bool { return incremental() >= 3 })

	// One secondary is away while much happens. It comes for all that has changed since.
	secondaries[1].stop()
	before := serialAt(p.dns, poolZone)
	for i := range 5 {
		d.write(t, "mirrors.json", d.pool([]string{"a", "b"}[i%2]))
		serial := serialAt(p.dns, poolZone)
		testbed.Eventually(t, "the list is in force", func() bool { return serialAt(p.dns, poolZone) != serial })
	}
	if now := serialAt(p.dns, poolZone); int32(now-before) < 5 {
		t.Errorf("the serial grew from %d to %d in five changes", before, now)
	}
	secondaries[1].run()
	follow(t, p, secondaries, d.addresses("b")) // c is down, a is disabled
	for _, n := range secondaries {
		if got := addressesAt(n.addr, "a."+poolZone, dns.TypeA); len(got) > 0 {
			t.Errorf("%s serves the disabled mirror a by its name: %v", n.name, got)
		}
	}

	// mirrorpool is restarted: the serial still grows, and the journal is still there.
	before = serialAt(p.dns, poolZone)
	p.stop(t)
	p = d.start(t) // with all mirrors enabled
	if now := serialAt(p.dns, poolZone); int32(now-before) <= 0 {
		t.Errorf("after the restart the serial is %d, before it was %d", now, before)
	}
	follow(t, p, secondaries, d.addresses("a", "b"))
	testbed.Eventually(t, "all have asked for what has changed since before the restart", func() bool { return incremental() >= 3 })
	if full := metric(t, d.admin, `mirrorpool_transfer_requests_total{kind="full",result="ok"}`); full > 0 {
		t.Errorf("%v of them were told all", full)
	}

	// The journal is lost: all of the zone is transferred.
	p.stop(t)
	if err := os.Remove(filepath.Join(d.dir, "state", "journal")); err != nil {
		t.Fatal(err)
	}
	p = d.start(t)
	follow(t, p, secondaries, d.addresses("a", "b"))
	d.mirrors["c"].start(t, d.port)
	follow(t, p, secondaries, d.addresses("a", "b", "c"))
	t.Run("clients", func(t *testing.T) { testTransferClients(t, d, s, p, secondaries) })
	p.stop(t)
	if strings.Contains(p.log.String(), s.secret) {
		t.Error("the secret is in the log")
	}
}

// testTransferClients asks with the tools of administrators.
func testTransferClients(t *testing.T, d *deployment, s *site, p *program, secondaries []*neighbour) {
	host, port, _ := net.SplitHostPort(s.ours)
	dig := func(args ...string) string {
		out, _ := exec.Command(testbed.Need(t, "dig", "bind9-dnsutils"),
			append([]string{"@" + host, "-p", port, "dl.example.org"}, args...)...).CombinedOutput()
		return string(out)
	}
	serial := serialAt(p.dns, poolZone)
	wrong := filepath.Join(t.TempDir(), "wrong.key")
	if err := os.WriteFile(wrong, []byte("key \"mirrorpool\" { algorithm hmac-sha256; secret \""+strings.Repeat("QUJD",
		11)+"\"; };"), 0o600); err != nil {
		t.Fatal(err)
	}
	unknown := "hmac-sha256:other:" + s.secret
	for name, test := range map[string]struct {
		args []string
		want []string
	}{
		"axfr": {[]string{"axfr", "-k", s.key}, []string{"XFR size: ", fmt.Sprintf("hostmaster.example.org. %d ", serial),
			"a.dl.example.org.\t60\tIN\tA\t" + d.network + "1"}},
		"ixfr":          {[]string{fmt.Sprintf("ixfr=%d", serial-1), "-k", s.key}, []string{"XFR size: "}},
		"ixfr, current": {[]string{fmt.Sprintf("ixfr=%d", serial), "-k", s.key}, []string{"XFR size: 1 records"}},
		"no key":        {[]string{"axfr"}, []string{"Transfer failed."}},
		"wrong secret":  {[]string{"axfr", "-k", wrong}, []string{"BADSIG"}},
		"unknown key":   {[]string{"axfr", "-y", unknown}, []string{"BADKEY"}},
	} {
		out := dig(test.args...)
		for _, want := range test.want {
			if !strings.Contains(out, want) {
				t.Errorf("%s: %q is not in\n%s", name, want, out)
			}
		}
	}
	t.Run("knotc", func(t *testing.T) {
		knotc := testbed.Need(t, "knotc", "knot")
		i := slices.IndexFunc(secondaries, func(n *neighbour) bool { return n.name == "knot" })
		counted := func() float64 {
			return metric(t, d.admin, `mirrorpool_transfer_requests_total{kind="axfr",result="ok"}`)
		}
		before := counted()
		out, err := exec.Command(knotc, "-s", filepath.Join(secondaries[i].dir, "knot.sock"), "zone-retransfer",
			"dl.example.org").CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		testbed.Eventually(t, "Knot has transferred all again", func() bool { return counted() > before })
	})
	t.Run("ldns-notify", func(t *testing.T) {
		notify := testbed.Need(t, "ldns-notify", "ldnsutils")
		i := slices.IndexFunc(secondaries, func(n *neighbour) bool { return n.name == "bind" })
		_, bindPort, _ := net.SplitHostPort(secondaries[i].addr)
		if out, err := exec.Command(notify, "-z", "dl.example.org", "-p", bindPort, "127.0.0.1").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	})
}

// TestSecondaryWithoutAccess has secondaries with another secret, which get nothing, and blame the key and not the
// clock.
func TestSecondaryWithoutAccess(t *testing.T) {
	t.Parallel()
	for name, blame := range map[string]string{"knot": "failed to verify TSIG", "bind": "tsig indicates error"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			at := "127.0.0.1:" + testbed.FreePort(t, "127.0.0.1")
			d, s := hiddenPrimary(t, at)
			d.start(t)
			n := s.secondary(t, name, at, s.ours, "d3Jvbmctd3Jvbmctd3Jvbmctd3Jvbmctd3Jvbmctd3I=")
			testbed.Eventually(t, "its log says that its signature is wrong", func() bool {
				return strings.Contains(n.log.String(), blame)
			})
			if strings.Contains(n.log.String(), "clocks are unsynchronized") {
				t.Error("its log blames the clocks")
			}
			if serialAt(n.addr, poolZone) != 0 {
				t.Error("it has the zone")
			}
			testbed.Eventually(t, "we say that it cannot be notified", func() bool {
				return metric(t, d.admin, fmt.Sprintf(`mirrorpool_notify_sent_total{result="failed",server=%q}`, at)) > 0
			})
			var status admin.Status
			if err := json.Unmarshal(fetch(t, http.DefaultClient, "http://"+d.admin+"/api/v1/status"), &status); err != nil {
				t.Fatal(err)
			}
			if len(status.Notify) != 1 || !strings.HasPrefix(status.Notify[0].Problem, at+": NOTIFY of dl.example.org.: ") {
				t.Errorf("the status says %+v of the secondary", status.Notify)
			}
		})
	}
}

// TestTransferIsCut has a network that breaks each connection in the middle, at first.
func TestTransferIsCut(t *testing.T) {
	t.Parallel()
	at := "127.0.0.1:" + testbed.FreePort(t, "127.0.0.1")
	d, s := hiddenPrimary(t, at)
	p := d.start(t)
	proxy, broken := cuttingProxy(t, s.ours, 200)
	n := s.secondary(t, "knot", at, proxy, s.secret)
	testbed.Eventually(t, "transfers were cut", func() bool { return broken.Load() < 0 })
	if serialAt(n.addr, poolZone) != 0 {
		t.Error("it serves half a zone")
	}
	broken.Store(0)
	// A new version is notified, and the secondary comes again.
	d.mirrors["c"].stop()
	follow(t, p, []*neighbour{n}, d.addresses("a", "b"))
}

// cuttingProxy passes TCP connections on, and cuts each after limit bytes of response. broken counts down with each,
// and nothing is cut any more once it is 0.
func cuttingProxy(t *testing.T, to string, limit int64) (addr string, broken *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	broken = new(atomic.Int64)
	broken.Store(1)
	go func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer from.Close()
				onward, err := net.DialTimeout("tcp", to, 5*time.Second)
				if err != nil {
					return
				}
				defer onward.Close()
				go io.Copy(onward, from)
				if broken.Load() == 0 {
					io.Copy(from, onward)
				} else if n, _ := io.CopyN(from, onward, limit); n == limit {
					broken.Store(-1)
				}
			}()
		}
	}()
	return l.Addr().String(), broken
}
