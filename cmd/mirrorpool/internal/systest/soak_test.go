//go:build linux

package systest

import (
	"context"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"mirrorpool/testdata/testbed"
)

const (
	soakSteady = 8 // mirrors that stay up, with different weights
	soakFickle = 8 // mirrors that come and go, one a second: slow enough for each to be trusted again in between, though it flaps
)

// The load is what a busy pool has, and no more: an hour of it has to leave the machine usable.
const (
	soakTick     = 10 * time.Millisecond
	soakQueries  = 20 // in a tick, so 2,000 a second
	soakRequests = 3
	soakHandOver = 3 // how often the server is replaced at the end
)

// soakTime is how long the soak goes on with one server: an hour where tests may be long, or as long as
// MIRRORPOOL_TEST_LONG says.
func soakTime() time.Duration {
	d, err := time.ParseDuration(os.Getenv("MIRRORPOOL_TEST_LONG"))
	switch {
	case testbed.Long() && err == nil:
		return d
	case testbed.Long():
		return time.Hour
	case testbed.Race:
		return 9 * time.Second
	}
	return 15 * time.Second
}

// A soaked pool is mirrors of which some come and go.
type soaked struct {
	*program
	config *serverConfig
	port   string
	down   [soakFickle]atomic.Bool

	asked, lost       atomic.Int64   // queries
	followed, refused atomic.Int64   // requests for redirects, and those that got none
	first             map[string]int // places in answers
	all               map[string]int
	redirects         map[string]int

	changes, reloads int
}

func soakAddress(i int) string { return fmt.Sprintf("127.0.31.%d", i+1) }

func soakWeight(i int) int {
	if i >= soakSteady {
		return 10
	}
	return 5 * (i + 1)
}

func newSoaked(t *testing.T) *soaked {
	t.Helper()
	s := &soaked{first: map[string]int{}, all: map[string]int{}, redirects: map[string]int{}}
	addrs := make([]string, soakSteady+soakFickle)
	for i := range addrs {
		addrs[i] = soakAddress(i)
	}
	s.port = testbed.FreePort(t, addrs...)
	trace := fmt.Sprintln(time.Now().Add(-time.Hour).Unix())
	for i, addr := range addrs {
		l, err := net.Listen("tcp", net.JoinHostPort(addr, s.port))
		if err != nil {
			t.Fatal(err)
		}
		mirror := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if i >= soakSteady && s.down[i-soakSteady].Load() {
				http.NotFound(w, r)
				return
			}
			http.ServeContent(w, r, "", time.Time{}, strings.NewReader(trace))
		})}
		go mirror.Serve(l)
		t.Cleanup(func() { mirror.Close() })
	}
	var where *program
	s.config, where = newServerConfig(t)
	s.config.set("health", "dns_url", "http://{zone}:"+s.port+"/tails/project/trace")
	s.config.set("health", "interval", "200ms")
	s.config.json["state_dir"] = t.TempDir() // so that a copy that takes over knows the verdicts
	s.program = s.config.serve(t, where, s.pool(0))
	return s
}

// pool is the list of mirrors. Each version has something that is new.
func (s *soaked) pool(version int) any {
	var mirrors []any
	for i := range soakSteady + soakFickle {
		mirrors = append(mirrors, map[string]any{
			"url_prefix": fmt.Sprintf("http://%s:%s/tails/", soakAddress(i), s.port), "weight": soakWeight(i),
			"name": fmt.Sprintf("m%d-%d", i, version%2),
		})
	}
	return map[string]any{"version": 1, "mirrors": mirrors}
}

// TestSoak has a server under load for long, while a verdict changes each second and the list of mirrors every ten: it
// takes no more in the end than in the beginning. Then one copy after the other takes over, under the same load. No
// query and no redirect is lost in all that time, and the weights hold.
func TestSoak(t *testing.T) {
	testbed.SkipLong(t)
	t.Parallel()
	s := newSoaked(t)
	testbed.Eventually(t, "all mirrors are in DNS", func() bool { return len(s.inDNS(t)) == soakSteady+soakFickle })
	ctx, cancel := context.WithCancel(t.Context())
	var load sync.WaitGroup
	stop := sync.OnceFunc(func() { cancel(); load.Wait() })
	defer stop()
	server, web := s.dns, s.web
	load.Go(func() { s.query(ctx, server) })
	load.Go(func() { s.follow(ctx, web) })
	second := time.NewTicker(time.Second)
	defer second.Stop()
	var samples []usage
	var serials []uint32
	for began := time.Now(); time.Since(began) < soakTime(); {
		<-second.C
		s.change(t)
		samples = append(samples, s.usage(t))
		serials = append(serials, s.status(t).Serial)
	}
	for range soakHandOver {
		s.handOver(t, second)
	}
	stop()
	t.Logf("%v: %d queries, %d lost; %d redirects, %d lost; %d changes, %d reloads, %d hand-overs", soakTime(),
		s.asked.Load(), s.lost.Load(), s.followed.Load(), s.refused.Load(), s.changes, s.reloads, soakHandOver)
	if lost, refused := s.lost.Load(), s.refused.Load(); lost > 0 || refused > 0 {
		t.Errorf("%d queries and %d redirects are lost", lost, refused)
	}
	checkFlat(t, samples)
	checkChanges(t, serials)
	for what, counts := range map[string]map[string]int{"first places": s.first, "all places": s.all, "redirects": s.redirects} {
		s.checkShares(t, what, counts)
	}
	s.stop(t)
}

// checkChanges wants the verdicts to have changed to the end. serials are those of each second.
func checkChanges(t *testing.T, serials []uint32) {
	t.Helper()
	late := serials[3*len(serials)/4:]
	if different := len(slices.Compact(slices.Clone(late))); different < len(late)/2 {
		t.Errorf("in the last %d seconds there were %d versions of the zone, want half as many", len(late), different)
	}
}

// change has a mirror come or go, and each tenth time the list change.
func (s *soaked) change(t *testing.T) {
	t.Helper()
	s.changes++
	one := &s.down[s.changes%soakFickle]
	one.Store(!one.Load())
	if s.changes%10 == 0 {
		s.reloads++
		s.config.write(t, "mirrors.json", s.pool(s.reloads))
		s.cmd.Process.Signal(syscall.SIGHUP)
	}
}

// handOver starts a copy of the server beside it, and ends the old one when the copy answers. Changes go on.
func (s *soaked) handOver(t *testing.T, second *time.Ticker) {
	t.Helper()
	next := s.config.start(t, s.program)
	testbed.Eventually(t, "the copy answers", func() bool { return strings.Contains(next.log.String(), `"msg":"answering"`) })
	s.change(t)
	<-second.C // both answer
	s.stop(t)
	s.program = next
	s.change(t)
	<-second.C // the copy answers alone
	if pid := s.status(t).Process.PID; pid != next.cmd.Process.Pid {
		t.Errorf("process %d answers, want %d", pid, next.cmd.Process.Pid)
	}
}

// query asks at a steady rate, one query after the other, and counts who is answered. It changes its port all the
// time, as the port decides which of two servers at an address gets a query.
func (s *soaked) query(ctx context.Context, server string) {
	client := dns.Client{Timeout: 5 * time.Second}
	steadily(ctx, func() {
		conn, err := dns.Dial("udp", server)
		if err != nil {
			s.lost.Add(1)
			return
		}
		defer conn.Close()
		for range soakQueries {
			s.asked.Add(1)
			resp, _, err := client.ExchangeWithConn(new(dns.Msg).SetQuestion("dl.example.org.", dns.TypeA), conn)
			if err != nil || len(resp.Answer) == 0 {
				s.lost.Add(1)
				continue
			}
			for place, rr := range resp.Answer {
				addr, _ := testbed.AddressOf(rr)
				s.all[addr.String()]++
				if place == 0 {
					s.first[addr.String()]++
				}
			}
		}
	})
}

// follow asks for redirects at a steady rate, and counts where they lead.
func (s *soaked) follow(ctx context.Context, web string) {
	client := http.Client{CheckRedirect: noRedirect, Timeout: 5 * time.Second}
	defer client.CloseIdleConnections()
	steadily(ctx, func() {
		for range soakRequests {
			s.followed.Add(1)
			at, err := redirectedTo(&client, "http://"+web+"/x")
			if err != nil {
				s.refused.Add(1)
				continue
			}
			s.redirects[at.String()]++
		}
	})
}

// redirectedTo is the address of the mirror that a URL leads to.
func redirectedTo(client *http.Client, url string) (netip.Addr, error) {
	resp, err := client.Get(url)
	if err != nil {
		return netip.Addr{}, err
	}
	resp.Body.Close()
	target, err := resp.Location()
	if err != nil {
		return netip.Addr{}, err
	}
	at, err := netip.ParseAddrPort(target.Host)
	return at.Addr(), err
}

// steadily does something each tick. What takes longer is done less often.
func steadily(ctx context.Context, do func()) {
	tick := time.NewTicker(soakTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			do()
		}
	}
}

// checkFlat compares what the server took in the second half with what it took in the first, after it has warmed up.
func checkFlat(t *testing.T, samples []usage) {
	t.Helper()
	samples = samples[len(samples)/10:]
	before, most := extremes(samples[:len(samples)/2])
	t.Logf("the first half: at least %+v, at most %+v", before, most)
	after, most := extremes(samples[len(samples)/2:])
	t.Logf("the second half: at least %+v, at most %+v", after, most)
	// What leaks is there at all times: a query under way is not. Within a minute, memory still grows to what it will be.
	limit := 1.25*before.mib + 10
	if len(samples) > 600 {
		limit = 1.1*before.mib + 3
	}
	if after.goroutines > before.goroutines+10 || after.descriptors > before.descriptors+10 || after.mib > limit {
		t.Errorf("the server takes %+v in the second half, and took %+v in the first", after, before)
	}
}

// extremes are the least and the most of what the server took at any time.
func extremes(of []usage) (least, most usage) {
	least = of[0]
	for _, u := range of {
		least = usage{min(least.goroutines, u.goroutines), min(least.descriptors, u.descriptors), min(least.mib, u.mib)}
		most = usage{max(most.goroutines, u.goroutines), max(most.descriptors, u.descriptors), max(most.mib, u.mib)}
	}
	return least, most
}

// checkShares holds the weights of the mirrors that were always up against how often each was given, by Pearson's
// chi-squared test: by chance it fails once in a thousand runs. The others come and go, which changes all shares alike.
func (s *soaked) checkShares(t *testing.T, what string, counts map[string]int) {
	t.Helper()
	total, weights := 0, 0
	for i := range soakSteady {
		total += counts[soakAddress(i)]
		weights += soakWeight(i)
	}
	chi, shares := 0.0, []string{}
	for i := range soakSteady {
		want := float64(total) * float64(soakWeight(i)) / float64(weights)
		got := float64(counts[soakAddress(i)])
		chi += (got - want) * (got - want) / want
		shares = append(shares, fmt.Sprintf("%.4f", got/want))
	}
	t.Logf("%s: %d, each as a part of what its weight asks for: %s; chi-squared %.1f", what, total, strings.Join(shares, " "), chi)
	if most := chiSquared(soakSteady - 1); total < 1000 || chi > most {
		t.Errorf("%s: %d in all, chi-squared %.1f, want at most %.1f: %v", what, total, chi, most, counts)
	}
}

// chiSquared is what a chi-squared variable with n degrees of freedom exceeds once in a thousand times, by the
// approximation of Wilson and Hilferty (1931), which is right within a percent here.
func chiSquared(n float64) float64 {
	const normal = 3.0902 // what a normal variable exceeds as often
	h := 2 / (9 * n)
	return n * math.Pow(1-h+normal*math.Sqrt(h), 3)
}

func TestChiSquared(t *testing.T) {
	t.Parallel()
	for n, want := range map[float64]float64{4: 18.467, 7: 24.322, 20: 45.315} { // from tables
		if got := chiSquared(n); math.Abs(got-want) > 0.02*want {
			t.Errorf("%v degrees of freedom: %v, want %v", n, got, want)
		}
	}
	if !slices.IsSorted([]float64{chiSquared(1), chiSquared(2), chiSquared(3)}) {
		t.Error("it does not grow")
	}
}
