package admin

import (
	"fmt"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"mirrorpool/health"
)

func testBackend(mirrors int) Backend {
	checked := time.Unix(1_800_000_000, 0)
	status := Status{
		Ready: true, Serial: 7, Pool: PoolStatus{Loaded: checked},
		Groups: []GroupStatus{{Role: health.DNS, Family: "ipv4", UpWeight: 10, EnabledWeight: 30, Panic: true}},
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
		`mirrorpool_panic{family="ipv4",role="dns",secure="no"} 1`,
		`mirrorpool_up_weight{family="ipv4",role="dns",secure="no"} 10`,
		`mirrorpool_mirror_eligible{mirror="http://m0.example.org/",role="dns"} 1`,
		`mirrorpool_endpoint_state{address="192.0.2.1",mirror="http://m0.example.org/",role="http",state="up"} 1`,
		`mirrorpool_endpoint_state{address="192.0.2.1",mirror="http://m0.example.org/",role="dns",state="up"} 0`,
		`mirrorpool_endpoint_latency_seconds{address="192.0.2.1",mirror="http://m0.example.org/",role="http"} 0.02`,
		`mirrorpool_face_total 3`,
		`go_goroutines `,
		`process_resident_memory_bytes `,
	} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("no %s in\n%s", want, w.Body)
		}
	}
	if problems, err := testutil.CollectAndLint(backendCollector{testBackend(1)}); err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
}

func BenchmarkScrape(b *testing.B) {
	mux := newMux(testBackend(1000))
	for b.Loop() {
		mux.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/metrics", nil))
	}
}
