package admin

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"mirrorpool/config"
	"mirrorpool/health"
)

func TestEvents(t *testing.T) {
	t.Parallel()
	e := NewEvents()
	e.Probe(health.DNS, health.Observation{Result: health.Down, Took: 30 * time.Millisecond})
	e.Probe(health.DNS, health.Observation{Result: health.Down, Took: 3 * time.Second})
	for _, r := range []PoolReload{{Applied: true}, {Held: &config.Decision{}, Error: "held"}, {Error: "bad"}, {}} {
		e.ReloadPool(&r)
	}
	e.ReloadSettings(&SettingsReload{Applied: []string{"dns.ttl"}})
	e.ReloadSettings(&SettingsReload{Error: "bad"})
	want := `
		# HELP mirrorpool_probes_total Probes of mirrors, by role and result: up, stale, down, or unknown if a probe could not tell.
		# TYPE mirrorpool_probes_total counter
		mirrorpool_probes_total{result="down",role="dns"} 2
		# HELP mirrorpool_reloads_total Attempts to reload the configuration or the list of mirrors, by result.
		# TYPE mirrorpool_reloads_total counter
		mirrorpool_reloads_total{result="applied",what="config"} 1
		mirrorpool_reloads_total{result="refused",what="config"} 1
		mirrorpool_reloads_total{result="unchanged",what="config"} 0
		mirrorpool_reloads_total{result="applied",what="pool"} 1
		mirrorpool_reloads_total{result="held",what="pool"} 1
		mirrorpool_reloads_total{result="refused",what="pool"} 1
		mirrorpool_reloads_total{result="unchanged",what="pool"} 1
	`
	if err := testutil.CollectAndCompare(uncheckedEvents{e}, strings.NewReader(want), "mirrorpool_probes_total",
		"mirrorpool_reloads_total"); err != nil {
		t.Error(err)
	}
	if problems, err := testutil.CollectAndLint(uncheckedEvents{e}); err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
}

// uncheckedEvents are a collector that does not say beforehand what it collects.
type uncheckedEvents struct{ *Events }

func (uncheckedEvents) Describe(chan<- *prometheus.Desc) {}
