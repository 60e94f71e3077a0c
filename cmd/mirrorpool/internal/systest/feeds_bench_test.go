package systest

import (
	"slices"
	"testing"
	"time"

	"mirrorpool/testdata/testbed"
)

// BenchmarkSecondaryFollows measures the time from the verdict on a mirror that has failed, or is back, until a
// secondary answers with what follows from it. Changes follow each other quickly here, so that most have to wait for
// the rest of the second that is between two NOTIFY messages.
func BenchmarkSecondaryFollows(b *testing.B) {
	for _, name := range []string{"bind", "knot", "nsd"} {
		b.Run(name, func(b *testing.B) {
			at := "127.0.0.1:" + testbed.FreePort(b, "127.0.0.1")
			d, s := hiddenPrimary(b, at)
			p := d.start(b)
			n := s.secondary(b, name, at, s.ours, s.secret)
			testbed.Eventually(b, "the secondary has the zone", func() bool {
				return serialAt(n.addr, poolZone) == serialAt(p.dns, poolZone)
			})
			var took []time.Duration
			up := true
			for b.Loop() {
				before := serialAt(p.dns, poolZone)
				if up {
					d.mirrors["c"].stop()
				} else {
					d.mirrors["c"].start(b, d.port)
				}
				up = !up
				var now uint32
				testbed.Eventually(b, "the verdict is in force", func() bool { now = serialAt(p.dns, poolZone); return now != before })
				verdict := time.Now()
				testbed.Eventually(b, "the secondary follows", func() bool { return serialAt(n.addr, poolZone) == now })
				took = append(took, time.Since(verdict))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Milliseconds()), "p50-ms")
			b.ReportMetric(float64(took[len(took)-1].Milliseconds()), "max-ms")
		})
	}
}
