//go:build linux

package systest

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"mirrorpool/testdata/testbed"
)

// The guest is a client that does nothing wrong, in a network of its own.
const guestAddress = "127.0.200.1"

// A flood does as much harm as it can to a server until ctx ends, and tells how much that was.
type flood struct {
	name string
	what string // is counted
	run  func(ctx context.Context, f *flooded) int64
}

// A flooded server is what floods are aimed at.
type flooded struct {
	*program
	t      testing.TB
	secure bool // it speaks https
}

var floods = []flood{
	{"queries", "queries", func(ctx context.Context, f *flooded) int64 { return f.send(ctx, plainQuery) }},
	{"random subdomains", "queries", func(ctx context.Context, f *flooded) int64 { return f.send(ctx, randomSubdomain) }},
	{"malformed packets", "packets", func(ctx context.Context, f *flooded) int64 { return f.send(ctx, malformed) }},
	{"50,000 sources", "queries", func(ctx context.Context, f *flooded) int64 { return f.manySources(ctx) }},
	{"TCP connections to DNS", "connections", func(ctx context.Context, f *flooded) int64 { return f.connect(ctx, f.dns) }},
	{"TCP connections to HTTP", "connections", func(ctx context.Context, f *flooded) int64 { return f.connect(ctx, f.web) }},
	{"HTTP connections held", "connections", func(ctx context.Context, f *flooded) int64 { return f.hold(ctx, f.web) }},
	{"slowloris on DNS over TCP", "connections", func(ctx context.Context, f *flooded) int64 {
		return f.slowly(ctx, f.dns, "\x00\xff\x12\x34\x01\x00\x00\x01")
	}},
	{"slowloris on HTTP", "connections", func(ctx context.Context, f *flooded) int64 {
		return f.slowly(ctx, f.web, "GET /x HTTP/1.1\r\nHost: dl.example.org\r\nX-Slow: ")
	}},
}

// tlsFloods are for a server that speaks https.
var tlsFloods = []flood{
	{"slowloris on TLS", "connections", func(ctx context.Context, f *flooded) int64 {
		return f.slowly(ctx, f.web, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
	}},
}

// floodTime is how long each flood lasts.
func floodTime() time.Duration {
	if testbed.Long() {
		return 20 * time.Second
	}
	return 1500 * time.Millisecond
}

// TestFloods has a well-behaved client ask while others flood the server in all ways: it has to be served, and the
// server has to be as before within a second after the flood.
func TestFloods(t *testing.T) {
	testbed.SkipLong(t)
	small := mirrorsText(t, "1 10", "2 20", "3 30", "4 40")
	for _, group := range []struct {
		name   string
		secure bool
		pool   string
		floods []flood
		most   float64 // MiB
	}{
		{"http", false, small, floods, maxFloodedMiB},
		{"https", true, small, tlsFloods, maxFloodedMiB},
		{"memory over http", false, largePool(), memoryFloods, maxHTTPMiB},
		{"memory over https", true, largePool(), tlsMemoryFloods, maxHTTPSMiB},
	} {
		t.Run(group.name, func(t *testing.T) {
			c, where := newServerConfig(t)
			c.set("health", "enabled", false)
			c.set("dns", "rate_limit", 100)
			if group.secure {
				cert, key := testbed.NewAuthority(t).IssueFiles(t, "dl.example.org", time.Now().AddDate(0, 3, 0))
				c.set("http", "tls", map[string]any{"cert": cert, "key": key})
			}
			p := c.serve(t, where, group.pool)
			p.guest(t, time.Second, group.secure) // warms up
			for _, f := range group.floods {
				t.Run(f.name, func(t *testing.T) { p.endure(t, f, group.secure, group.most) })
			}
			p.stop(t)
		})
	}
}

// usage is what a server takes.
type usage struct{ goroutines, descriptors, mib float64 }

func (p *program) usage(t testing.TB) usage {
	t.Helper()
	return usage{metric(t, p.admin, "go_goroutines"), metric(t, p.admin, "process_open_fds"),
		metric(t, p.admin, "process_resident_memory_bytes") / (1 << 20)}
}

// What a server may take in the worst flood.
const (
	maxFloodedMiB = 250 // 70 MiB for 10,000 connections to DNS, and what it takes without
	maxHTTPMiB    = 110 // as README says, of all connections to HTTP
	maxHTTPSMiB   = 440
)

// endure floods the server, and looks at what becomes of it and of the guest.
func (p *program) endure(t *testing.T, f flood, secure bool, most float64) {
	before := p.usage(t)
	dropped := kernelDrops(t)
	ctx, cancel := context.WithTimeout(t.Context(), floodTime())
	defer cancel()
	var harm int64
	var flooding sync.WaitGroup
	flooding.Go(func() { harm = f.run(ctx, &flooded{p, t, secure}) })
	seen := p.guest(t, floodTime()-100*time.Millisecond, secure)
	during := p.usage(t)
	flooding.Wait()
	dropped = kernelDrops(t) - dropped
	ended := time.Now()

	back := p.guest(t, 500*time.Millisecond, secure)
	t.Logf("| %s | %d %s | %d dropped by the kernel | %v | %.0f MiB, %.0f goroutines |", f.name, harm, f.what, dropped, seen,
		during.mib, during.goroutines)
	for face, v := range seen.faces() {
		// What the kernel does not let through, the program cannot answer; a resolver asks again then.
		if share := v.share(); share < 0.99 && dropped == 0 && v.asked >= 200 {
			t.Errorf("%s: %.1f %% of the guest's requests are served during the flood (%v), want 99 %%", face, 100*share, v)
		} else if v.again < 0.99*float64(v.asked) {
			t.Errorf("%s: %.0f of %d of the guest's requests are served with two more tries, want 99 %%", face, v.again, v.asked)
		}
	}
	for face, v := range back.faces() {
		if v.again < 0.99*float64(v.asked) {
			t.Errorf("%s: within a second after the flood %v", face, v)
		}
	}
	if during.mib > most {
		t.Errorf("the server takes %.0f MiB during the flood, want %.0f at most", during.mib, most)
	}
	testbed.Eventually(t, "the server is as before the flood", func() bool {
		now := p.usage(t)
		return now.goroutines <= before.goroutines+20 && now.descriptors <= before.descriptors+10
	})
	t.Logf("as before %v after the flood", time.Since(ended).Round(10*time.Millisecond))
}

// kernelDrops counts datagrams for which the kernel had no room.
func kernelDrops(t testing.TB) int64 {
	t.Helper()
	text, err := os.ReadFile("/proc/net/snmp")
	if err != nil {
		return 0
	}
	var names []string
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if fields[0] != "Udp:" {
			continue
		}
		if names == nil {
			names = fields
			continue
		}
		var n int64
		fmt.Sscan(fields[slices.Index(names, "RcvbufErrors")], &n)
		return n
	}
	return 0
}

// A view is what the guest sees of one face.
type view struct {
	asked, served int
	again         float64 // served in the end, with as many tries as a resolver makes
	took          []time.Duration
}

func (v *view) share() float64 { return float64(v.served) / float64(max(v.asked, 1)) }

func (v *view) String() string {
	slices.Sort(v.took)
	if len(v.took) == 0 {
		return "nothing served"
	}
	at := func(q float64) time.Duration {
		return v.took[int(q*float64(len(v.took)-1))].Round(10 * time.Microsecond)
	}
	return fmt.Sprintf("%d of %d, 50 %% within %v, 99 %% within %v", v.served, v.asked, at(.5), at(.99))
}

// A visitor is what the guest sees.
type visitor struct{ udp, tcp, web view }

func (v *visitor) faces() map[string]*view {
	return map[string]*view{"DNS over UDP": &v.udp, "DNS over TCP": &v.tcp, "HTTP": &v.web}
}

func (v *visitor) String() string {
	return fmt.Sprintf("UDP: %v; TCP: %v; HTTP: %v", &v.udp, &v.tcp, &v.web)
}

// guest asks in all ways for a while.
func (p *program) guest(t testing.TB, d time.Duration, secure bool) *visitor {
	t.Helper()
	var v visitor
	var asking sync.WaitGroup
	again := func(v *view, every time.Duration, ask func() error) {
		asking.Go(func() {
			tick := time.NewTicker(every)
			defer tick.Stop()
			for end := time.Now().Add(d); time.Now().Before(end); <-tick.C {
				v.asked++
				for try := range 3 {
					start := time.Now()
					if ask() != nil {
						continue
					}
					if try == 0 {
						v.served++
						v.took = append(v.took, time.Since(start))
					}
					v.again++
					break
				}
			}
		})
	}
	exchange := func(network string) func() error {
		client := dns.Client{Net: network, Timeout: time.Second}
		if client.Dialer = (&net.Dialer{Timeout: time.Second,
			LocalAddr: &net.UDPAddr{IP: net.ParseIP(guestAddress)}}); network == "tcp" {
			client.Dialer.LocalAddr = &net.TCPAddr{IP: net.ParseIP(guestAddress)}
		}
		return func() error {
			resp, _, err := client.Exchange(new(dns.Msg).SetQuestion("dl.example.org.", dns.TypeA), p.dns)
			if err == nil && len(resp.Answer) == 0 {
				err = fmt.Errorf("an empty answer")
			}
			return err
		}
	}
	scheme := "http://"
	if secure {
		scheme = "https://"
	}
	web := http.Client{Timeout: 2 * time.Second, CheckRedirect: noRedirect,
		Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
			DialContext: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(guestAddress)}}).DialContext}}
	again(&v.udp, 20*time.Millisecond, exchange("udp")) // well below the rate limit
	again(&v.tcp, 40*time.Millisecond, exchange("tcp"))
	again(&v.web, 40*time.Millisecond, func() error {
		resp, err := web.Get(scheme + p.web + "/x")
		if err != nil {
			return err
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusFound {
			return fmt.Errorf("%s", resp.Status)
		}
		return nil
	})
	asking.Wait()
	return &v
}
