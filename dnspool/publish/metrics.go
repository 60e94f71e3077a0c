package publish

import "github.com/prometheus/client_golang/prometheus"

// The descriptions of the metrics of a target.
var (
	targetLabels = []string{"server", "zone"}
	updatesDesc  = prometheus.NewDesc("mirrorpool_publish_updates_total", "Dynamic updates that a server has carried out.",
		targetLabels, nil)
	failuresDesc = prometheus.NewDesc("mirrorpool_publish_failures_total",
		"Attempts to keep a server up to date that have failed.", targetLabels, nil)
	conflictDesc = prometheus.NewDesc("mirrorpool_publish_conflicts_total",
		"Updates that failed because another program was faster.", targetLabels, nil)
	foreignDesc = prometheus.NewDesc("mirrorpool_publish_foreign_changes_total", "Changes by others that were reverted.",
		targetLabels, nil)
	goodDesc = prometheus.NewDesc("mirrorpool_publish_up",
		"Whether the latest attempt to keep a server up to date was good.", targetLabels, nil)
	checkedDesc = prometheus.NewDesc("mirrorpool_publish_checked_timestamp_seconds",
		"When a server was last seen to hold what it should.", targetLabels, nil)
)

// Collect sends what the targets have counted.
func (p *Publisher) Collect(ch chan<- prometheus.Metric) {
	for _, t := range p.targets {
		send := func(desc *prometheus.Desc, kind prometheus.ValueType, value float64) {
			ch <- prometheus.MustNewConstMetric(desc, kind, value, t.config.Server, t.config.Zone)
		}
		send(updatesDesc, prometheus.CounterValue, float64(t.counts.updates.Load()))
		send(failuresDesc, prometheus.CounterValue, float64(t.counts.failures.Load()))
		send(conflictDesc, prometheus.CounterValue, float64(t.counts.conflicts.Load()))
		send(foreignDesc, prometheus.CounterValue, float64(t.counts.foreign.Load()))
		good := 0.0
		if t.counts.good.Load() {
			good = 1
		}
		send(goodDesc, prometheus.GaugeValue, good)
		if checked := t.counts.checked.Load(); checked > 0 {
			send(checkedDesc, prometheus.GaugeValue, float64(checked))
		}
	}
}

// newSent returns the counter of NOTIFY messages.
func newSent() *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "mirrorpool_notify_sent_total", Help: "NOTIFY messages, by target, and whether it has answered them well."},
		[]string{"server", "result"})
}

var notifyUpDesc = prometheus.NewDesc("mirrorpool_notify_up",
	"Whether a secondary has answered the latest NOTIFY well; absent before the first.", []string{"server"}, nil)

// Collect sends what the notifier has counted, and how things are.
func (n *Notifier) Collect(ch chan<- prometheus.Metric) {
	n.sent.Collect(ch)
	for _, c := range n.Conditions() {
		up := 0.0
		if c.Problem == "" {
			up = 1
		}
		if !c.Since.IsZero() {
			ch <- prometheus.MustNewConstMetric(notifyUpDesc, prometheus.GaugeValue, up, c.Server)
		}
	}
}
