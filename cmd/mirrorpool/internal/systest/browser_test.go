package systest

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mirrorpool/testdata/testbed"
)

// runBrowser runs a real browser without a window on a page, and returns the document that it ends up with. It writes
// a picture of the page to a file if screenshot is not empty.
func runBrowser(t *testing.T, browser, page, screenshot string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	args = append([]string{
		"--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
		"--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--no-proxy-server", "--user-data-dir=" +
			t.TempDir(), "--window-size=1100,900",
	}, args...)
	if screenshot != "" {
		args = append(args, "--screenshot="+screenshot)
	} else {
		args = append(args, "--dump-dom")
	}
	cmd := exec.CommandContext(ctx, browser, append(args, page)...)
	cmd.WaitDelay = 10 * time.Second
	var complaints strings.Builder
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("the browser: %v\n%s", err, complaints.String())
	}
	return string(out)
}

// TestBrowser has a real browser follow a redirect to a mirror on this host, and read the list of mirrors. With
// MIRRORPOOL_TEST_SCREENSHOTS=FOLDER it leaves pictures there.
func TestBrowser(t *testing.T) {
	t.Parallel()
	browser := testbed.Need(t, "chromium", "chromium")
	c, where := geoConfig(t)
	c.set("http", "trusted_proxies", []string{})
	var mirrors []map[string]any
	for i, place := range []map[string]any{
		{"country": "DE", "latitude": 52.5, "longitude": 13.4}, {"country": "FR", "latitude": 48.9, "longitude": 2.4},
		{"country": "AU", "latitude": -33.9, "longitude": 151.2}, {},
	} {
		l, err := net.Listen("tcp4", fmt.Sprintf("127.0.1.%d:0", 21+i))
		if err != nil {
			t.Fatal(err)
		}
		mirror := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			fmt.Fprintf(w, "<p id=here>This is %s of %s</p>", r.URL.Path, r.Host)
		})}
		go mirror.Serve(l)
		t.Cleanup(func() { mirror.Close() })
		entry := map[string]any{"url_prefix": fmt.Sprintf("http://%s/tails/", l.Addr()), "weight": 10, "location": place}
		if len(place) == 0 {
			entry["weight"] = 0
		}
		mirrors = append(mirrors, entry)
	}
	p := c.serve(t, where, map[string]any{"version": 1, "mirrors": mirrors})

	page := runBrowser(t, browser, "http://"+p.web+"/stable/x%20y.html?a=b", "")
	if !strings.Contains(page, `<p id="here">This is /tails/stable/x y.html of 127.0.1.2`) {
		t.Errorf("the browser does not end up at a mirror:\n%s", page)
	}
	list := runBrowser(t, browser, "http://"+p.web+"/stable/x%20y.html?mirrorlist", "")
	for _, want := range []string{"<h1>Mirrors of /stable/x y.html</h1>", "country DE, Europe", "Download from 127.0.1.2",
		"16097 km", "disabled", ">50.0 %</td>"} {
		if !strings.Contains(list, want) {
			t.Errorf("the list of mirrors does not have %q:\n%s", want, list)
		}
	}
	picture := filepath.Join(t.TempDir(), "list.png")
	folder := os.Getenv("MIRRORPOOL_TEST_SCREENSHOTS")
	if folder != "" {
		picture = filepath.Join(folder, "mirrorlist.png")
		runBrowser(t, browser, "http://"+p.web+"/stable/x%20y.html?mirrorlist", filepath.Join(folder, "mirrorlist-narrow.png"),
			"--window-size=500,1000")
		runBrowser(t, browser, "http://"+p.web+"/stable/x%20y.html?mirrorlist", filepath.Join(folder, "mirrorlist-dark.png"),
			"--blink-settings=preferredColorScheme=0")
	}
	runBrowser(t, browser, "http://"+p.web+"/stable/x%20y.html?mirrorlist", picture)
	if info, err := os.Stat(picture); err != nil || info.Size() < 10_000 {
		t.Errorf("the picture of the list: %v", err)
	}

	req, err := http.NewRequest("GET", "http://"+p.web+"/?mirrorlist", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct{ Mirrors []any }
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || len(answer.Mirrors) != 4 {
		t.Errorf("as JSON: %v, %d mirrors", err, len(answer.Mirrors))
	}
}
