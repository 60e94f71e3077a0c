package transfer

import "github.com/prometheus/client_golang/prometheus"

// newRequests returns the counter of requests.
func newRequests() *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "mirrorpool_transfer_requests_total",
		Help: "Requests for a transfer of the zone: axfr (all of it), ixfr (what has changed), " +
			"full (all, in answer to IXFR), soa (nothing has changed) or none, and what came of them."},
		[]string{"kind", "result"})
}

// The descriptions of the state of transfers, beside requests.
var (
	versionsDesc = prometheus.NewDesc("mirrorpool_transfer_versions", "Versions of the zone that IXFR can begin at.", nil, nil)
	recordsDesc  = prometheus.NewDesc("mirrorpool_transfer_records", "Records in the zone as it is transferred.", nil, nil)
)

// Collect sends what the server has counted.
func (s *Server) Collect(ch chan<- prometheus.Metric) {
	s.requests.Collect(ch)
	if h := s.history.Load(); h != nil {
		ch <- prometheus.MustNewConstMetric(versionsDesc, prometheus.GaugeValue, float64(len(h.deltas)))
		ch <- prometheus.MustNewConstMetric(recordsDesc, prometheus.GaugeValue, float64(len(h.records)+1))
	}
}
