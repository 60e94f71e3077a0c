package systest

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mirrorpool/health"
	"mirrorpool/testdata/testbed"
)

// newListWorld serves a pool of twelve mirrors near and far, of which one is down, one serves another country, and one
// is disabled.
func newListWorld(t *testing.T) *program {
	t.Helper()
	places := []map[string]any{
		{"country": "DE", "latitude": 52.5, "longitude": 13.4}, {"country": "DE", "latitude": 48.1, "longitude": 11.6},
		{"country": "FR", "latitude": 48.9, "longitude": 2.4},
		{"country": "AU", "latitude": -33.9, "longitude": 151.2}, {"country": "US", "latitude": 40.7, "longitude": -74.0},
		{"country": "BR", "latitude": -23.5, "longitude": -46.6},
	}
	var addresses []string
	for i := range 12 {
		addresses = append(addresses, fmt.Sprintf("127.0.33.%d", i+1))
	}
	port := testbed.FreePort(t, addresses...)
	var mirrors []any
	for i, addr := range addresses {
		prefix := fmt.Sprintf("http://%s:%s/pub/linux/distributions/tails/", addr, port)
		entry := map[string]any{"url_prefix": prefix, "weight": 10 * (i%3 + 1), "location": places[i%len(places)]}
		switch i {
		case 7:
			entry["weight"] = 0
		case 8:
			entry["serve_only"] = map[string]any{"countries": []string{"JP"}}
		}
		if i != 6 { // which is down
			l, err := net.Listen("tcp4", addr+":"+port)
			if err != nil {
				t.Fatal(err)
			}
			mirror := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				fmt.Fprintln(w, time.Now().Unix()-600)
			})}
			go mirror.Serve(l)
			t.Cleanup(func() { mirror.Close() })
		}
		mirrors = append(mirrors, entry)
	}
	c, where := geoConfig(t)
	c.set("http", "trusted_proxies", []string{})
	c.set("health", "enabled", true)
	p := c.serve(t, where, map[string]any{"version": 1, "mirrors": mirrors})
	testbed.Eventually(t, "one mirror is down, and the others are up", func() bool {
		states := map[health.State]int{}
		for _, m := range p.status(t).Mirrors {
			for _, e := range m.Endpoints {
				if e.Role == health.HTTP {
					states[e.State]++
				}
			}
		}
		return states[health.Down] == 1 && states[health.Up] == 11
	})
	return p
}

// contrasts returns the lowest contrast of a text with what is behind it (WCAG 2.2, success criterion 1.4.3), and the
// text.
const contrasts = `(() => {
	const parse = s => s.match(/[\d.]+/g).map(Number);
	const over = (top, below) => { const a = top[3] ?? 1; return [0, 1, 2].map(i => a * top[i] + (1 - a) * below[i]); };
	const behind = e => {
		if (!e) return matchMedia("(prefers-color-scheme: dark)").matches ? [18, 18, 18] : [255, 255, 255];
		const c = parse(getComputedStyle(e).backgroundColor);
		return (c[3] ?? 1) === 1 ? c : over(c, behind(e.parentElement));
	};
	const linear = v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
	const light = c => { const [r, g, b] = c.slice(0, 3).map(v => linear(v / 255)); return .2126 * r + .7152 * g + .0722 * b; };
	let worst = {ratio: 21, text: ""};
	for (const e of document.querySelectorAll("body, body *")) {
		const text = [...e.childNodes].filter(n => n.nodeType === 3).map(n => n.data.trim()).join("");
		if (!text || !e.getClientRects().length) continue;
		let opacity = 1;
		for (let p = e; p; p = p.parentElement) opacity *= getComputedStyle(p).opacity;
		const back = behind(e), front = over([...parse(getComputedStyle(e).color).slice(0, 3), opacity], back);
		const [a, b] = [light(front), light(back)].sort((x, y) => y - x);
		const ratio = (a + .05) / (b + .05);
		if (ratio < worst.ratio) worst = {ratio, text};
	}
	return worst;
})()`

// TestMirrorListLayout opens the list of mirrors in a real browser, on a telephone, a tablet and a desktop, in both
// colour schemes: nothing is cut off, and all can be read. With MIRRORPOOL_TEST_SCREENSHOTS=FOLDER it leaves pictures
// there.
func TestMirrorListLayout(t *testing.T) {
	t.Parallel()
	browser := testbed.Need(t, "chromium", "chromium")
	p := newListWorld(t)
	d := openDevtools(t, browser)
	site := "http://" + p.web + "/"
	for _, scheme := range []string{"light", "dark"} {
		for _, width := range []int{390, 820, 1440} {
			name := fmt.Sprintf("mirrorlist-%d-%s", width, scheme)
			d.show(site+"stable/tails-amd64-7.1/tails-amd64-7.1.img?mirrorlist", width, scheme)
			if complaints := d.complaints(site); len(complaints) > 0 {
				t.Errorf("%s: %s", name, strings.Join(complaints, "\n"))
			}
			var page struct {
				Scroll, Right float64
				Text          string
			}
			d.evaluate(`({scroll: document.documentElement.scrollWidth, text: document.body.innerText,
				right: Math.max(...[...document.querySelectorAll("tr *")].map(e => e.getBoundingClientRect().right))})`, &page)
			if page.Scroll > float64(width) || page.Right > float64(width) {
				t.Errorf("%s: the page is %v wide, and the table ends at %v", name, page.Scroll, page.Right)
			}
			want := []string{"picked", "down: connect: connection refused",
				"too far: in another country, over 1.5 times as far as the nearest, borders counted", "disabled", "%"}
			if width > 800 {
				want = append(want, "Share", "Why")
			}
			for _, text := range want {
				if !strings.Contains(page.Text, text) {
					t.Errorf("%s: it does not show %q:\n%s", name, text, page.Text)
				}
			}
			var worst struct {
				Ratio float64
				Text  string
			}
			if d.evaluate(contrasts, &worst); worst.Ratio < 4.5 {
				t.Errorf("%s: the contrast of %q is %.1f, want 4.5 at least", name, worst.Text, worst.Ratio)
			}
			if folder := os.Getenv("MIRRORPOOL_TEST_SCREENSHOTS"); folder != "" {
				if err := os.WriteFile(filepath.Join(folder, name+".png"), d.picture(), 0o644); err != nil {
					t.Error(err)
				}
			}
		}
	}
	p.stop(t)
}
