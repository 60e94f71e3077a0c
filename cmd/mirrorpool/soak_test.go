package main

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
)

const (
	soakSteady = 8 // mirrors that stay up, with different weights
	soakFickle = 4 // mirrors that come and go, one a second
)

// soakTime is how long the soak goes on: an hour where tests may be long, or as long as MIRRORPOOL_TEST_LONG says.
func soakTime() time.Duration {
	d, err := time.ParseDuration(os.Getenv("MIRRORPOOL_TEST_LONG"))
	switch {
	case longTests() && err == nil:
		return d
	case longTests():
		return time.Hour
	case raceDetector:
		return 12 * time.Second
	}
	return 24 * time.Second
}

// A soaked pool is mirrors of which some come and go.
type soaked struct {
	*program
	config *serverConfig
	port   string
	down   [soakFickle]atomic.Bool

	lost      atomic.Int64
	asked     atomic.Int64
	first     map[string]int // places in answers
	all       map[string]int
	redirects map[string]int
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
	s.port = freePort(t, addrs...)
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
	s.config.set("health", "interval", "500ms")
	s.program = s.config.serve(t, where, s.pool(0))
	return s
}

// pool is the list of mirrors. Each version has something that is new.
func (s *soaked) pool(version int) any {
	var mirrors []any
	for i := range soakSteady + soakFickle {
		mirrors = append(mirrors, map[string]any{
			"url_prefix": fmt.Sprintf("http://%s:%s/tails/", soakAddress(i), s.port), "weight": soakWeight(i), "name": fmt.Sprintf("m%d-%d", i, version%2),
		})
	}
	return map[string]any{"version": 1, "mirrors": mirrors}
}

// TestSoak has a server under load for long, while a verdict changes each second and the list of mirrors every ten: it
// takes no more in the end than in the beginning, loses no query, and the weights hold.
func TestSoak(t *testing.T) {
	t.Parallel()
	s := newSoaked(t)
	eventually(t, "all mirrors are in DNS", func() bool { return len(s.inDNS(t)) == soakSteady+soakFickle })
	ctx, cancel := context.WithTimeout(t.Context(), soakTime())
	defer cancel()
	var load sync.WaitGroup
	load.Go(func() { s.query(ctx, t) })
	load.Go(func() { s.follow(ctx, t) })
	var samples []usage
	changes, reloads := 0, 0
	second := time.NewTicker(time.Second)
	defer second.Stop()
	for n := 1; ctx.Err() == nil; n++ {
		select {
		case <-ctx.Done():
			continue
		case <-second.C:
		}
		one := &s.down[n%soakFickle]
		one.Store(!one.Load())
		changes++
		if n%10 == 0 {
			reloads++
			s.config.write(t, "mirrors.json", s.pool(reloads))
			s.cmd.Process.Signal(syscall.SIGHUP)
		}
		samples = append(samples, s.usage(t))
	}
	load.Wait()
	t.Logf("%v: %d queries, %d lost, %d changes, %d reloads; at the beginning %+v, at the end %+v", soakTime(), s.asked.Load(), s.lost.Load(), changes, reloads,
		samples[0], samples[len(samples)-1])
	if lost := s.lost.Load(); lost > 0 {
		t.Errorf("%d of %d queries are lost", lost, s.asked.Load())
	}
	s.checkFlat(t, samples)
	for what, counts := range map[string]map[string]int{"first places": s.first, "all places": s.all, "redirects": s.redirects} {
		s.checkShares(t, what, counts)
	}
	s.stop(t)
}

// query asks one query after the other, and counts who is answered.
func (s *soaked) query(ctx context.Context, t *testing.T) {
	conn, err := dns.Dial("udp", s.dns)
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.Close()
	client := dns.Client{Timeout: 5 * time.Second}
	for ctx.Err() == nil {
		s.asked.Add(1)
		resp, _, err := client.ExchangeWithConn(new(dns.Msg).SetQuestion("dl.example.org.", dns.TypeA), conn)
		if err != nil || len(resp.Answer) == 0 {
			s.lost.Add(1)
			continue
		}
		for place, rr := range resp.Answer {
			addr, _ := addressOf(rr)
			s.all[addr.String()]++
			if place == 0 {
				s.first[addr.String()]++
			}
		}
	}
}

// follow asks for redirects, and counts where they lead.
func (s *soaked) follow(ctx context.Context, t *testing.T) {
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer client.CloseIdleConnections()
	for ctx.Err() == nil {
		resp, err := client.Get("http://" + s.web + "/x")
		if err != nil {
			t.Errorf("a redirect: %v", err)
			return
		}
		resp.Body.Close()
		if target, err := resp.Location(); err != nil {
			t.Errorf("a redirect to nowhere: %v", err)
		} else if at, err := netip.ParseAddrPort(target.Host); err == nil {
			s.redirects[at.Addr().String()]++
		}
	}
}

// checkFlat compares what the server took in the second half with what it took in the first, after it has warmed up.
func (s *soaked) checkFlat(t *testing.T, samples []usage) {
	t.Helper()
	samples = samples[len(samples)/10:]
	// What leaks is there at all times: a query under way is not.
	least := func(of []usage) usage {
		u := of[0]
		for _, sample := range of {
			u.goroutines, u.descriptors, u.mib = min(u.goroutines, sample.goroutines), min(u.descriptors, sample.descriptors), min(u.mib, sample.mib)
		}
		return u
	}
	before, after := least(samples[:len(samples)/2]), least(samples[len(samples)/2:])
	if after.goroutines > before.goroutines+30 || after.descriptors > before.descriptors+30 || after.mib > 1.25*before.mib+10 {
		t.Errorf("the server takes %+v in the second half, and took %+v in the first", after, before)
	}
}

// checkShares holds the weights of the mirrors that were always up against how often each was given, by Pearson's
// chi-squared test: by chance it fails once in a thousand runs. The others come and go, which changes everybody's share alike.
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
