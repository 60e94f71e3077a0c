package admin

import (
	"fmt"
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
		Redirects: func(yield func(string, string, uint64)) {
			for _, m := range status.Mirrors {
				yield(m.URLPrefix, "place", 5)
				yield(m.URLPrefix, "weight", 6)
			}
		},
		Collect: func(ch chan<- prometheus.Metric) {
			ch <- prometheus.MustNewConstMetric(prometheus.NewDesc("mirrorpool_face_total", "Of a face.", nil, nil), prometheus.CounterValue, 3)
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
		`mirrorpool_panic{role="dns",family="ipv4",secure="no"} 1`,
		`mirrorpool_up_weight{role="dns",family="ipv4",secure="no"} 10`,
		`mirrorpool_mirror_eligible{mirror="http://m0.example.org/",role="dns"} 1`,
		`mirrorpool_endpoint_state{mirror="http://m0.example.org/",address="192.0.2.1",role="http",state="up"} 1`,
		`mirrorpool_endpoint_state{mirror="http://m0.example.org/",address="192.0.2.1",role="dns",state="up"} 0`,
		`mirrorpool_endpoint_latency_seconds{mirror="http://m0.example.org/",address="192.0.2.1",role="http"} 0.02`,
		`mirrorpool_face_total 3`,
		`mirrorpool_eligible_weight{role="dns",family="ipv4",secure="no"} 30`,
		`mirrorpool_redirects_total{mirror="http://m0.example.org/",reason="place"} 5`,
		`go_goroutines `,
		`process_resident_memory_bytes `,
	} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("no %s in\n%s", want, w.Body)
		}
	}
	problems, err := promlint.New(strings.NewReader(w.Body.String())).Lint()
	if problems = slices.DeleteFunc(problems, func(p promlint.Problem) bool { return !strings.HasPrefix(p.Metric, namespace) }); err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
}

// TestExposition reads what is written as Prometheus does, whatever the labels hold.
func TestExposition(t *testing.T) {
	t.Parallel()
	const awkward = "a\\b\"c\nd{}=,\xff"
	var e exposition
	e.family("empty", "gauge", "Not to be seen.")
	f := e.family("some_total", "counter", "Some.")
	values := map[string]float64{"one": 1, "half": 0.5, "huge": 1e300, "date": 1795529816.123, "less": -3}
	for name, value := range values {
		f.add(value, labels("label", awkward), `,name="`+name+`"`)
	}
	e.family("plain", "gauge", "Plain.").add(2, "", "")
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(string(e.text)))
	if err != nil || len(families) != 2 {
		t.Fatalf("%v, %d families in\n%s", err, len(families), e.text)
	}
	for _, m := range families["mirrorpool_some_total"].Metric {
		if got := m.Label[0].GetValue(); got != strings.ToValidUTF8(awkward, "\uFFFD") {
			t.Errorf("label %q, want %q", got, awkward)
		}
		if name := m.Label[1].GetValue(); m.Counter.GetValue() != values[name] {
			t.Errorf("%s: %v, want %v", name, m.Counter.GetValue(), values[name])
		}
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
