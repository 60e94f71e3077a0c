package systest

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// benchConfig is a pool of ten mirrors without checks.
func benchConfig(b *testing.B) (*serverConfig, *program, string) {
	b.Helper()
	c, where := newServerConfig(b)
	c.set("health", "enabled", false)
	var mirrors []string
	for i := range 10 {
		mirrors = append(mirrors, fmt.Sprintf(`{"url_prefix": "http://192.0.2.%d/tails/", "weight": 10}`, i+1))
	}
	return c, where, `{"version": 1, "mirrors": [` + strings.Join(mirrors, ",") + `]}`
}

// BenchmarkFirstAnswer measures the time from the start of the process to its first DNS answer.
func BenchmarkFirstAnswer(b *testing.B) {
	c, where, pool := benchConfig(b)
	c.write(b, "mirrors.json", pool)
	c.write(b, "mirrorpool.json", c.json)
	if _, err := buildProgram(); err != nil {
		b.Fatal(err)
	}
	req := new(dns.Msg)
	req.SetQuestion("dl.example.org.", dns.TypeA)
	client := dns.Client{Timeout: 5 * time.Millisecond}
	var total time.Duration
	for b.Loop() {
		start := time.Now()
		p := startProgram(b, nil, "serve", "--config", c.dir+"/mirrorpool.json")
		for {
			if _, _, err := client.Exchange(req, where.dns); err == nil {
				break
			}
		}
		total += time.Since(start)
		p.stop(b)
	}
	b.ReportMetric(float64(total.Milliseconds())/float64(b.N), "ms/answer")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkIdleMemory measures the resident memory of a server with ten mirrors that has nothing to do.
func BenchmarkIdleMemory(b *testing.B) {
	c, where, pool := benchConfig(b)
	p := c.serve(b, where, pool)
	p.inDNS(b)
	for b.Loop() {
		b.ReportMetric(residentMiB(b, p.cmd.Process.Pid), "MiB-RSS")
	}
	b.ReportMetric(0, "ns/op")
	p.stop(b)
}

// residentMiB reads how much memory a process holds.
func residentMiB(b *testing.B, pid int) float64 {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Skip(err)
	}
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	kib, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		b.Fatal(err)
	}
	return float64(kib) / 1024
}
