package authority

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"mirrorpool/dnspool"
	"mirrorpool/dnspool/authority/wire"
)

// BenchmarkPublishUnderFullLoad has clients that keep both CPUs busy over real sockets, while nothing changes and while
// the zone changes a hundred times a second. It fails if a single query is lost.
func BenchmarkPublishUnderFullLoad(b *testing.B) {
	for _, test := range []struct {
		name string
		rate int
	}{{"quiet", 0}, {"100 changes a second", 100}} {
		b.Run(test.name, func(b *testing.B) {
			s, addr := startServer(b, "127.0.0.1:0")
			snapshots := []*dnspool.Snapshot{testSnapshot(b, 10, 2), testSnapshot(b, 11, 2)}
			s.publish(snapshots[0])
			ctx, cancel := context.WithCancel(b.Context())
			var publisher, clients sync.WaitGroup
			if test.rate > 0 {
				publisher.Go(func() {
					tick := time.NewTicker(time.Second / time.Duration(test.rate))
					defer tick.Stop()
					for n := 0; ; n++ {
						select {
						case <-ctx.Done():
							return
						case <-tick.C:
							s.publish(snapshots[n%2])
						}
					}
				})
			}
			const conns = 4
			for range conns {
				clients.Go(func() { askInWindows(b, addr, b.N/conns+1) })
			}
			clients.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "queries/s")
			cancel()
			publisher.Wait()
		})
	}
}

// askInWindows sends n queries, many at a time, and wants each answered.
func askInWindows(b *testing.B, addr string, n int) {
	const window = 32
	conn, err := net.Dial("udp", addr)
	if err != nil {
		b.Error(err)
		return
	}
	defer conn.Close()
	msg := truthQuery(b, rand.New(rand.NewPCG(1, 2)), "dl.example.org.", dns.TypeA, 1232)
	buf := make([]byte, 1500)
	for sent := 0; sent < n; sent += window {
		for id := range window {
			binary.BigEndian.PutUint16(msg, uint16(id))
			if _, err := conn.Write(msg); err != nil {
				b.Error(err)
				return
			}
		}
		conn.SetReadDeadline(time.Now().Add(5 * time.Second))
		var seen [window]bool
		for range window {
			size, err := conn.Read(buf)
			if err != nil || size < wire.HeaderSize {
				b.Errorf("a query is lost: %v", err)
				return
			}
			id := binary.BigEndian.Uint16(buf)
			if id >= window || seen[id] || buf[7] == 0 {
				b.Errorf("a wrong answer: %x", buf[:size])
				return
			}
			seen[id] = true
		}
	}
}
