package redirector

import (
	"strings"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"mirrorpool/dnspool"
	"mirrorpool/dnspool/stats"
)

// A redirectCount is how often clients were sent to one mirror, by reason.
type redirectCount [dnspool.Reasons]atomic.Uint64

// A countTable finds the counters of a snapshot's mirrors. It is immutable.
type countTable struct {
	snapshot *dnspool.Snapshot
	counts   map[*dnspool.Mirror]*redirectCount
}

// redirectCounts counts redirects. A mirror keeps its count from one snapshot to the next, and a request finds it
// without a lock. The zero value is ready.
type redirectCounts struct {
	latest      atomic.Pointer[countTable]
	unavailable atomic.Uint64 // requests that no mirror could serve
	bases       baseCounts

	mu       sync.Mutex
	byPrefix map[string]*redirectCount // of the mirrors in latest
}

// counter returns the counters of a mirror in a snapshot.
func (c *redirectCounts) counter(s *dnspool.Snapshot, m *dnspool.Mirror) *redirectCount {
	t := c.latest.Load()
	if t == nil || t.snapshot != s {
		t = c.newTable(s)
	}
	return t.counts[m]
}

// newTable makes the table of a snapshot. Mirrors that are not in it are forgotten.
func (c *redirectCounts) newTable(s *dnspool.Snapshot) *countTable {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := c.latest.Load(); t != nil && t.snapshot == s {
		return t
	}
	next := &countTable{snapshot: s, counts: make(map[*dnspool.Mirror]*redirectCount, len(s.Mirrors))}
	kept := make(map[string]*redirectCount, len(s.Mirrors))
	for i := range s.Mirrors {
		m := &s.Mirrors[i]
		n := c.byPrefix[m.URLPrefix]
		if n == nil {
			n = new(redirectCount)
		}
		kept[m.URLPrefix], next.counts[m] = n, n
	}
	c.byPrefix = kept
	c.latest.Store(next)
	return next
}

// Redirects returns how often clients were sent to each mirror, by url_prefix, since the start or since the mirror has
// been in the pool.
func (h *Handler) Redirects() map[string]uint64 {
	h.counts.mu.Lock()
	defer h.counts.mu.Unlock()
	sums := make(map[string]uint64, len(h.counts.byPrefix))
	for prefix, n := range h.counts.byPrefix {
		for reason := range n {
			sums[prefix] += n[reason].Load()
		}
	}
	return sums
}

// metrics returns the counts of all mirrors. They are sent later: a slow receiver must not hold the lock.
func (c *redirectCounts) metrics() (metrics []prometheus.Metric) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for prefix, n := range c.byPrefix {
		mirror := strings.ToValidUTF8(prefix, "\uFFFD")
		for reason := range n {
			if count := n[reason].Load(); count > 0 {
				metrics = append(metrics, prometheus.MustNewConstMetric(redirectsDesc, prometheus.CounterValue, float64(count),
					mirror, dnspool.Reason(reason).String()))
			}
		}
	}
	return metrics
}

var (
	redirectsDesc = prometheus.NewDesc("mirrorpool_redirects_total",
		"Redirects to a mirror, by the reason it was picked for.", []string{"mirror", "reason"}, nil)
	unavailableDesc = prometheus.NewDesc("mirrorpool_redirects_unavailable_total",
		"Requests that no mirror could serve.", nil, nil)
	basesDesc = prometheus.NewDesc("mirrorpool_file_requests_total",
		"Answers to requests for files, by what was known: listing (a mirror's listing or an earlier answer has the file), asking "+
			"(the mirror was asked for this request), nothing (as for folders), fallback (no mirror carries it yet), not_yet (503), "+
			"unpublished (404).", []string{"known_by"}, nil)
	downloadsDesc = prometheus.NewDesc("mirrorpool_downloads_total",
		"Redirects to files, by kind: download (a GET from the first byte on), resumed (to the end from a later byte), segment "+
			"(any other part), conditional, head.", []string{"kind"}, nil)
	refusedDesc = prometheus.NewDesc("mirrorpool_http_pages_refused_total",
		"Requests for a page with all mirrors that got 503, because too many were being answered.", nil, nil)
)

// Describe sends the descriptions of the metrics.
func (h *Handler) Describe(ch chan<- *prometheus.Desc) {
	ch <- redirectsDesc
	ch <- unavailableDesc
	ch <- basesDesc
	ch <- downloadsDesc
	ch <- refusedDesc
}

// Collect sends what was counted. A mirror has no count for a reason that it was never picked by.
func (h *Handler) Collect(ch chan<- prometheus.Metric) {
	for _, m := range h.counts.metrics() {
		ch <- m
	}
	ch <- prometheus.MustNewConstMetric(unavailableDesc, prometheus.CounterValue, float64(h.counts.unavailable.Load()))
	for b := range h.counts.bases {
		ch <- prometheus.MustNewConstMetric(basesDesc, prometheus.CounterValue, float64(h.counts.bases[b].Load()), basis(b).String())
	}
	if h.Stats != nil {
		for k, n := range h.Stats.Totals() {
			ch <- prometheus.MustNewConstMetric(downloadsDesc, prometheus.CounterValue, float64(n), stats.Kind(k).String())
		}
	}
	ch <- prometheus.MustNewConstMetric(refusedDesc, prometheus.CounterValue, float64(h.pages.refused.Load()))
}

var (
	connectionsDesc = prometheus.NewDesc("mirrorpool_http_connections", "Open HTTP connections of clients.", nil, nil)
	evictedDesc     = prometheus.NewDesc("mirrorpool_http_connections_displaced_total",
		"HTTP connections closed at the limit to make room for new ones, the longest idle first.", nil, nil)
)

// Describe sends the descriptions of the metrics.
func (s *Server) Describe(ch chan<- *prometheus.Desc) {
	ch <- connectionsDesc
	ch <- evictedDesc
}

// Collect sends how many connections there are.
func (s *Server) Collect(ch chan<- prometheus.Metric) {
	conns, heavy := s.conns.Stats(), s.heavy.Stats()
	ch <- prometheus.MustNewConstMetric(connectionsDesc, prometheus.GaugeValue, float64(conns.Connections))
	ch <- prometheus.MustNewConstMetric(evictedDesc, prometheus.CounterValue, float64(conns.Evicted+heavy.Evicted))
}
