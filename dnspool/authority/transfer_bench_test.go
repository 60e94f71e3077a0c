package authority

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"mirrorpool/config"
	"mirrorpool/dnspool"
	"mirrorpool/health"
)

// largeSnapshot is a pool of n endpoints, less the first of them if one is down.
func largeSnapshot(tb testing.TB, n int, serial uint32, down bool) *dnspool.Snapshot {
	tb.Helper()
	in := dnspool.Input{
		Pool: &config.Pool{}, Health: &health.Report{Mirrors: map[string]health.MirrorReport{}},
		Policy: dnspool.Policy{PanicThreshold: 0.5, MaxAnswers: 2}, Now: time.Unix(int64(serial), 0), Rand: rand.New(rand.NewPCG(1, 2)),
	}
	for i := range n {
		m := config.Mirror{URLPrefix: fmt.Sprintf("http://m%d.example.org/", i), Weight: 10}
		m.URL, _ = url.Parse(m.URLPrefix)
		m.DNS.Weight = 10
		state := health.Up
		if i == 0 && down {
			state = health.Down
		}
		in.Pool.Mirrors = append(in.Pool.Mirrors, m)
		in.Health.Mirrors[m.URLPrefix] = health.MirrorReport{Endpoints: []health.Endpoint{{
			Address: netip.AddrFrom4([4]byte{198, 18, byte(i / 250),
				byte(i%250 + 1)}), Role: health.DNS, Verdict: health.Verdict{State: state}}}}
	}
	return dnspool.Build(in)
}

// BenchmarkAXFR transfers a zone of 10,000 static records and 1,000 endpoints, signed.
func BenchmarkAXFR(b *testing.B) {
	key := newTestKey(b, "xfr.", 1)
	c := transferConfig("xfr.")
	c.Names = []string{"@"}
	s, addr, _ := startPrimary(b, c, largeStatic(b, 10_000), key, "")
	s.publish(largeSnapshot(b, 1000, 7, false))
	records := 0
	for b.Loop() {
		messages, err := fetchZone(b, addr, axfrRequest(), key)
		if err != nil {
			b.Fatal(err)
		}
		records = len(slices.Concat(messages...))
	}
	if records != 11_001 {
		b.Fatalf("%d records", records)
	}
}

// BenchmarkPublishLargeZone makes a new version of the same zone, with its difference to the one before.
func BenchmarkPublishLargeZone(b *testing.B) {
	for _, allow := range [][]string{nil, {"127.0.0.1/32"}} {
		b.Run(fmt.Sprintf("transfers=%v", allow != nil), func(b *testing.B) {
			c := transferConfig(allow...)
			c.Names = []string{"@"}
			s, _, _ := startPrimary(b, c, largeStatic(b, 10_000), nil, "")
			snapshots := [2]*dnspool.Snapshot{largeSnapshot(b, 1000, 7, false), largeSnapshot(b, 1000, 7, true)}
			serial := uint32(7)
			for b.Loop() {
				serial++
				next := *snapshots[serial%2]
				next.Serial = serial
				s.publish(&next)
			}
		})
	}
}

// BenchmarkSecondaries measures how long UDP queries take while nothing else happens; while the zone changes once a
// second, which is as often as it is notified; and while 50 secondaries, on the same machine, come each time at once
// for what has changed, or for all of it. Run it with -cpu 4, as tuneRuntime in cmd/mirrorpool has it.
func BenchmarkSecondaries(b *testing.B) {
	for _, kind := range []string{"quiet", "changes", "ixfr", "axfr"} {
		b.Run(kind, func(b *testing.B) {
			c := transferConfig("127.0.0.1/32")
			c.Names = []string{"@"}
			s, addr, _ := startPrimary(b, c, largeStatic(b, 10_000), nil, "")
			serial := uint32(7)
			snapshots := [2]*dnspool.Snapshot{largeSnapshot(b, 1000, serial, false), largeSnapshot(b, 1000, serial, true)}
			publish := func() {
				serial++
				next := *snapshots[serial%2]
				next.Serial = serial
				s.publish(&next)
			}
			publish()
			ctx, cancel := context.WithCancel(b.Context())
			var g sync.WaitGroup
			if kind != "quiet" {
				g.Go(func() { comeAgain(ctx, b, addr, kind, publish, &serial) })
			}
			took := make([]time.Duration, 0, b.N)
			conn, err := net.Dial("udp", addr)
			if err != nil {
				b.Fatal(err)
			}
			defer conn.Close()
			msg := truthQuery(b, rand.New(rand.NewPCG(1, 2)), "dl.example.org.", dns.TypeA, 1232)
			buf := make([]byte, 1500)
			tick := time.NewTicker(200 * time.Microsecond) // 5,000 a second, so that the machine is not full
			defer tick.Stop()
			for i := range b.N {
				<-tick.C
				binary.BigEndian.PutUint16(msg, uint16(i))
				began := time.Now()
				if _, err := conn.Write(msg); err != nil {
					b.Fatal(err)
				}
				conn.SetReadDeadline(began.Add(5 * time.Second))
				if _, err := conn.Read(buf); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(began))
			}
			cancel()
			g.Wait()
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-us")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-us")
		})
	}
}

// comeAgain publishes a version each second, for which 50 secondaries come at once, until ctx ends.
func comeAgain(ctx context.Context, b *testing.B, addr, kind string, publish func(), serial *uint32) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	secondaries := 50
	if kind == "changes" {
		secondaries = 0
	}
	for {
		publish()
		var g sync.WaitGroup
		for range secondaries {
			g.Go(func() {
				req := axfrRequest()
				if kind == "ixfr" {
					req = ixfrRequest(*serial - 1)
				}
				if err := drain(addr, req); err != nil {
					b.Error(err)
				}
			})
		}
		g.Wait()
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// drain transfers without looking at what comes, so that the client costs as little as can be: it is on the same
// machine here.
func drain(addr string, req *dns.Msg) error {
	conn, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	c := dns.Conn{Conn: conn}
	if err := c.WriteMsg(req); err != nil {
		return err
	}
	conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	for soas := 0; ; {
		message, err := c.ReadMsgHeader(nil)
		if err != nil {
			return err
		}
		if n := countSOA(message); n > 0 {
			soas += n
			if req.Question[0].Qtype == dns.TypeAXFR && soas == 2 || req.Question[0].Qtype == dns.TypeIXFR && soas == 4 {
				return nil
			}
		}
	}
}

// countSOA counts the records whose type is SOA and whose owner is the question's name, which are next to each other as
// bytes: a pointer to offset 12, the type 6, the class 1.
func countSOA(message []byte) (n int) {
	for i := 12; i+6 <= len(message); i++ {
		if message[i] == 0xc0 && message[i+1] == 0x0c && message[i+2] == 0 && message[i+3] == 6 && message[i+4] == 0 &&
			message[i+5] == 1 {
			n++
		}
	}
	return n
}
