package systest

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"mirrorpool/testdata/testbed"
)

// BenchmarkLatency is the time from a query to its answer, over UDP, of a server in a process of its own: while
// nothing else happens, and while it reloads 10,000 mirrors over and over.
func BenchmarkLatency(b *testing.B) {
	for _, reloading := range []bool{false, true} {
		b.Run(fmt.Sprintf("reloading=%v", reloading), func(b *testing.B) {
			c, where := newServerConfig(b)
			c.set("health", "enabled", false)
			c.json["mirrors_refresh"] = "1h"
			editions := []string{string(testbed.ManyMirrors(10_000, 0, false)), string(testbed.ManyMirrors(10_000, 1, false))}
			p := c.serve(b, where, editions[0])
			ctx, cancel := context.WithCancel(b.Context())
			var running sync.WaitGroup
			if reloading {
				running.Go(func() {
					for i := 1; ctx.Err() == nil; i++ {
						c.write(b, "mirrors.json", editions[i%2])
						resp, err := http.Post("http://"+p.admin+"/api/v1/reload", "", nil)
						if err != nil {
							b.Error(err)
							return
						}
						resp.Body.Close()
					}
				})
			}
			latencies := measureLatency(b, p.dns)
			cancel()
			running.Wait()
			slices.Sort(latencies)
			b.ReportMetric(float64(latencies[len(latencies)*50/100].Microseconds()), "p50-µs")
			b.ReportMetric(float64(latencies[len(latencies)*99/100].Microseconds()), "p99-µs")
			p.stop(b)
		})
	}
}

// measureLatency asks a server as often as the benchmark wants.
func measureLatency(b *testing.B, server string) (latencies []time.Duration) {
	req := new(dns.Msg)
	req.SetQuestion("dl.example.org.", dns.TypeA)
	conn, err := dns.Dial("udp", server)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	for b.Loop() {
		start := time.Now()
		if err := conn.WriteMsg(req); err != nil {
			b.Fatal(err)
		}
		if resp, err := conn.ReadMsg(); err != nil || len(resp.Answer) == 0 {
			b.Fatal(err, resp)
		}
		latencies = append(latencies, time.Since(start))
		time.Sleep(time.Millisecond) // as from many clients, and not one that waits
	}
	return latencies
}
