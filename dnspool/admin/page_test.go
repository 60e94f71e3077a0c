package admin

import (
	"fmt"
	"math"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"mirrorpool/config/source"
	"mirrorpool/dnspool"
	"mirrorpool/health"
)

// pageStatus is the status of a pool of so many mirrors, some of which have had a bad day.
func pageStatus(mirrors int) Status {
	now := time.Now()
	ago := func(d time.Duration) *time.Time { t := now.Add(-d); return &t }
	s := Status{
		Zone: "dl.example.org", Serial: 1795529816, Ready: true, Redirects: 123456,
		Reference: ReferenceStatus{Trace: ago(30 * time.Hour), Mirrors: mirrors - 1, Enabled: mirrors},
		Pool:      PoolStatus{Source: "https://example.org/mirrors.json", Loaded: now.Add(-50 * time.Hour), Checked: ago(time.Minute)},
		Process:   ProcessStatus{PID: 17, Started: now.Add(-time.Hour), Version: "v1.0.0"},
	}
	for _, family := range []string{"ipv4", "ipv6"} {
		s.Groups = append(s.Groups,
			GroupStatus{Role: health.DNS, Family: family, UpWeight: 290, EnabledWeight: 300, EligibleWeight: 290},
			GroupStatus{Role: health.HTTP, Family: family, UpWeight: 290, EnabledWeight: 300, EligibleWeight: 290},
			GroupStatus{Role: health.HTTP, Family: family, Secure: true, UpWeight: 200, EnabledWeight: 200, EligibleWeight: 200})
	}
	expires := now.Add(60 * 24 * time.Hour)
	for i := range mirrors {
		past := []byte(strings.Repeat("u", health.HistoryParts))
		for k := range i % 10 {
			past[(17*k+i)%len(past)] = "sd"[k%2]
		}
		m := MirrorStatus{
			URLPrefix: fmt.Sprintf("https://mirror%d.example.org/pub/tails/", i), Name: fmt.Sprintf("m%d", i), Weight: 10, DNSWeight: 10,
			State: health.Up, Since: ago(time.Hour), Eligible: []string{"dns", "http"},
			Place: &PlaceStatus{Country: dnspool.ParseCode("DE"), Latitude: 50 + float64(i%5), Longitude: 8 + float64(i%7)},
			History: &HistoryStatus{
				HTTP: string(past), HTTPSeconds: StateSeconds{Up: 24 * 3600},
				DNS: string(past), DNSSeconds: StateSeconds{Up: 24*3600 - 60*int64(i%10), Down: 60 * int64(i%10)},
			},
			Shares: []ShareStatus{{health.DNS, "ipv4", 1. / 30, 0.0334}, {health.DNS, "ipv6", 1. / 30, 0.0333},
				{health.HTTP, "", 1. / 30, 0.06}},
		}
		for _, address := range []string{fmt.Sprintf("192.0.2.%d", i%250), fmt.Sprintf("2001:db8::%x", i)} {
			for _, role := range []health.Role{health.HTTP, health.DNS} {
				m.Endpoints = append(m.Endpoints, EndpointStatus{
					Address: netip.MustParseAddr(address), Role: role, State: health.Up, Since: ago(70 * time.Hour), Checked: ago(0),
					Trace: ago(30 * time.Hour), CertExpires: &expires, LatencyMS: 20,
				})
			}
		}
		s.Mirrors = append(s.Mirrors, m)
	}
	return s
}

// render returns the page of a status, with the headers.
func render(t testing.TB, s Status, target string) *httptest.ResponseRecorder {
	t.Helper()
	s.countWorks()
	w := httptest.NewRecorder()
	newMux(Backend{Status: func() Status { return s }}).ServeHTTP(w, httptest.NewRequest("GET", target, nil))
	if w.Code != 200 {
		t.Fatalf("%d: %s", w.Code, w.Body)
	}
	return w
}

// textOf is what of a document people read, with one space between words.
func textOf(t *testing.T, page string) string {
	t.Helper()
	z := html.NewTokenizer(strings.NewReader(page))
	var words []string
	for skip := false; ; {
		switch z.Next() {
		case html.ErrorToken:
			return strings.Join(words, " ")
		case html.StartTagToken:
			name, _ := z.TagName()
			skip = string(name) == "style"
		case html.TextToken:
			if !skip {
				words = append(words, strings.Fields(string(z.Text()))...)
			}
		}
	}
}

func TestPage(t *testing.T) {
	t.Parallel()
	s := pageStatus(4)
	now := time.Now()
	soon := now.Add(5*24*time.Hour + time.Hour)
	bad := &s.Mirrors[1]
	bad.State, bad.Eligible, bad.Place, bad.Shares = health.Down, nil, nil, nil
	for i := range bad.Endpoints {
		e := &bad.Endpoints[i]
		e.State, e.Reason, e.CertExpires = health.Down, `status: 404 <script>alert("x")</script>`, &soon
	}
	s.Mirrors[2].Weight, s.Mirrors[2].Eligible = 0, nil
	s.Mirrors[3].Endpoints = append(s.Mirrors[3].Endpoints, EndpointStatus{Role: health.Rsync, State: health.Stale,
		Reason: "rsync is late"})
	s.Mirrors[3].URLPrefix = "http://gone.example.org/"
	s.Mirrors[3].Email, s.Mirrors[3].Notes = "ops@example.net", "1 Gbit/s, <university>"
	s.Groups[0].Panic, s.Groups[0].UpWeight = true, 3
	s.Suspects = []SuspectStatus{{Name: "local network", Text: "most mirrors began to fail together"}}
	s.Pool.Held = &source.Held{Since: now.Add(-2 * time.Hour)}
	failing := now.Add(-3 * time.Hour)
	s.Notify = []FeedStatus{{Problem: "192.0.2.53:53: no answer in time", Since: &failing},
		{Server: "192.0.2.54:53", Since: &failing}}
	s.Publish = []FeedStatus{{Problem: "192.0.2.55:53: refused", Since: &failing}}
	s.Reload = &ReloadStatus{At: now.Add(-3 * time.Minute), Error: "mirrorpool.json:1:1: no"}
	w := render(t, s, "/")
	page := w.Body.String()
	text := textOf(t, page)
	for _, want := range []string{
		"Mirrors of dl.example.org Enabled mirrors work: 1 fully, 1 partly, 1 not at all", "All 4 1 up 1 partly 1 down 1 disabled",
		"Panic: of DNS IPv4, only 3 of the weight 300 is up.",
		"Suspect: local network.", "An update of the list has been held back for 2h00m, because",
		`1 mirror down: status: 404 <script>alert("x")</script>`, "1 enabled mirror gets no clients.",
		"The certificate of 1 mirror expires within 14 days.", "Certificate 5 days left",
		"NOTIFY has failed for 3h00m: 192.0.2.53:53: no answer in time",
		"Publishing has failed for 3h00m: 192.0.2.55:53: refused",
		"NOTIFY 192.0.2.54:53 working for 3h00m", "update failing for 3h00m: 192.0.2.55:53: refused",
		"Last reload 3m ago, refused: mirrorpool.json:1:1: no", "Accepted 2d ago", "Serial 1795529816",
		"Release 30h00m old, carried by 3 of 4 enabled mirrors",
		`down 192.0.2.1 for 2d; status: 404 <script>alert("x")</script>`,
		"dns up 192.0.2.0 for 2d dns up 2001:db8:: for 2d http up 192.0.2.0 for 2d http up 2001:db8:: for 2d",
		"DNS IPv4 3.3 %; DNS IPv6 3.3 %; redirects 3.3 % by weight, 6.0 % observed",
		"rsync stale no address rsync is late",
		"Operators ops@example.net · Notes 1 Gbit/s, <university>",
		"Of 1 mirror the place is not known.",
		"DNS, last 24 hours: up 99.8 %, down 3m",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
}

// TestPageOrder: trouble comes first, a pool of any size stays short, and a filter shows all that it names.
func TestPageOrder(t *testing.T) {
	t.Parallel()
	s := pageStatus(300)
	for i := range s.Mirrors {
		m := &s.Mirrors[i]
		switch {
		case i < 20:
			m.Weight = 0
		case i >= 282:
			m.State = health.Down
			m.Endpoints[0].State, m.Endpoints[0].Reason = health.Down, fmt.Sprintf("connect: reason %d", i%5)
		case i >= 275:
			m.Endpoints[0].State, m.Endpoints[0].Reason = health.Down, "connect: timed out"
		}
	}
	s.countWorks()
	type section struct {
		name         string
		rows, folded int
	}
	sections := func(query string) (got []section) {
		view, err := readPageView(parseQuery(t, query))
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range newPage(&s, view, time.Now()).Sections {
			got = append(got, section{x.Name, x.Rows.Len(), x.Folded.Len()})
		}
		return got
	}
	for query, want := range map[string][]section{
		"":                        {{"down", 12, 6}, {"partly", 0, 7}, {"up", 0, 255}, {"disabled", 0, 20}},
		"state=up":                {{"up", 255, 0}},
		"state=down,disabled":     {{"down", 18, 0}, {"disabled", 20, 0}},
		"state=partly&state=down": {{"down", 18, 0}, {"partly", 7, 0}},
		"state=stale":             nil,
	} {
		if got := sections(query); !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", query, got, want)
		}
	}
	page := newPage(&s, pageView{}, time.Now())
	want := []string{
		"18 mirrors down: connect: reason 2 (4), connect: reason 3 (4), connect: reason 4 (4), other reasons (6)",
		"7 mirrors up at some addresses or in some roles only: connect: timed out",
	}
	if !slices.Equal(page.Problems, want) {
		t.Errorf("problems %q, want %q", page.Problems, want)
	}
	w := httptest.NewRecorder()
	newMux(Backend{Status: func() Status { return s }}).ServeHTTP(w, httptest.NewRequest("GET", "/?state=upp", nil))
	if w.Code != 400 || !strings.Contains(w.Body.String(), `no mirror has the state "upp"`) {
		t.Errorf("an unknown state: %d, %s", w.Code, w.Body)
	}
	if body := render(t, s, "/?refresh=30&state=down").Body.String(); !strings.Contains(body,
		`href="./?refresh=30&amp;state=up"`) || !strings.Contains(body, `href="./?state=down"`) {
		t.Error("links do not keep what else was asked for")
	}
}

func parseQuery(t *testing.T, query string) url.Values {
	t.Helper()
	values, err := url.ParseQuery(query)
	if err != nil {
		t.Fatal(err)
	}
	return values
}

// TestPageTimes: what is dated in the future or expired reads as such.
func TestPageTimes(t *testing.T) {
	t.Parallel()
	s := pageStatus(2)
	future, expired := time.Now().Add(25*time.Hour+time.Minute), time.Now().Add(-49*time.Hour)
	s.Reference.Trace = &future
	s.Mirrors[0].Endpoints[0].CertExpires = &expired
	text := textOf(t, render(t, s, "/").Body.String())
	for _, want := range []string{
		"The release is dated 25h00m in the future (check the clocks).", "The certificate of 1 mirror has expired.",
		"Certificate expired 2 days ago",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	if negative := regexp.MustCompile(`\s-\d+ ?[a-z]+`).FindString(text); negative != "" {
		t.Errorf("the page shows a negative time: %s", negative)
	}
}

// TestPageLoadsNothing: whatever the page consists of, it brings along.
func TestPageLoadsNothing(t *testing.T) {
	t.Parallel()
	w := render(t, pageStatus(3), "/")
	for header, want := range map[string]string{
		"Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": "default-src 'none'; style-src 'sha256-",
		"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store",
	} {
		if got := w.Header().Get(header); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %q, want %q", header, got, want)
		}
	}
	ids, used := map[string]bool{}, map[string]bool{}
	z := html.NewTokenizer(strings.NewReader(w.Body.String()))
	for kind := z.Next(); kind != html.ErrorToken; kind = z.Next() {
		token := z.Token()
		for _, a := range token.Attr {
			switch {
			case a.Key == "style" || strings.HasPrefix(a.Key, "on"):
				t.Errorf("<%s> has the attribute %s", token.Data, a.Key)
			case a.Key == "id":
				ids[a.Val] = true
			case a.Key == "href" && token.Data == "use":
				used[strings.TrimPrefix(a.Val, "#")] = true
			case a.Key == "src", a.Key == "href" && token.Data != "a" && a.Val != "data:,":
				t.Errorf("<%s> loads %s", token.Data, a.Val)
			}
		}
		if token.Data == "script" || token.Data == "th" && kind == html.StartTagToken && !strings.Contains(token.String(), `scope="`) {
			t.Errorf("there is a %v", token)
		}
	}
	for id := range used {
		if !ids[id] {
			t.Errorf("nothing has the id %s", id)
		}
	}
	if strings.Contains(w.Body.String(), "http-equiv") {
		t.Error("the page refreshes without being asked to")
	}
	if page := render(t, pageStatus(1), "/?refresh=1").Body.String(); !strings.Contains(page,
		`<meta http-equiv="refresh" content="5">`) {
		t.Error("the page does not refresh")
	}
}

// TestPageContrast holds the colours to WCAG 2.2, level AA: 4.5 for text.
func TestPageContrast(t *testing.T) {
	t.Parallel()
	schemes := regexp.MustCompile(`:root\{([^}]*)\}`).FindAllStringSubmatch(pageCSS, -1)
	if len(schemes) != 2 {
		t.Fatalf("%d colour schemes, want light and dark", len(schemes))
	}
	for _, scheme := range schemes {
		colours := map[string]float64{}
		for _, m := range regexp.MustCompile(`--(\w+):#([0-9a-f]{3,6})`).FindAllStringSubmatch(scheme[1], -1) {
			colours[m[1]] = luminance(t, m[2])
		}
		for _, back := range []string{"bg", "card"} {
			for _, front := range []string{"text", "soft", "link", "u", "s", "d"} {
				light, dark := max(colours[front], colours[back]), min(colours[front], colours[back])
				if ratio := (light + 0.05) / (dark + 0.05); ratio < 4.5 {
					t.Errorf("--%s on --%s: contrast %.2f in %s", front, back, ratio, scheme[1])
				}
			}
		}
		// Markers have to stand out from the land: 3 for what is not text.
		for _, front := range []string{"u", "s", "d", "soft"} {
			light, dark := max(colours[front], colours["land"]), min(colours[front], colours["land"])
			if ratio := (light + 0.05) / (dark + 0.05); ratio < 3 {
				t.Errorf("--%s on --land: contrast %.2f in %s", front, ratio, scheme[1])
			}
		}
	}
}

// luminance is the relative luminance of a colour, as WCAG defines it.
func luminance(t *testing.T, hex string) float64 {
	t.Helper()
	if len(hex) == 3 {
		hex = string([]byte{hex[0], hex[0], hex[1], hex[1], hex[2], hex[2]})
	}
	sum := 0.0
	for i, share := range []float64{0.2126, 0.7152, 0.0722} {
		n, err := strconv.ParseUint(hex[2*i:2*i+2], 16, 8)
		if err != nil {
			t.Fatal(err)
		}
		c := float64(n) / 255
		if c <= 0.04045 {
			c /= 12.92
		} else {
			c = math.Pow((c+0.055)/1.055, 2.4)
		}
		sum += share * c
	}
	return sum
}

// TestPageSize: 50 kB for 30 mirrors with addresses of both families.
func TestPageSize(t *testing.T) {
	t.Parallel()
	const most = 50_000
	if size := render(t, pageStatus(30), "/").Body.Len(); size > most {
		t.Errorf("%d bytes, want %d at most", size, most)
	} else {
		t.Logf("%d bytes", size)
	}
}

func BenchmarkPage(b *testing.B) {
	s := pageStatus(30)
	mux := newMux(Backend{Status: func() Status { return s }})
	b.ReportAllocs()
	var size int
	for b.Loop() {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		size = w.Body.Len()
	}
	b.ReportMetric(float64(size), "bytes")
}

// TestPageFeeds: a server that has not been tried yet is neither well nor failing.
func TestPageFeeds(t *testing.T) {
	t.Parallel()
	now := time.Unix(1e9, 0)
	since := now.Add(-time.Hour)
	got := pageFeeds(&Status{
		Notify:  []FeedStatus{{Server: "new:53"}, {Server: "good:53", Since: &since}},
		Publish: []FeedStatus{{Server: "bad:53", Since: &since, Problem: "bad:53: timed out"}},
	}, now)
	want := []pageFeed{
		{Server: "bad:53", How: "update", Class: "d", State: "failing for 1h00m: timed out"},
		{Server: "new:53", How: "NOTIFY", Class: "q", State: "not tried yet"},
		{Server: "good:53", How: "NOTIFY", Class: "u", State: "working for 1h00m"},
	}
	if !slices.Equal(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}
