package redirector

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"mirrorpool/config"
	"mirrorpool/dnspool"
	"mirrorpool/health"
)

// publishStates publishes a snapshot of mirrors m0, m1, ... of weight 10 in the given states. One in state
// "disabled" has weight 0.
func publishStates(tb testing.TB, current *dnspool.Current, at time.Time, states ...string) {
	tb.Helper()
	in := dnspool.Input{
		Pool: &config.Pool{}, Health: &health.Report{Mirrors: map[string]health.MirrorReport{}},
		Policy: dnspool.Policy{PanicThreshold: 0.5, MaxAnswers: 2}, Now: at, Rand: rand.New(rand.NewPCG(1, 2)),
	}
	for i, state := range states {
		prefix := "https://m" + string(rune('0'+i)) + ".example.org/tails/"
		u, err := url.Parse(prefix)
		if err != nil {
			tb.Fatal(err)
		}
		m := config.Mirror{URLPrefix: prefix, URL: u, Weight: 10, Email: "ops@example.org", Notes: "a <secret>"}
		verdict := health.Verdict{State: health.Up}
		switch state {
		case "down":
			verdict.State = health.Down
		case "disabled":
			m.Weight = 0
		}
		in.Pool.Mirrors = append(in.Pool.Mirrors, m)
		in.Health.Mirrors[prefix] = health.MirrorReport{Endpoints: []health.Endpoint{
			{Address: netip.MustParseAddr("192.0.2.1"), Role: health.HTTP, Verdict: verdict}}}
	}
	current.Publish(dnspool.Build(in))
}

func TestLegacyList(t *testing.T) {
	t.Parallel()
	start := time.Unix(1_800_000_000, 0)
	current := new(dnspool.Current)
	h := newTestHandler(config.HTTP{BasePath: "/tails/"}, current)
	get := func(method string, header ...string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, "/mirrors.json", nil)
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	if w := get("GET"); w.Code != http.StatusServiceUnavailable {
		t.Errorf("before the first snapshot: %d", w.Code)
	}
	publishStates(t, current, start, "up", "up", "down", "disabled")
	w := get("GET")
	const want = `{"version":1,"mirrors":[{"url_prefix":"https://m0.example.org/tails/","weight":10},` +
		`{"url_prefix":"https://m1.example.org/tails/","weight":10}]}` + "\n"
	if w.Code != 200 || w.Body.String() != want {
		t.Errorf("%d: %s", w.Code, w.Body)
	}
	for key, want := range map[string]string{
		"Content-Type": "application/json", "Cache-Control": "public, max-age=60", "Access-Control-Allow-Origin": "*",
		"Last-Modified": start.UTC().Format(http.TimeFormat),
	} {
		if got := w.Header().Get(key); got != want {
			t.Errorf("%s: %q, want %q", key, got, want)
		}
	}
	etag := w.Header().Get("ETag")
	if head := get("HEAD"); head.Code != 200 || head.Body.Len() != 0 || head.Header().Get("ETag") != etag {
		t.Errorf("HEAD: %d with %d bytes", head.Code, head.Body.Len())
	}
	if post := get("POST"); post.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", post.Code)
	}
	if w := get("GET", "If-None-Match", etag); w.Code != http.StatusNotModified || w.Body.Len() != 0 {
		t.Errorf("If-None-Match: %d", w.Code)
	}
	if w := get("GET", "If-Modified-Since", start.UTC().Format(http.TimeFormat)); w.Code != http.StatusNotModified {
		t.Errorf("If-Modified-Since: %d", w.Code)
	}

	// Another snapshot that says the same is the same list to its readers.
	publishStates(t, current, start.Add(time.Hour), "up", "up", "down", "disabled")
	if w := get("GET"); w.Header().Get("ETag") != etag || w.Header().Get("Last-Modified") != start.UTC().Format(http.TimeFormat) {
		t.Errorf("the same list again: %v", w.Header())
	}
	publishStates(t, current, start.Add(2*time.Hour), "up", "down", "up", "disabled")
	if w := get("GET", "If-None-Match", etag); w.Code != 200 || w.Header().Get("ETag") == etag {
		t.Errorf("another list: %d", w.Code)
	}

	// In panic it lists as selection does: no mirror is up, so all enabled ones serve.
	publishStates(t, current, start.Add(3*time.Hour), "down", "down", "down", "disabled")
	w = get("GET")
	var list struct {
		Mirrors []struct {
			Weight int `json:"weight"`
		} `json:"mirrors"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &list); err != nil {
		t.Fatal(err)
	}
	if len(list.Mirrors) != 3 {
		t.Errorf("in panic %d mirrors are listed, want all 3 that are enabled", len(list.Mirrors))
	}
	if strings.Contains(w.Body.String(), "ops@") || strings.Contains(w.Body.String(), "secret") {
		t.Error("the list tells what is for people")
	}
}

// TestLegacyListIsForPlainClients has mirrors that are eligible, but not for a client over http and IPv4.
func TestLegacyListIsForPlainClients(t *testing.T) {
	t.Parallel()
	type mirror struct {
		prefix, v4, v6 string // states; empty: no address of that family
		only           string // a country
	}
	for name, test := range map[string]struct {
		mirrors []mirror
		want    string
	}{
		"the only IPv6 address is stopped": {[]mirror{{"http://a/", "up", "", ""}, {"http://b/", "down", "down", ""},
			{"http://c/", "up", "", ""}}, "http://a/ http://c/"},
		"two of three https mirrors are stopped": {[]mirror{{"https://a/", "down", "", ""}, {"https://b/", "down", "", ""},
			{"https://c/", "up", "", ""},
			{"http://d/", "up", "", ""}, {"http://e/", "up", "", ""}, {"http://f/", "up", "", ""}},
			"https://c/ http://d/ http://e/ http://f/"},
		"black-holed over IPv4 only": {[]mirror{{"http://a/", "down", "up", ""}, {"http://b/", "up", "up", ""},
			{"http://c/", "up", "", ""}}, "http://b/ http://c/"},
		"no mirror has IPv4": {[]mirror{{"http://a/", "", "up", ""}, {"http://b/", "", "down", ""},
			{"http://c/", "", "up", ""}}, "http://a/ http://c/"},
		"for one country": {[]mirror{{"http://a/", "up", "", "DE"}, {"http://b/", "up", "", ""}}, "http://b/"},
	} {
		in := dnspool.Input{
			Pool: &config.Pool{}, Health: &health.Report{Mirrors: map[string]health.MirrorReport{}},
			Policy: dnspool.Policy{PanicThreshold: 0.5, MaxAnswers: 2}, Now: time.Unix(1_800_000_000, 0),
			Rand: rand.New(rand.NewPCG(1, 2)),
		}
		for i, m := range test.mirrors {
			u, err := url.Parse(m.prefix)
			if err != nil {
				t.Fatal(err)
			}
			entry := config.Mirror{URLPrefix: m.prefix, URL: u, Weight: 10}
			if m.only != "" {
				entry.ServeOnly.Countries = []string{m.only}
			}
			in.Pool.Mirrors = append(in.Pool.Mirrors, entry)
			var report health.MirrorReport
			for addr, state := range map[string]string{fmt.Sprintf("192.0.2.%d", i): m.v4, fmt.Sprintf("2001:db8::%d", i): m.v6} {
				if state == "" {
					continue
				}
				verdict := health.Verdict{State: health.Up}
				if state == "down" {
					verdict.State = health.Down
				}
				report.Endpoints = append(report.Endpoints, health.Endpoint{Address: netip.MustParseAddr(addr), Role: health.HTTP,
					Verdict: verdict})
			}
			in.Health.Mirrors[m.prefix] = report
		}
		list, err := newLegacyList(dnspool.Build(in), nil)
		if err != nil {
			t.Fatal(err)
		}
		var got struct {
			Mirrors []struct {
				URLPrefix string `json:"url_prefix"`
			} `json:"mirrors"`
		}
		if err := json.Unmarshal(list.text, &got); err != nil {
			t.Fatal(err)
		}
		var prefixes []string
		for _, m := range got.Mirrors {
			prefixes = append(prefixes, m.URLPrefix)
		}
		if listed := strings.Join(prefixes, " "); listed != test.want {
			t.Errorf("%s: %s, want %s", name, listed, test.want)
		}
	}
}

// TestLegacyListIsRenderedOnce: a list costs its rendering once per snapshot, however many ask.
func TestLegacyListIsRenderedOnce(t *testing.T) {
	t.Parallel()
	current := new(dnspool.Current)
	publishStates(t, current, time.Unix(1_800_000_000, 0), "up", "up")
	var cache legacyCache
	first, err := cache.forSnapshot(current.Load())
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := cache.forSnapshot(current.Load()); again != first {
		t.Error("rendered again for the same snapshot")
	}
}
