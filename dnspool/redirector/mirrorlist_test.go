package redirector

import (
	"encoding/json"
	"encoding/xml"
	"strings"
	"testing"
	"time"

	"mirrorpool/config"
)

func TestMirrorListJSON(t *testing.T) {
	t.Parallel()
	h := placedHandler(t, config.HTTP{Sticky: time.Hour, BasePath: "/pub/"})
	w := get(h, "https://dl.example.org/pub/stable/x.iso?mirrorlist&a=b", "198.18.4.1", "Accept: application/json")
	if w.Code != 200 || w.Header().Get("Content-Type") != "application/json" || w.Header().Get("Vary") != "Accept" {
		t.Fatalf("%d, %v", w.Code, w.Header())
	}
	var list struct {
		Path, Location string
		Place          struct {
			Country string
			ASN     int
		}
		Mirrors []struct {
			URL, Why    string
			URLPrefix   string `json:"url_prefix"`
			State       string
			Order       int
			Share       float64
			Distance    float64 `json:"distance_km"`
			Country     string
			DoesNotHave string `json:"email"`
		}
	}
	if err := json.Unmarshal(w.Body.Bytes(), &list); err != nil {
		t.Fatal(err)
	}
	redirect := get(h, "https://dl.example.org/pub/stable/x.iso?a=b", "198.18.4.1").Header().Get("Location")
	if list.Path != "/stable/x.iso" || list.Location != redirect || list.Place.Country != "DE" || list.Place.ASN != 8767 {
		t.Errorf("%+v, while a redirect leads to %s", list, redirect)
	}
	why := map[string]string{}
	sum := 0.0
	for _, m := range list.Mirrors {
		why[m.URLPrefix] = m.Why
		sum += m.Share
		if (m.Order > 0) != (m.URL == m.URLPrefix+"stable/x.iso?a=b") {
			t.Errorf("%+v", m)
		}
		if strings.HasPrefix(m.URLPrefix, "https://berlin") && (m.Distance < 490 || m.Distance > 520 || m.Country != "DE" ||
			m.State != "up") {
			t.Errorf("%+v", m)
		}
	}
	for prefix, want := range map[string]string{
		"https://down.example.org/tails/": "down: a <reason>", "https://disabled.example.org/tails/": "disabled",
		"https://japanese.example.org/tails/": "serves other places only (serve_only)",
		"http://aachen.example.org/tails/":    "does not speak https, as the request does",
	} {
		if why[prefix] != want {
			t.Errorf("%s: %q, want %q", prefix, why[prefix], want)
		}
	}
	if len(list.Mirrors) != len(testMirrors) || sum < 0.999 || sum > 1.001 {
		t.Errorf("%d mirrors with %g in all", len(list.Mirrors), sum)
	}
	for _, secret := range []string{"198.18.4.1", "ops@", "secret"} {
		if strings.Contains(w.Body.String(), secret) {
			t.Errorf("the list tells %q", secret)
		}
	}
}

func TestMirrorListPage(t *testing.T) {
	t.Parallel()
	h := placedHandler(t, config.HTTP{Sticky: time.Hour})
	w := get(h, "/stable/%3Cscript%3Ex.iso?mirrorlist", "198.18.4.1", "Accept: text/html, application/json;q=0.9")
	body := w.Body.String()
	if w.Code != 200 || w.Header().Get("Content-Type") != "text/html; charset=utf-8" ||
		!strings.Contains(w.Header().Get("Content-Security-Policy"), "default-src 'none'") {
		t.Fatalf("%d, %v", w.Code, w.Header())
	}
	for _, want := range []string{"country DE, Europe, network AS8767", "berlin.example.org/tails/stable/%3Cscript%3Ex.iso",
		"x.iso.meta4", "33.3 %", "disabled", "down: a &lt;reason&gt;"} {
		if !strings.Contains(body, want) {
			t.Errorf("the page does not have %q:\n%s", want, body)
		}
	}
	for _, not := range []string{"<script", "198.18.4.1", "ops@", "secret", "disabled.example.org/tails/stable"} {
		if strings.Contains(body, not) {
			t.Errorf("the page has %q", not)
		}
	}
	if w := get(testHandler(t, config.HTTP{}), "/x?mirrorlist", ""); w.Code != 503 || w.Header().Get("Retry-After") == "" ||
		!strings.Contains(w.Body.String(), "No mirror can serve you") {
		t.Errorf("without a mirror: %d, %v", w.Code, w.Header())
	}
}

func TestPreferredType(t *testing.T) {
	t.Parallel()
	for accept, want := range map[string]string{
		"": typeHTML, "*/*": typeHTML, "application/json": typeJSON, "Application/JSON; q=0.5": typeJSON,
		"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8": typeHTML,
		"application/json, text/html":                                     typeHTML, "text/html;q=0.5, application/json": typeJSON,
		"application/json;q=0": typeHTML,
		"application/json;q=x": typeJSON, ",,;;q=1": typeHTML,
		"text/plain": typePlain, "text/*": typePlain, "text/*, text/html": typeHTML, "text/plain;q=0.9, text/html;q=0.8": typePlain,
		"text/plain, application/json": typeJSON, "text/plain;q=0": typeHTML, "text/html;level=1": typeHTML,
	} {
		if got := preferredType([]string{accept}); got != want {
			t.Errorf("%q: %s, want %s", accept, got, want)
		}
	}
}

// TestMirrorListText wants a list that apt and scripts can read: one URL in each line, the one that is picked first.
func TestMirrorListText(t *testing.T) {
	t.Parallel()
	h := placedHandler(t, config.HTTP{Sticky: time.Hour})
	w := get(h, "https://dl.example.org/debian/?mirrorlist", "198.18.4.1", "Accept: text/*")
	lines := strings.Split(strings.TrimSuffix(w.Body.String(), "\n"), "\n")
	redirect := get(h, "https://dl.example.org/debian/", "198.18.4.1").Header().Get("Location")
	if w.Code != 200 || w.Header().Get("Content-Type") != "text/plain; charset=utf-8" || len(lines) != 6 || lines[0] != redirect {
		t.Errorf("%d, %v, while a redirect leads to %s:\n%s", w.Code, w.Header(), redirect, w.Body)
	}
	for _, line := range lines {
		if !hasEligiblePrefix(line) || !strings.HasSuffix(line, "/debian/") {
			t.Errorf("%q is no mirror of the folder", line)
		}
	}
	if w := get(testHandler(t, config.HTTP{}), "/?mirrorlist", "", "Accept: text/plain"); w.Code != 503 ||
		w.Header().Get("Retry-After") == "" {
		t.Errorf("without a mirror: %d, %q", w.Code, w.Body)
	}
}

func TestMetalink(t *testing.T) {
	t.Parallel()
	h := placedHandler(t, config.HTTP{Sticky: time.Hour})
	redirect := get(h, "https://dl.example.org/a/x%20y%26.iso", "198.18.6.1").Header().Get("Location")
	for _, suffix := range []string{".meta4", ".metalink"} {
		w := get(h, "https://dl.example.org/a/x%20y%26.iso"+suffix, "198.18.6.1")
		if w.Code != 200 || w.Header().Get("Content-Type") != "application/metalink4+xml; charset=utf-8" {
			t.Fatalf("%d, %v", w.Code, w.Header())
		}
		var doc struct {
			XMLName xml.Name `xml:"urn:ietf:params:xml:ns:metalink metalink"`
			Files   []struct {
				Name string `xml:"name,attr"`
				URLs []struct {
					Priority int    `xml:"priority,attr"`
					Location string `xml:"location,attr"`
					URL      string `xml:",chardata"`
				} `xml:"url"`
			} `xml:"file"`
		}
		if err := xml.Unmarshal(w.Body.Bytes(), &doc); err != nil {
			t.Fatalf("%v in %s", err, w.Body)
		}
		if len(doc.Files) != 1 || doc.Files[0].Name != "x y&.iso" || len(doc.Files[0].URLs) != 6 {
			t.Fatalf("%+v", doc)
		}
		for i, u := range doc.Files[0].URLs {
			if u.Priority != i+1 || i == 0 && u.URL != redirect || !strings.HasSuffix(u.URL, "/a/x%20y%26.iso") ||
				strings.HasPrefix(u.URL, "https://paris") && u.Location != "fr" || strings.HasPrefix(u.URL, "https://d") {
				t.Errorf("%+v, while a redirect leads to %s", u, redirect)
			}
		}
	}
	for target, status := range map[string]int{"/.meta4": 404, "/a/.metalink": 404, "/a%2fb.meta4": 404, "/a/../b.meta4": 404,
		"/stable/...meta4": 404, "/stable/..meta4": 404, "/%2e%2e.meta4": 404, "/a/%252e%252e.metalink": 404,
		"/a/..;x.meta4": 404, "/....meta4": 200} {
		if w := get(h, target, ""); w.Code != status {
			t.Errorf("%s: %d, want %d", target, w.Code, status)
		}
	}
	if w := get(testHandler(t, config.HTTP{}), "/x.meta4", ""); w.Code != 503 {
		t.Errorf("without a mirror: %d", w.Code)
	}
}

func TestOwnFiles(t *testing.T) {
	t.Parallel()
	h := testHandler(t, config.HTTP{BasePath: "/tails/"}, "http://m1.example.org/")
	for path, contentType := range map[string]string{"/robots.txt": "text/plain; charset=utf-8", "/favicon.ico": "image/svg+xml"} {
		w := get(h, path, "")
		if w.Code != 200 || w.Header().Get("Content-Type") != contentType || w.Body.Len() == 0 {
			t.Errorf("%s: %d, %v", path, w.Code, w.Header())
		}
	}
	if err := xml.Unmarshal([]byte(icon), new(struct{})); err != nil {
		t.Errorf("the icon: %v", err)
	}
	if got := get(h, "/tails/robots.txt", "").Header().Get("Location"); got != "http://m1.example.org/robots.txt" {
		t.Errorf("a file of the mirrors is at %q", got)
	}
}
