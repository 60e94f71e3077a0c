package authority

import (
	"strings"
	"testing"

	"mirrorpool/dnspool/listen"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/expfmt"

	"mirrorpool/testdata/testbed"
)

func TestMetrics(t *testing.T) {
	t.Parallel()
	s, addr := startServer(t, "127.0.0.1:0")
	s.publish(testSnapshot(t, 1, 2))
	ask := func(network, name string, qtype uint16, edns uint8) {
		req := new(dns.Msg)
		req.SetQuestion(name, qtype)
		req.SetEdns0(1232, false)
		req.IsEdns0().SetVersion(edns)
		if _, _, err := (&dns.Client{Net: network}).Exchange(req, addr); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		ask("udp", "dl.example.org.", dns.TypeA, 0)
	}
	ask("tcp", "dl.example.org.", dns.TypeAAAA, 0)
	ask("udp", "nothing.dl.example.org.", 65280, 0)
	ask("udp", "dl.example.org.", dns.TypeANY, 0)
	ask("tcp", "other.example.", dns.TypeA, 0)
	ask("udp", "dl.example.org.", dns.TypeA, 7)
	fast := "fast"
	if !listen.CanBatch {
		fast = "slow"
	}
	want := strings.ReplaceAll(`
		# HELP mirrorpool_dns_queries_total DNS queries answered, by the type asked for, the response's `+
		`code, transport and path: fast from prepared answers, slow through miekg/dns.
		# TYPE mirrorpool_dns_queries_total counter
		mirrorpool_dns_queries_total{path="fast",rcode="NOERROR",transport="tcp",type="AAAA"} 1
		mirrorpool_dns_queries_total{path="FAST",rcode="NOERROR",transport="udp",type="A"} 3
		mirrorpool_dns_queries_total{path="FAST",rcode="NXDOMAIN",transport="udp",type="other"} 1
		mirrorpool_dns_queries_total{path="slow",rcode="EXTENDED",transport="udp",type="A"} 1
		mirrorpool_dns_queries_total{path="slow",rcode="NOERROR",transport="udp",type="ANY"} 1
		mirrorpool_dns_queries_total{path="slow",rcode="REFUSED",transport="tcp",type="A"} 1
		# HELP mirrorpool_dns_rate_limited_total Queries over dns.rate_limit, by what became of them.
		# TYPE mirrorpool_dns_rate_limited_total counter
		mirrorpool_dns_rate_limited_total{action="badcookie"} 0
		mirrorpool_dns_rate_limited_total{action="dropped"} 0
		mirrorpool_dns_rate_limited_total{action="truncated"} 0
	`, "FAST", fast)
	testbed.EventuallyNil(t, func() error {
		return testutil.CollectAndCompare(s, strings.NewReader(want), "mirrorpool_dns_queries_total",
			"mirrorpool_dns_rate_limited_total")
	})
	text, err := testutil.CollectAndFormat(s, expfmt.TypeTextPlain, "mirrorpool_dns_answer_duration_seconds")
	if err != nil || !strings.Contains(string(text), `_count{path="slow"} `) ||
		strings.Contains(string(text), `_count{path="slow"} 0`) ||
		listen.CanBatch && strings.Contains(string(text), `_count{path="fast"} 0`) {
		t.Errorf("%v: nothing was timed:\n%s", err, text)
	}
	if problems, err := testutil.CollectAndLint(s); err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
}
