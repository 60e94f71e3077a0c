package dnssec

import (
	"github.com/prometheus/client_golang/prometheus"
)

var (
	expiryDesc = prometheus.NewDesc("mirrorpool_dnssec_signature_expiry_timestamp_seconds",
		"When the first of the zone's signatures expires that no other follows, in seconds since 1970.", nil, nil)
	endDesc = prometheus.NewDesc("mirrorpool_dnssec_keys_end_timestamp_seconds",
		"When the zone cannot be signed any more, as the times of its keys have it, in seconds since 1970; missing if that is not planned.", nil, nil)
	madeDesc  = prometheus.NewDesc("mirrorpool_dnssec_signatures_total", "Signatures made.", nil, nil)
	keysDesc  = prometheus.NewDesc("mirrorpool_dnssec_keys", "Keys of the zone, by state.", []string{"state"}, nil)
	filesDesc = prometheus.NewDesc("mirrorpool_dnssec_key_files_ok",
		"Whether the zone's key files could be read, and written where a rollover had to, when last tried.", nil, nil)
	signingDesc = prometheus.NewDesc("mirrorpool_dnssec_signing_ok",
		"Whether the zone could be signed when it was made last; if not, the last signed version serves until its signatures expire.", nil, nil)
	seenDesc = prometheus.NewDesc("mirrorpool_dnssec_parent_seen_timestamp_seconds",
		"When the parent's DS records were seen last, in seconds since 1970; 0 if not since the start.", nil, nil)
	matchesDesc = prometheus.NewDesc("mirrorpool_dnssec_ds_matches",
		"Whether one of the parent's DS records named a key of the zone when they were seen last; missing while the parent has none.", nil, nil)
)

// Collect sends what there is to say of the zone's signatures.
func (s *Status) Collect(ch chan<- prometheus.Metric) {
	if !s.Expires.IsZero() {
		ch <- prometheus.MustNewConstMetric(expiryDesc, prometheus.GaugeValue, float64(s.Expires.Unix()))
	}
	if !s.KeysEnd.IsZero() {
		ch <- prometheus.MustNewConstMetric(endDesc, prometheus.GaugeValue, float64(s.KeysEnd.Unix()))
	}
	ch <- prometheus.MustNewConstMetric(madeDesc, prometheus.CounterValue, float64(s.Made))
	states := map[State]int{}
	for _, key := range s.Keys {
		states[key.State]++
	}
	for _, state := range []State{Waiting, Signing, Published, Active, Retired, Removed} {
		ch <- prometheus.MustNewConstMetric(keysDesc, prometheus.GaugeValue, float64(states[state]), string(state))
	}
	ch <- prometheus.MustNewConstMetric(filesDesc, prometheus.GaugeValue, truth(s.KeyFiles == ""))
	ch <- prometheus.MustNewConstMetric(signingDesc, prometheus.GaugeValue, truth(s.Signing == ""))
	seen := 0.0
	if !s.Parent.Seen.IsZero() {
		seen = float64(s.Parent.Seen.Unix())
	}
	ch <- prometheus.MustNewConstMetric(seenDesc, prometheus.GaugeValue, seen)
	if len(s.Parent.DS) > 0 {
		ch <- prometheus.MustNewConstMetric(matchesDesc, prometheus.GaugeValue, truth(s.trusted()))
	}
}

// truth is a truth as a metric has it.
func truth(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
