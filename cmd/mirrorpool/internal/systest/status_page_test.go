package systest

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mirrorpool/config"
	"mirrorpool/config/source"
	"mirrorpool/dnspool"
	"mirrorpool/dnspool/admin"
	"mirrorpool/health"
	"mirrorpool/testdata/testbed"
)

// newPageWorld serves a pool of mirrors all over the world: most are up, one is stale, one lacks the pool's virtual
// host, one is dead and one disabled.
func newPageWorld(t *testing.T) *program {
	t.Helper()
	places := []map[string]any{
		{"country": "DE", "latitude": 52.5, "longitude": 13.4}, {"country": "PT", "latitude": 38.7, "longitude": -9.1},
		{"country": "AU", "latitude": -33.9, "longitude": 151.2}, {"country": "US", "latitude": 40.7, "longitude": -74.0},
		{"country": "DE", "latitude": 52.4, "longitude": 13.5}, {"country": "BR", "latitude": -23.5, "longitude": -46.6}, {},
		{"country": "JP"},
	}
	var addresses []string
	for i := range places {
		addresses = append(addresses, fmt.Sprintf("127.0.5.%d", i+1))
	}
	port := testbed.FreePort(t, addresses...)
	tree, old := newTree(t, time.Now().Add(-10*time.Minute)), newTree(t, time.Now().Add(-3*time.Hour))
	var mirrors []any
	for i, place := range places {
		m := &testMirror{address: addresses[i], root: tree}
		entry := map[string]any{"url_prefix": fmt.Sprintf("http://%s:%s/tails/", m.address, port), "weight": 10 * (i%3 + 1),
			"location": place}
		switch i {
		case 2:
			m.root = old
		case 3:
			m.hosts = []string{m.address}
		case 6:
			entry["weight"] = 0
		}
		if i != 5 {
			m.start(t, port)
		}
		mirrors = append(mirrors, entry)
	}
	c, where := newServerConfig(t)
	c.set("health", "dns_url", "http://{zone}:"+port+"/tails/project/trace")
	c.set("health", "max_age", "2h")
	c.json["state_dir"] = t.TempDir()
	return c.serve(t, where, map[string]any{"version": 1, "mirrors": mirrors})
}

// TestStatusPage opens the status page in a real browser, at three widths and in both colour schemes, and compares it
// with the status as JSON. With MIRRORPOOL_TEST_SCREENSHOTS=FOLDER it leaves pictures there.
func TestStatusPage(t *testing.T) {
	t.Parallel()
	browser := testbed.Need(t, "chromium", "chromium")
	p := newPageWorld(t)
	p.inRedirects(t, "/x")
	states := func() map[health.State]int {
		n := map[health.State]int{}
		for _, m := range p.status(t).Mirrors {
			n[m.State]++
		}
		return n
	}
	want := map[health.State]int{health.Up: 6, health.Stale: 1, health.Down: 1}
	testbed.Eventually(t, "all are judged", func() bool { return maps.Equal(states(), want) })
	d := openDevtools(t, browser)
	site := "http://" + p.admin + "/"
	for _, scheme := range []string{"light", "dark"} {
		for _, width := range []int{360, 800, 1600} {
			name := fmt.Sprintf("status-%d-%s", width, scheme)
			d.show(site, width, scheme)
			if complaints := d.complaints(site); len(complaints) > 0 {
				t.Errorf("%s: %s", name, strings.Join(complaints, "\n"))
			}
			var page struct {
				Scroll, Inner, Type, Font float64
				Background                string
			}
			d.evaluate(`({scroll: document.documentElement.scrollWidth, inner: innerWidth,
				font: Math.min(...[...document.querySelectorAll("body *")].filter(e => e.innerText)
					.map(e => parseFloat(getComputedStyle(e).fontSize))),
				background: getComputedStyle(document.body).backgroundColor})`, &page)
			if page.Inner != float64(width) || page.Scroll > page.Inner {
				t.Errorf("%s: the page is %v wide in a window of %v", name, page.Scroll, page.Inner)
			}
			if page.Font < 12 {
				t.Errorf("%s: there is text of %v pixels", name, page.Font)
			}
			if wantBackground := map[string]string{"light": "rgb(255, 255, 255)",
				"dark": "rgb(22, 22, 26)"}[scheme]; page.Background != wantBackground {
				t.Errorf("%s: the background is %s", name, page.Background)
			}
			picture := d.picture()
			if len(picture) < 10_000 {
				t.Errorf("%s: the picture has %d bytes", name, len(picture))
			}
			if folder := os.Getenv("MIRRORPOOL_TEST_SCREENSHOTS"); folder != "" {
				if err := os.WriteFile(filepath.Join(folder, name+".png"), picture, 0o644); err != nil {
					t.Error(err)
				}
			}
		}
	}
	d.compare(p.status(t))
	p.stop(t)
}

// compare compares the page with a status.
func (d *devtools) compare(s admin.Status) {
	d.t.Helper()
	var rows map[string]string
	var markers []string
	d.evaluate(`Object.fromEntries([...document.querySelectorAll(".r")].map(m => [m.querySelector("a").href,
		[m.querySelector("b").textContent, ...[...m.querySelectorAll(".e li")].map(e =>
			[...e.children].slice(0, 3).map(x => x.textContent).join(" "))].join(":")]))`, &rows)
	d.evaluate(`[...document.querySelectorAll(".w use")].map(u => u.textContent)`, &markers)
	want, placed := map[string]string{}, 0
	for _, m := range s.Mirrors {
		state := m.State.String()
		if m.State == health.Up && m.Works != admin.WorksFully {
			state = "partly"
		}
		if m.Weight == 0 {
			state = "disabled"
		}
		want[m.URLPrefix] = state
		for _, role := range []health.Role{health.DNS, health.HTTP} {
			for _, e := range m.Endpoints {
				if e.Role == role {
					want[m.URLPrefix] += fmt.Sprintf(":%s %s %s", role, e.State, e.Address)
				}
			}
		}
		if m.Place != nil {
			placed++
			if !slices.ContainsFunc(markers, func(title string) bool {
				return strings.Contains(title, m.URLPrefix) && strings.Contains(title, " "+state+": ")
			}) {
				d.t.Errorf("no marker for %s, which is %s, in %q", m.URLPrefix, state, markers)
			}
		}
	}
	if diff := cmp.Diff(want, rows); diff != "" {
		d.t.Errorf("rows (-status +page):\n%s", diff)
	}
	if placed != 7 {
		d.t.Errorf("%d mirrors have a place, want all but one", placed)
	}
}

// TestStatusPageLayout opens the status page of pools of three sizes in a real browser, on a telephone, a tablet and a
// desktop, in both colour schemes: nothing is cut off, all can be read, and a large pool makes no endless page. With
// MIRRORPOOL_TEST_SCREENSHOTS=FOLDER it leaves pictures there.
func TestStatusPageLayout(t *testing.T) {
	t.Parallel()
	browser := testbed.Need(t, "chromium", "chromium")
	d := openDevtools(t, browser)
	for _, size := range []int{3, 30, 300} {
		site := "http://" + serveStatus(t, crowdedStatus(size)) + "/"
		for _, scheme := range []string{"light", "dark"} {
			for _, width := range []int{390, 820, 1440} {
				name := fmt.Sprintf("status-%d-%d-%s", size, width, scheme)
				d.show(site, width, scheme)
				if complaints := d.complaints(site); len(complaints) > 0 {
					t.Errorf("%s: %s", name, strings.Join(complaints, "\n"))
				}
				d.checkLayout(name, width)
				d.picturesFor(name)
				d.evaluate(`document.querySelectorAll("details").forEach((e, i) => e.open = i < 3) ?? 0`, new(int))
				d.checkLayout(name+", unfolded", width)
				d.picturesFor(name + "-unfolded")
			}
		}
	}
}

// checkLayout checks the page that is shown at a width: how wide and, while all is folded, how high it is, and its
// contrast.
func (d *devtools) checkLayout(name string, width int) {
	d.t.Helper()
	var page struct{ Scroll, Right, Height, Open, Rows float64 }
	d.evaluate(`({scroll: document.documentElement.scrollWidth, height: document.documentElement.scrollHeight,
		open: document.querySelectorAll("[open]").length, rows: document.querySelectorAll(".r").length,
		right: Math.max(...[...document.querySelectorAll("body *")].map(e => e.getBoundingClientRect().right))})`, &page)
	if page.Scroll > float64(width) || page.Right > float64(width) {
		d.t.Errorf("%s: the page is %v wide, and its content ends at %v", name, page.Scroll, page.Right)
	}
	d.t.Logf("%s: %v pixels high", name, page.Height)
	if page.Open == 0 && page.Rows == 300 && page.Height > 3000 {
		d.t.Errorf("%s: the page is %v pixels high, want 3000 at most", name, page.Height)
	}
	if page.Rows > 30 {
		return // the colours are those of a smaller pool
	}
	var worst struct {
		Ratio float64
		Text  string
	}
	if d.evaluate(contrasts, &worst); worst.Ratio < 4.5 {
		d.t.Errorf("%s: the contrast of %q is %.1f, want 4.5 at least", name, worst.Text, worst.Ratio)
	}
}

// picturesFor writes a picture of the page to the folder for screenshots, if there is one.
func (d *devtools) picturesFor(name string) {
	if folder := os.Getenv("MIRRORPOOL_TEST_SCREENSHOTS"); folder != "" {
		if err := os.WriteFile(filepath.Join(folder, name+".png"), d.picture(), 0o644); err != nil {
			d.t.Error(err)
		}
	}
}

// serveStatus serves a status to the administrator, and returns the address.
func serveStatus(t *testing.T, s admin.Status) string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	server, err := admin.Listen(ctx, nil, config.Admin{Listen: "127.0.0.1:0"}, admin.Backend{Status: func() admin.Status {
		return s
	}})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return server.Addr().String()
}

// crowdedStatus is the status of a pool on a bad day: one mirror of six is in trouble, in all ways that there are.
func crowdedStatus(mirrors int) admin.Status {
	now := time.Now()
	ago := func(d time.Duration) *time.Time { at := now.Add(-d); return &at }
	places := []struct {
		country             string
		latitude, longitude float64
	}{
		{"DE", 52.5, 13.4}, {"DE", 48.1, 11.6}, {"NL", 52.4, 4.9}, {"PT", 38.7, -9.1}, {"LU", 49.6, 6.1}, {"SE", 59.3, 18.1},
		{"US", 40.7, -74}, {"US", 37.8, -122.4}, {"BR", -23.5, -46.6}, {"AU", -33.9, 151.2}, {"JP", 35.7, 139.7}, {"ZA", -33.9, 18.4},
		{"IN", 19.1, 72.9}, {"TW", 25, 121.5}, {"FR", 48.9, 2.4}, {"GB", 51.5, -0.1}, {"CH", 47.4, 8.5}, {"SG", 1.3, 103.8},
	}
	s := admin.Status{
		Zone: "dl.example.org", Serial: 1795529816, Redirects: 123456,
		Reference: admin.ReferenceStatus{Trace: ago(30 * time.Hour), Mirrors: mirrors - mirrors/6, Enabled: mirrors},
		Pool: admin.PoolStatus{Source: "https://tails.example.org/mirrors/" + strings.Repeat("a-long-path/", 4) + "mirrors.json",
			Loaded: now.Add(-50 * time.Hour), Checked: ago(time.Minute), Held: &source.Held{Since: now.Add(-time.Hour)}},
		Process: admin.ProcessStatus{PID: 17, Started: now.Add(-time.Hour), Version: "v1.0.0"},
		Notify: []admin.FeedStatus{
			{Server: "192.0.2.53:53", Zone: "dl.example.org", Since: ago(time.Hour)},
			{Server: "[2001:db8:1234:5678:9abc:def0:1234:5678]:53", Zone: "dl.example.org", Since: ago(3 * time.Hour),
				Problem: "[2001:db8:1234:5678:9abc:def0:1234:5678]:53: NOTIFY of dl.example.org.: no answer in time"},
		},
		Publish: []admin.FeedStatus{{Server: "192.0.2.55:53", Zone: "example.org"}},
	}
	for _, family := range []string{"ipv4", "ipv6"} {
		s.Groups = append(s.Groups,
			admin.GroupStatus{Role: health.DNS, Family: family, UpWeight: 90, EnabledWeight: 300, EligibleWeight: 300, Panic: true},
			admin.GroupStatus{Role: health.HTTP, Family: family, UpWeight: 290, EnabledWeight: 300, EligibleWeight: 290},
			admin.GroupStatus{Role: health.HTTP, Family: family, Secure: true, UpWeight: 200, EnabledWeight: 200, EligibleWeight: 200})
	}
	for i := range mirrors {
		m := admin.MirrorStatus{
			URLPrefix: fmt.Sprintf("https://mirror%d.example.org/pub/linux/distributions/tails/", i), Name: fmt.Sprintf("m%d", i),
			Weight: 10, DNSWeight: 10, State: health.Up, Works: admin.WorksFully, Eligible: []string{"dns", "http"}, Since: ago(time.Hour),
			Shares: []admin.ShareStatus{{Role: health.DNS, Family: "ipv4", Expected: .033, Observed: .033},
				{Role: health.HTTP, Expected: .033, Observed: .06}},
			History: &admin.HistoryStatus{
				HTTP: strings.Repeat("u", health.HistoryParts), HTTPSeconds: admin.StateSeconds{Up: 24 * 3600},
				DNS:        strings.Repeat("u", health.HistoryParts-20-i%9) + "d" + strings.Repeat("s", i%9) + strings.Repeat("u", 19),
				DNSSeconds: admin.StateSeconds{Up: 24*3600 - 60 - 500*int64(i%9), Down: 60, Stale: 500 * int64(i%9)},
			},
		}
		if p := places[i%len(places)]; i%17 != 16 {
			m.Place = &admin.PlaceStatus{Country: dnspool.ParseCode(p.country), Latitude: p.latitude, Longitude: p.longitude}
		}
		for _, address := range []string{fmt.Sprintf("192.0.2.%d", i%250), fmt.Sprintf("2001:db8:1234:5678:9abc:def0:1234:%x", i)} {
			for _, role := range []health.Role{health.HTTP, health.DNS} {
				m.Endpoints = append(m.Endpoints, admin.EndpointStatus{
					Address: netip.MustParseAddr(address), Role: role, State: health.Up, Since: ago(70 * time.Hour), Checked: ago(0),
					Trace: ago(30 * time.Hour), CertExpires: ago(-60 * 24 * time.Hour), LatencyMS: 20,
				})
			}
		}
		trouble(&m, i, now)
		switch {
		case m.Weight == 0:
		case m.Works == admin.WorksFully:
			s.Works.Fully++
		case m.Works == admin.WorksPartly:
			s.Works.Partly++
		default:
			s.Works.NotAtAll++
		}
		s.Mirrors = append(s.Mirrors, m)
	}
	return s
}

// trouble gives a mirror the trouble that its number in the list stands for.
func trouble(m *admin.MirrorStatus, i int, now time.Time) {
	fail := func(state health.State, reason string) {
		m.State, m.Works = state, admin.WorksNot
		for k := range m.Endpoints {
			m.Endpoints[k].State, m.Endpoints[k].Reason = state, reason
		}
	}
	switch i % 36 {
	case 1:
		fail(health.Down, "connect: connection refused")
		m.Eligible = []string{}
		m.Email, m.Notes = "mirror-operators@department-of-computer-science.example.org", "1 Gbit/s, in maintenance each first "+
			"Sunday of the month"
	case 7:
		fail(health.Down, fmt.Sprintf("status: 404 Not Found, want 200, of "+
			"https://mirror%d.example.org/pub/linux/distributions/tails/project/trace", i))
	case 13:
		fail(health.Stale, "freshness: 240h0m0s behind the reference, more than max_lag (3h0m0s) after it changed at "+
			"2026-11-23T07:00:00Z")
	case 2, 19:
		m.Works = admin.WorksPartly
		m.Endpoints[1].State, m.Endpoints[1].Reason = health.Down, "status: 404 Not Found, want 200: the host of the pool is not served"
	case 25:
		fail(health.Unknown, "")
	case 31:
		m.Weight, m.DNSWeight, m.Eligible = 0, 0, []string{}
	case 35:
		expires := now.Add(-49 * time.Hour)
		m.Endpoints[0].CertExpires, m.Endpoints[0].Warning = &expires, "certificate expired on 2026-11-20"
	}
	for _, e := range m.Endpoints {
		if e.Reason != "" && m.Reason == "" {
			m.Reason = e.Role.String() + " at " + e.Address.String() + ": " + e.Reason
		}
	}
}
