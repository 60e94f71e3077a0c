package authority

import (
	"strconv"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
)

// The query types that are counted one by one. All others are counted as "other", so that clients cannot
// make the number of metrics grow.
var countedTypes = [...]uint16{
	dns.TypeA, dns.TypeAAAA, dns.TypeNS, dns.TypeSOA, dns.TypeANY, dns.TypeTXT, dns.TypeMX, dns.TypeCNAME,
	dns.TypeDS, dns.TypeDNSKEY, dns.TypeHTTPS, dns.TypeAXFR, dns.TypeIXFR,
}

// countedRcodes are the codes that fit into a message without EDNS; those beyond are counted as the last.
const countedRcodes = 16 + 1

// A tally counts the responses of one socket. Each socket has its own, so that none waits for another's cache
// line.
type tally struct {
	transport, path string // "udp" or "tcp", "fast" or "slow"
	counts          [len(countedTypes) + 1][countedRcodes]atomic.Uint64
	limited         [limitedKinds]atomic.Uint64 // queries over the rate limit, by what became of them

	latency prometheus.Histogram
	batches uint // answered by the socket's reader; belongs to it
}

// sampleEvery is of how many batches one is timed: to read the clock and to count cost as much as to answer two
// queries.
const sampleEvery = 64

// answered counts a batch of queries that came at a time and has been answered. One goroutine calls it.
func (t *tally) answered(came time.Time) {
	if t.batches++; t.batches%sampleEvery == 1 {
		t.latency.Observe(time.Since(came).Seconds())
	}
}

// newLatency returns histograms of how long answers take, by path.
func newLatency() *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "mirrorpool_dns_answer_duration_seconds",
		Help: "Time from a query's arrival in the program to its answer's departure, by path: " +
			"of each query on the slow path; on the fast path of one in 64 batches over UDP, from the first query in to the last answer out.",
		Buckets: []float64{1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.05, 0.25, 1},
	}, []string{"path"})
}

// count counts one response.
func (t *tally) count(qtype uint16, rcode int) {
	t.counts[typeIndex(qtype)][min(rcode, countedRcodes-1)].Add(1)
}

// typeIndex is where a type is counted.
func typeIndex(qtype uint16) int {
	for i, counted := range countedTypes {
		if counted == qtype {
			return i
		}
	}
	return len(countedTypes)
}

var queriesDesc = prometheus.NewDesc("mirrorpool_dns_queries_total",
	"DNS queries answered, by the type asked for, the response's code, transport and path: fast from prepared answers, slow through miekg/dns.",
	[]string{"type", "rcode", "transport", "path"}, nil)

var limitedDesc = prometheus.NewDesc("mirrorpool_dns_rate_limited_total",
	"Queries over dns.rate_limit, by what became of them.", []string{"action"}, nil)

var limitedNames = [limitedKinds]string{dropped: "dropped", truncated: "truncated", badCookie: "badcookie"}

var (
	connectionsDesc = prometheus.NewDesc("mirrorpool_dns_connections", "DNS connections over TCP that are open.", nil, nil)
	evictedDesc     = prometheus.NewDesc("mirrorpool_dns_connections_displaced_total",
		"DNS connections over TCP closed at the limit to make room for new ones, the longest idle first.", nil, nil)
)

// Describe sends the descriptions of the metrics. With Collect it makes a Server a prometheus.Collector.
func (s *Server) Describe(ch chan<- *prometheus.Desc) {
	ch <- queriesDesc
	ch <- limitedDesc
	ch <- connectionsDesc
	ch <- evictedDesc
	s.latency.Describe(ch)
}

// Collect sums up what the sockets have counted.
func (s *Server) Collect(ch chan<- prometheus.Metric) {
	type key struct {
		qtype, rcode    int
		transport, path string
	}
	sums := map[key]uint64{}
	var limited [limitedKinds]uint64
	for _, t := range s.tallies {
		for what := range limited {
			limited[what] += t.limited[what].Load()
		}
		for qtype := range t.counts {
			for rcode := range t.counts[qtype] {
				if n := t.counts[qtype][rcode].Load(); n > 0 {
					sums[key{qtype, rcode, t.transport, t.path}] += n
				}
			}
		}
	}
	s.latency.Collect(ch)
	stats := s.connLimiter.Stats()
	ch <- prometheus.MustNewConstMetric(connectionsDesc, prometheus.GaugeValue, float64(stats.Connections))
	ch <- prometheus.MustNewConstMetric(evictedDesc, prometheus.CounterValue, float64(stats.Evicted))
	for what, n := range limited {
		ch <- prometheus.MustNewConstMetric(limitedDesc, prometheus.CounterValue, float64(n), limitedNames[what])
	}
	for k, n := range sums {
		qtype := "other"
		if k.qtype < len(countedTypes) {
			qtype = dns.TypeToString[countedTypes[k.qtype]]
		}
		ch <- prometheus.MustNewConstMetric(queriesDesc, prometheus.CounterValue, float64(n), qtype, rcodeName(k.rcode),
			k.transport, k.path)
	}
}

func rcodeName(rcode int) string {
	switch name, ok := dns.RcodeToString[rcode]; {
	case rcode == countedRcodes-1:
		return "EXTENDED" // BADVERS and those above
	case ok:
		return name
	default:
		return strconv.Itoa(rcode)
	}
}
