package admin

import (
	"fmt"
	"math"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

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
			Place:   &PlaceStatus{Country: dnspool.ParseCode("DE"), Latitude: 50 + float64(i%5), Longitude: 8 + float64(i%7)},
			History: &HistoryStatus{string(past), string(past)},
			Shares:  []ShareStatus{{health.DNS, "ipv4", 1. / 30, 0.0334}, {health.DNS, "ipv6", 1. / 30, 0.0333}, {health.HTTP, "", 1. / 30, 0.06}},
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
	s.Mirrors[3].Endpoints = append(s.Mirrors[3].Endpoints, EndpointStatus{Role: health.Rsync, State: health.Stale, Reason: "rsync is late"})
	s.Mirrors[3].URLPrefix = "http://gone.example.org/"
	s.Groups[0].Panic, s.Groups[0].UpWeight = true, 3
	s.Suspect = "local network"
	s.Pool.Held = &HeldStatus{Since: now.Add(-2 * time.Hour)}
	failing := now.Add(-3 * time.Hour)
	s.Notify = []FeedStatus{{Problem: "192.0.2.53:53: no answer in time", Since: &failing}, {Server: "192.0.2.54:53", Since: &failing}}
	s.Publish = []FeedStatus{{Problem: "192.0.2.55:53: refused", Since: &failing}}
	s.Reload = &ReloadStatus{At: now.Add(-3 * time.Minute), Error: "mirrorpool.json:1:1: no"}
	w := render(t, s, "/")
	page := w.Body.String()
	text := textOf(t, page)
	for _, want := range []string{
		"Mirrors of dl.example.org Enabled mirrors work: 1 fully, 1 partly, 1 not at all", "2 up 0 stale 1 down 0 unknown 1 disabled",
		"Panic: of DNS IPv4, only 3 of the weight 300 is up.",
		"Suspect: local network.", "An update of the list is held back",
		"https://mirror1.example.org/pub/tails/ serves nobody.", "The certificate of https://mirror1.example.org/pub/tails/ has 5 days left.",
		"Held update since 2 h 0 min, waits for",
		"NOTIFY has failed for 3 h 0 min: 192.0.2.53:53: no answer in time", "Publishing has failed for 3 h 0 min: 192.0.2.55:53: refused", "Last reload 3 min ago, refused: mirrorpool.json:1:1: no", "Accepted 2 d ago", "Serial 1795529816",
		"Release 30 h old, on 3 of 4 enabled mirrors",
		`down 192.0.2.1, 2 d status: 404 <script>alert("x")</script>`,
		"dns up 192.0.2.0, 2 d up 2001:db8::, 2 d 59 d 30 h 3.3 % v6 3.3 % 3.3 % v6 3.3 % up 100.0 %",
		"http up 192.0.2.0, 2 d up 2001:db8::, 2 d 59 d 30 h 3.3 % 6.0 % up 100.0 %",
		"rsync stale no address rsync is late",
		"Where 1 of them are is not known",
		"up 97.9 %, stale 1.0 %, down 1.0 %",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the page does not say %q:\n%s", want, text)
		}
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
		t.Error("the page refreshes although nobody asked for it")
	}
	if page := render(t, pageStatus(1), "/?refresh=1").Body.String(); !strings.Contains(page, `<meta http-equiv="refresh" content="5">`) {
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

func TestWorldMap(t *testing.T) {
	t.Parallel()
	numbers := regexp.MustCompile(`-?\d+`)
	path := coastPath
	if len(path) > 4<<10 || strings.Count(path, "M") != strings.Count(coastlines, "\n")-1 || strings.Count(path, "z") != strings.Count(path, "M") {
		t.Errorf("%d bytes, %d outlines of %d", len(path), strings.Count(path, "M"), strings.Count(coastlines, "\n")-1)
	}
	// Every point is where the list says.
	steps := numbers.FindAllString(path, -1)
	for line := range strings.Lines(strings.TrimSpace(coastlines)) {
		x, y := 0, 0
		for i, field := range strings.Fields(line) {
			step, err := strconv.Atoi(steps[i])
			if err != nil {
				t.Fatal(err)
			}
			want, err := strconv.Atoi(field)
			if err != nil || i%2 == 1 && (want > mapNorth || want < mapSouth) || want < -180 || want > 180 {
				t.Fatalf("the coordinate %q: %v", field, err)
			}
			at := &x
			if i%2 == 1 {
				at, want = &y, mapNorth-want
			} else {
				want += mapWidth / 2
			}
			if i < 2 {
				*at = step
			} else {
				*at += step
			}
			if *at != want {
				t.Fatalf("point %d of %q is drawn at %d, want %d", i/2, line, *at, want)
			}
		}
		steps = steps[len(strings.Fields(line)):]
	}
	grid := atlasGrid{}
	seen := map[[2]int]bool{}
	for range 100 {
		x, y := grid.place(52, 13)
		seen[[2]int{x, y}] = true
		if x < 150 || x > 240 || y < 0 || y > 80 {
			t.Errorf("a mirror in Berlin is drawn at %d, %d", x, y)
		}
	}
	if len(seen) < 80 {
		t.Errorf("100 mirrors of one town stand at %d places", len(seen))
	}
	for _, corner := range [][2]float64{{90, -180}, {-90, 180}, {90, 180}, {-90, -180}} {
		if x, y := grid.place(corner[0], corner[1]); x < 0 || x > mapWidth || y < 0 || y > mapHeight {
			t.Errorf("%v is drawn at %d, %d", corner, x, y)
		}
	}
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
