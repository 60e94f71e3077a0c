package publish

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"

	"mirrorpool/config"
	"mirrorpool/dnspool"
	"mirrorpool/health"
	"mirrorpool/testdata/testbed"
)

// pool is a snapshot of mirrors written as "WEIGHT[!] ADDRESS...", one on a line; ! is for one that is down.
func pool(tb testing.TB, text string) *dnspool.Snapshot {
	tb.Helper()
	in := dnspool.Input{
		Pool: &config.Pool{}, Health: &health.Report{Mirrors: map[string]health.MirrorReport{}},
		Policy: dnspool.Policy{PanicThreshold: 0.1, MaxAnswers: 2}, Now: time.Now(), Rand: rand.New(rand.NewPCG(1, 2)),
	}
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		m := config.Mirror{URLPrefix: fmt.Sprintf("http://m%d.example.org/", len(in.Pool.Mirrors))}
		weight, down := strings.CutSuffix(fields[0], "!")
		if _, err := fmt.Sscan(weight, &m.Weight); err != nil {
			tb.Fatal(err)
		}
		m.URL, _ = url.Parse(m.URLPrefix)
		m.DNS.Weight = m.Weight
		state := health.Up
		if down {
			state = health.Down
		}
		var r health.MirrorReport
		for _, addr := range fields[1:] {
			r.Endpoints = append(r.Endpoints, health.Endpoint{Address: netip.MustParseAddr(addr), Role: health.DNS,
				Verdict: health.Verdict{State: state}})
		}
		in.Pool.Mirrors = append(in.Pool.Mirrors, m)
		in.Health.Mirrors[m.URLPrefix] = r
	}
	s := dnspool.Build(in)
	s.Serial = rand.Uint32() // they do not follow each other here
	return s
}

func testTarget() config.Publish {
	return config.Publish{Zone: "example.org.", Names: []string{"dl"}, TTL: time.Minute, MaxAnswers: 2, Reconcile: "enforce"}
}

// show puts sets into words.
func show(s sets) (lines []string) {
	for _, p := range s.places() {
		lines = append(lines, fmt.Sprintf("%v: %v", p, s[p]))
	}
	return lines
}

func TestWanted(t *testing.T) {
	t.Parallel()
	seen := sets{
		{"dl.example.org.", dnspool.IPv4}: {[]netip.Addr{netip.MustParseAddr("192.0.2.98"), netip.MustParseAddr("192.0.2.99")}, 30},
		{"dl.example.org.", dnspool.IPv6}: {[]netip.Addr{netip.MustParseAddr("2001:db8::99")}, 30},
	}
	const before, beforeV6 = "dl.example.org. A: [192.0.2.98 192.0.2.99] with a TTL of 30", "dl.example.org. AAAA: " +
		"[2001:db8::99] with a TTL of 30"
	tests := map[string]struct {
		pool    string
		names   []string
		patient bool
		none    bool // has an address to publish
		want    []string
	}{
		"the heaviest": {pool: "1 192.0.2.1\n9 192.0.2.3\n5 192.0.2.2",
			want: []string{"dl.example.org. A: [192.0.2.2 192.0.2.3] with a TTL of 60", "dl.example.org. AAAA: nothing"}},
		"of the same weight, lower addresses": {pool: "5 192.0.2.3\n5 192.0.2.1\n5 192.0.2.2",
			want: []string{"dl.example.org. A: [192.0.2.1 192.0.2.2] with a TTL of 60", "dl.example.org. AAAA: nothing"}},
		"one fails, the next one follows": {pool: "5 192.0.2.3\n5! 192.0.2.1\n5 192.0.2.2",
			want: []string{"dl.example.org. A: [192.0.2.2 192.0.2.3] with a TTL of 60", "dl.example.org. AAAA: nothing"}},
		"a disabled mirror is in no update": {pool: "0 192.0.2.1\n5 192.0.2.2 2001:db8::2",
			want: []string{"dl.example.org. A: [192.0.2.2] with a TTL of 60", "dl.example.org. AAAA: [2001:db8::2] with a TTL of 60"}},
		"all are down: never nothing": {pool: "5! 192.0.2.1",
			want: []string{"dl.example.org. A: [192.0.2.1] with a TTL of 60", "dl.example.org. AAAA: nothing"}},
		"several names": {pool: "5 192.0.2.1 2001:db8::1", names: []string{"@", "*"}, want: []string{
			"*.example.org. A: [192.0.2.1] with a TTL of 60", "*.example.org. AAAA: [2001:db8::1] with a TTL of 60",
			"example.org. A: [192.0.2.1] with a TTL of 60", "example.org. AAAA: [2001:db8::1] with a TTL of 60"}},
		"no address is known": {pool: "5", patient: true, none: true, want: []string{before, beforeV6}},
		"nor later":           {pool: "5", none: true, want: []string{before, beforeV6}},
		"there is no enabled mirror": {pool: "0 192.0.2.1", none: true,
			want: []string{before, beforeV6}},
		"and what it had is still there": {pool: "0 192.0.2.98\n0 2001:db8::99", none: true,
			want: []string{"dl.example.org. A: [192.0.2.99] with a TTL of 30", "dl.example.org. AAAA: nothing"}},
		"some address is not known": {pool: "5\n5 192.0.2.2", patient: true,
			want: []string{"dl.example.org. A: [192.0.2.2] with a TTL of 60", beforeV6}},
		"and a disabled one is": {pool: "5\n5 192.0.2.2\n0 2001:db8::99", patient: true,
			want: []string{"dl.example.org. A: [192.0.2.2] with a TTL of 60", "dl.example.org. AAAA: nothing"}},
		"and is not after long": {pool: "5\n5 192.0.2.2",
			want: []string{"dl.example.org. A: [192.0.2.2] with a TTL of 60", "dl.example.org. AAAA: nothing"}},
		"a disabled one is not known": {pool: "0\n5 192.0.2.2", patient: true,
			want: []string{"dl.example.org. A: [192.0.2.2] with a TTL of 60", "dl.example.org. AAAA: nothing"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := testTarget()
			if test.names != nil {
				c.Names = test.names
			}
			got, err := wanted(c, pool(t, test.pool), test.patient, seen)
			if test.none && err != errNoAddress || !test.none && err != nil {
				t.Errorf("without an address: %v", err)
			}
			if diff := cmp.Diff(test.want, show(got)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestDisabled: an address that an enabled mirror has too is not gone, whatever the order.
func TestDisabled(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"0 192.0.2.1 2001:db8::1\n5! 192.0.2.1", "5! 192.0.2.1\n0 192.0.2.1 2001:db8::1"} {
		s := pool(t, text)
		for i := range s.Mirrors {
			s.Mirrors[i].DNS.Addresses = []netip.Addr{netip.MustParseAddr(fmt.Sprintf("192.0.2.1%d", s.Mirrors[i].Weight))}
		}
		var gone []string
		for addr, is := range disabled(s) {
			if is {
				gone = append(gone, addr.String())
			}
		}
		slices.Sort(gone)
		if want := []string{"192.0.2.10", "2001:db8::1"}; !slices.Equal(gone, want) {
			t.Errorf("%q: %v are gone, want %v", text, gone, want)
		}
	}
}

// TestWantedIsStable has mirrors in another order, and builds the snapshot with other randomness.
func TestWantedIsStable(t *testing.T) {
	t.Parallel()
	lines := []string{"1 192.0.2.1", "1 192.0.2.2", "2 192.0.2.3", "2 192.0.2.4", "2 192.0.2.5"}
	first, err := wanted(testTarget(), pool(t, strings.Join(lines, "\n")), false, nil)
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		r.Shuffle(len(lines), func(i, j int) { lines[i], lines[j] = lines[j], lines[i] })
		if again, _ := wanted(testTarget(), pool(t, strings.Join(lines, "\n")), false, nil); !again.equal(first) {
			t.Fatalf("%v became %v", show(first), show(again))
		}
	}
}

func TestUpdateAndScript(t *testing.T) {
	t.Parallel()
	addrs := func(texts ...string) (s set) {
		for _, text := range texts {
			s.addrs = append(s.addrs, netip.MustParseAddr(text))
		}
		s.ttl = 60
		return s
	}
	changes := []change{
		{place{"dl.example.org.", dnspool.IPv4}, addrs("192.0.2.1", "192.0.2.2"), addrs("192.0.2.3")},
		{place{"dl.example.org.", dnspool.IPv6}, addrs(), addrs("2001:db8::1")},
	}
	want := `zone example.org.
prereq yxrrset dl.example.org. A 192.0.2.1
prereq yxrrset dl.example.org. A 192.0.2.2
prereq nxrrset dl.example.org. AAAA
update delete dl.example.org. A
update add dl.example.org. 60 A 192.0.2.3
update delete dl.example.org. AAAA
update add dl.example.org. 60 AAAA 2001:db8::1
send
`
	if got := script("example.org.", changes); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	wire, err := update("example.org.", changes).Pack()
	if err != nil {
		t.Fatal(err)
	}
	m := new(dns.Msg)
	if err := m.Unpack(wire); err != nil {
		t.Fatal(err)
	}
	// RFC 2136 sections 2.4 and 2.5: of prerequisites the TTL is 0.
	for name, section := range map[string][2]string{
		"prerequisites": {fmt.Sprint(m.Answer),
			"[dl.example.org.\t0\tIN\tA\t192.0.2.1 dl.example.org.\t0\tIN\tA\t192.0.2.2 dl.example.org.\t0\tNONE\tAAAA\t]"},
		"updates": {fmt.Sprint(m.Ns),
			"[dl.example.org.\t0\tCLASS255\tA\t dl.example.org.\t60\tIN\tA\t192.0.2.3 dl.example.org.\t0\tCLASS255\tAAAA\t " +
				"dl.example.org.\t60\tIN\tAAAA\t2001:db8::1]"},
	} {
		if section[0] != section[1] {
			t.Errorf("%s: got %q, want %q", name, section[0], section[1])
		}
	}
}

func TestPlanAndOnce(t *testing.T) {
	t.Parallel()
	p := startPrimary(t, nil)
	kept := targetAt(t, p.addr, nil, zap.NewNop())
	publisher := &Publisher{[]*target{kept}}
	host, port, _ := net.SplitHostPort(p.addr)
	script := "by nsupdate -v\nserver " + host + " " + port + "\nzone example.org.\nprereq nxrrset dl.example.org. A\n" +
		"update delete dl.example.org. A\nupdate add dl.example.org. 60 A 192.0.2.1\nsend\n"
	for _, step := range []struct {
		do      func(context.Context, *dnspool.Snapshot, *strings.Builder) error
		want    string
		updates int
	}{
		{func(ctx context.Context, s *dnspool.Snapshot, w *strings.Builder) error {
			return publisher.Plan(ctx, s, w)
		}, "; to be done, " + script, 0},
		{func(ctx context.Context, s *dnspool.Snapshot, w *strings.Builder) error {
			return publisher.Once(ctx, s, w)
		}, "; done, " + script, 1},
		{func(ctx context.Context, s *dnspool.Snapshot, w *strings.Builder) error {
			return publisher.Once(ctx, s, w)
		}, "; " + p.addr + ": example.org. is up to date\n", 1},
	} {
		var out strings.Builder
		if err := step.do(t.Context(), pool(t, "1 192.0.2.1"), &out); err != nil {
			t.Fatal(err)
		}
		if _, updates := p.holds(); out.String() != step.want || updates != step.updates {
			t.Errorf("%d updates, and\n%s\nwant\n%s", updates, out.String(), step.want)
		}
	}
}

func TestNewPublisher(t *testing.T) {
	t.Parallel()
	c := testTarget()
	c.Server = "192.0.2.1:53"
	if _, err := NewPublisher([]config.Publish{c, c}, zap.NewNop()); err == nil ||
		!strings.Contains(err.Error(), "publish/1: the zone example.org. at 192.0.2.1:53 is a target already") {
		t.Errorf("the same target twice: %v", err)
	}
	c.TSIG = filepath.Join(t.TempDir(), "key")
	if _, err := NewPublisher([]config.Publish{c}, zap.NewNop()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a key file that is not there: %v", err)
	}
}

func TestPublishMetrics(t *testing.T) {
	t.Parallel()
	p := startPrimary(t, nil)
	publisher := &Publisher{[]*target{targetAt(t, p.addr, nil, zap.NewNop())}}
	start(t, publisher.Run)
	publisher.Publish(pool(t, "1 192.0.2.1"))
	want := fmt.Sprintf(`
		# HELP mirrorpool_publish_up Whether the latest attempt to keep a server up to date was good.
		# TYPE mirrorpool_publish_up gauge
		mirrorpool_publish_up{server="%[1]s",zone="example.org."} 1
		# HELP mirrorpool_publish_updates_total Dynamic updates that a server has carried out.
		# TYPE mirrorpool_publish_updates_total counter
		mirrorpool_publish_updates_total{server="%[1]s",zone="example.org."} 1
	`, p.addr)
	registry := prometheus.NewRegistry()
	if err := registry.Register(unchecked{publisher}); err != nil {
		t.Fatal(err)
	}
	testbed.Eventually(t, "the metrics are right", func() bool {
		return testutil.GatherAndCompare(registry, strings.NewReader(want), "mirrorpool_publish_up",
			"mirrorpool_publish_updates_total") == nil
	})
	if problems, err := testutil.GatherAndLint(registry); err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
}

// unchecked is a collector that says nothing of what it collects.
type unchecked struct{ *Publisher }

func (unchecked) Describe(chan<- *prometheus.Desc) {}
