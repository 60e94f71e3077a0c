package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mirrorpool/dnspool/admin"
	"mirrorpool/health"
)

// newPageWorld serves a pool of mirrors all over the world: most are up, one is stale, one lacks the pool's virtual host, one
// is dead and one disabled.
func newPageWorld(t *testing.T) *program {
	t.Helper()
	places := []map[string]any{
		{"country": "DE", "latitude": 52.5, "longitude": 13.4}, {"country": "PT", "latitude": 38.7, "longitude": -9.1},
		{"country": "AU", "latitude": -33.9, "longitude": 151.2}, {"country": "US", "latitude": 40.7, "longitude": -74.0},
		{"country": "DE", "latitude": 52.4, "longitude": 13.5}, {"country": "BR", "latitude": -23.5, "longitude": -46.6}, {}, {"country": "JP"},
	}
	var addresses []string
	for i := range places {
		addresses = append(addresses, fmt.Sprintf("127.0.5.%d", i+1))
	}
	port := freePort(t, addresses...)
	tree, old := newTree(t, time.Now().Add(-10*time.Minute)), newTree(t, time.Now().Add(-3*time.Hour))
	var mirrors []any
	for i, place := range places {
		m := &testMirror{address: addresses[i], root: tree}
		entry := map[string]any{"url_prefix": fmt.Sprintf("http://%s:%s/tails/", m.address, port), "weight": 10 * (i%3 + 1), "location": place}
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

// TestStatusPage opens the status page in a real browser, at three widths and in both colour schemes, and compares it with
// the status as JSON. With MIRRORPOOL_TEST_SCREENSHOTS=FOLDER it leaves pictures there.
func TestStatusPage(t *testing.T) {
	t.Parallel()
	browser := needPeer(t, "chromium", "chromium")
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
	eventually(t, "all are judged", func() bool { return maps.Equal(states(), want) })
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
				font: Math.min(...[...document.querySelectorAll("body *")].filter(e => e.innerText).map(e => parseFloat(getComputedStyle(e).fontSize))),
				background: getComputedStyle(document.body).backgroundColor})`, &page)
			if page.Inner != float64(width) || page.Scroll > page.Inner {
				t.Errorf("%s: the page is %v wide in a window of %v", name, page.Scroll, page.Inner)
			}
			if page.Font < 12 {
				t.Errorf("%s: there is text of %v pixels", name, page.Font)
			}
			if wantBackground := map[string]string{"light": "rgb(255, 255, 255)", "dark": "rgb(22, 22, 26)"}[scheme]; page.Background != wantBackground {
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
	var fills map[string]string
	d.evaluate(`Object.fromEntries([...document.querySelectorAll(".w use")].map(u => [u.getAttribute("class"), getComputedStyle(document.querySelector(u.getAttribute("href"))).fill]))`, &fills)
	if fills["u"] == "none" || fills["s"] == "none" || fills["d"] != "none" {
		t.Errorf("markers are filled with %v; want those of mirrors that are up or stale to be full", fills)
	}
	d.compare(p.status(t))
	p.stop(t)
}

// compare compares the page with a status.
func (d *devtools) compare(s admin.Status) {
	d.t.Helper()
	var rows, markers map[string]string
	d.evaluate(`Object.fromEntries([...document.querySelectorAll(".m tbody")].map(m => [m.querySelector("a").href,
		m.querySelector("b").innerText.trim() + ":" + [...m.querySelectorAll("tr:nth-child(n+2)")].map(r =>
			r.querySelector("th").innerText + " " + [...r.querySelectorAll("b")].map(b => b.innerText.trim() + " " + b.nextSibling.data.split(",")[0].trim())).join(":")]))`, &rows)
	d.evaluate(`Object.fromEntries([...document.querySelectorAll(".w use")].map(u => u.textContent.split(": ")))`, &markers)
	wantRows, wantMarkers := map[string]string{}, map[string]string{}
	for _, m := range s.Mirrors {
		state := m.State.String()
		if m.Weight == 0 {
			state = "disabled"
		}
		wantRows[m.URLPrefix] = state
		for _, role := range []health.Role{health.DNS, health.HTTP} {
			for _, e := range m.Endpoints {
				if e.Role == role {
					wantRows[m.URLPrefix] += fmt.Sprintf(":%s %s %s", role, e.State, e.Address)
				}
			}
		}
		if m.Place != nil {
			wantMarkers[m.URLPrefix] = state
		}
	}
	if diff := cmp.Diff(wantRows, rows); diff != "" {
		d.t.Errorf("table (-status +page):\n%s", diff)
	}
	if diff := cmp.Diff(wantMarkers, markers); diff != "" {
		d.t.Errorf("map (-status +page):\n%s", diff)
	}
	if len(slices.Collect(maps.Keys(wantMarkers))) != 7 {
		d.t.Errorf("%d mirrors have a place, want all but one", len(wantMarkers))
	}
}
