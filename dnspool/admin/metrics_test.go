package admin

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"mirrorpool/health"
)

func testBackend(mirrors int) Backend {
	checked := time.Unix(1_800_000_000, 0)
	status := Status{
		Ready: true, Serial: 7, Pool: PoolStatus{Loaded: checked},
		Groups: []GroupStatus{{Role: health.DNS, Family: "ipv4", UpWeight: 10, EnabledWeight: 30, EligibleWeight: 30, Panic: true}},
	}
	for i := range mirrors {
		status.Mirrors = append(status.Mirrors, MirrorStatus{
			URLPrefix: fmt.Sprintf("http://m%d.example.org/", i), Weight: 10, Eligible: []string{"dns", "http"},
			Endpoints: []EndpointStatus{
				{Address: netip.MustParseAddr("192.0.2.1"), Role: health.HTTP, State: health.Up, Checked: &checked, LatencyMS: 20},
				{Address: netip.MustParseAddr("192.0.2.1"), Role: health.DNS, State: health.Down, Checked: &checked},
			},
		})
	}
	return Backend{
		Status: func() Status { return status },
		Ready:  func() error { return nil },
		Collect: func(ch chan<- prometheus.Metric) {
			ch <- prometheus.MustNewConstMetric(prometheus.NewDesc("mirrorpool_face_total", "Of a face.", nil, nil),
				prometheus.CounterValue, 3)
		},
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	newMux(testBackend(1)).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for _, want := range []string{
		`mirrorpool_ready 1`,
		`mirrorpool_dns_serial 7`,
		`mirrorpool_panic{family="ipv4",role="dns",secure="no"} 1`,
		`mirrorpool_up_weight{family="ipv4",role="dns",secure="no"} 10`,
		`mirrorpool_mirror_eligible{mirror="http://m0.example.org/",role="dns"} 1`,
		`mirrorpool_endpoint_state{address="192.0.2.1",mirror="http://m0.example.org/",role="http",state="up"} 1`,
		`mirrorpool_endpoint_state{address="192.0.2.1",mirror="http://m0.example.org/",role="dns",state="up"} 0`,
		`mirrorpool_endpoint_latency_seconds{address="192.0.2.1",mirror="http://m0.example.org/",role="http"} 0.02`,
		`mirrorpool_face_total 3`,
		`mirrorpool_eligible_weight{family="ipv4",role="dns",secure="no"} 30`,
		`go_goroutines `,
		`process_resident_memory_bytes `,
	} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("no %s in\n%s", want, w.Body)
		}
	}
	problems, err := promlint.New(strings.NewReader(w.Body.String())).Lint()
	if problems = slices.DeleteFunc(problems, func(p promlint.Problem) bool {
		return !strings.HasPrefix(p.Metric, namespace)
	}); err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
}

// TestMetricsAreParsed reads them as Prometheus does, whatever the labels hold, and wants each series once.
func TestMetricsAreParsed(t *testing.T) {
	t.Parallel()
	const awkward = "http://a\\b\"c\nd{}=,\xff/"
	b := testBackend(3)
	status := b.Status()
	status.Mirrors[1].URLPrefix = awkward
	b.Status = func() Status { return status }
	w := httptest.NewRecorder()
	newMux(b).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range families["mirrorpool_mirror_weight"].Metric {
		names = append(names, m.Label[0].GetValue())
	}
	if len(names) != 3 || !slices.Contains(names, strings.ToValidUTF8(awkward, "\uFFFD")) {
		t.Errorf("mirrors %q", names)
	}
	if n := len(families["mirrorpool_endpoint_state"].Metric); n != 3*2*4 {
		t.Errorf("%d series of states, want one for each of 6 endpoints and 4 states", n)
	}
}

// TestScrapesAreFew: a scrape of a large pool takes memory until its reader has read it, so that only a few may be
// under way.
func TestScrapesAreFew(t *testing.T) {
	t.Parallel()
	b := testBackend(1)
	status := b.Status()
	begun, finish := make(chan struct{}), make(chan struct{})
	b.Status = func() Status { begun <- struct{}{}; <-finish; return status }
	mux := newMux(b)
	scrape := func() int {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
		return w.Code
	}
	codes := make(chan int, maxScrapes)
	for range maxScrapes {
		go func() { codes <- scrape() }()
		<-begun
	}
	if code := scrape(); code != http.StatusServiceUnavailable {
		t.Errorf("one scrape more got %d", code)
	}
	close(finish)
	for range maxScrapes {
		if code := <-codes; code != http.StatusOK {
			t.Errorf("a scrape got %d", code)
		}
	}
}

// TestGaugesAreUsedAgain: what a scrape takes does not grow with the number of families.
func TestGaugesAreUsedAgain(t *testing.T) {
	labels := []string{"a", "b", "c"}
	begun := func(families int) float64 {
		f := family{"name", "Help.", labels, nil}
		return testing.AllocsPerRun(10, func() {
			b := &gaugeBuffer{w: io.Discard}
			for range families {
				b.begin(&f)
				for range gaugeBatch + 1 {
					b.add(1, labels...)
				}
				b.flush()
			}
		})
	}
	if one, ten := begun(1), begun(10); (ten-one)/9 > 20 {
		t.Errorf("each further family of %d gauges allocates %.0f times", gaugeBatch+1, (ten-one)/9)
	}
}

// A sink is a client that takes everything and keeps nothing.
type sink struct {
	http.ResponseWriter
	size int
}

func (s *sink) Write(p []byte) (int, error) { s.size += len(p); return len(p), nil }

func BenchmarkScrape(b *testing.B) {
	mux := newMux(testBackend(1000))
	w := &sink{ResponseWriter: httptest.NewRecorder()}
	b.ReportAllocs()
	for b.Loop() {
		w.size = 0
		mux.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	}
	b.ReportMetric(float64(w.size), "bytes")
}
