package probe

import (
	"bufio"
	"context"
	"crypto/x509"
	"encoding/base64"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"mirrorpool/config"
	"mirrorpool/health"
	"mirrorpool/testdata/testbed"
)

// The load run. In full, with a process of its own for the servers, so that only the checker's cost is counted:
//
//	go test -count=1 -run TestLoad -v ./health/probe -load 10000 -load-time 2m -load-scheme https -load-dns
//
// Whatever the number of endpoints, the interval is such that 10,000 would be checked every 30 seconds.
var (
	loadEndpoints = flag.Int("load", 500, "endpoints in the load run")
	loadTime      = flag.Duration("load-time", 3*time.Second, "how long it is measured, from an interval after the first sweep")
	loadScheme    = flag.String("load-scheme", "http", "http or https")
	loadDNS       = flag.Bool("load-dns", false, "judge role dns too, which takes two requests more")
)

// farmEnv makes this program a farm of mirrors instead of a test.
const farmEnv = "MIRRORPOOL_TEST_FARM"

// runFarm serves trace files at all loopback addresses, until its standard input ends. It prints the ports for http
// and https and the certificate of its authority.
func runFarm() {
	t := new(farmHand)
	ca := testbed.NewAuthority(t)
	plain := serve(t, "0.0.0.0", http.HandlerFunc(serveTrace))
	cert := ca.Issue(t, "*."+mirrorHost, time.Now().Add(20*time.Hour))
	secure := serve(t, "0.0.0.0", http.HandlerFunc(serveTrace), cert)
	fmt.Println(portOf(plain.Listener), portOf(secure.Listener), base64.StdEncoding.EncodeToString(ca.Raw()))
	io.Copy(io.Discard, os.Stdin)
}

// A farmHand stands in for a test where there is none.
type farmHand struct{ testing.TB }

func (*farmHand) Helper()           {}
func (*farmHand) Cleanup(func())    {}
func (*farmHand) Fatal(args ...any) { panic(fmt.Sprint(args...)) }

// startFarm runs a farm until the test ends.
func startFarm(t *testing.T) (plain, secure string, roots *x509.CertPool) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), farmEnv+"=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	fields := strings.Fields(line)
	if err != nil || len(fields) != 3 {
		t.Fatalf("the farm says %q, %v", line, err)
	}
	raw, err := base64.StdEncoding.DecodeString(fields[2])
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(raw)
	if err != nil {
		t.Fatal(err)
	}
	roots = x509.NewCertPool()
	roots.AddCert(cert)
	return fields[0], fields[1], roots
}

// farmPool has n mirrors, each a host of its own, at a loopback address.
func farmPool(t *testing.T, n int, scheme, port string) *config.Pool {
	p := &config.Pool{}
	for i := range n {
		addr := netip.AddrFrom4([4]byte{127, 1, byte(i >> 8), byte(i)})
		p.Mirrors = append(p.Mirrors, mirrorAt(t, scheme, net.JoinHostPort("m"+strconv.Itoa(i)+"."+mirrorHost, port), addr))
	}
	return p
}

// mirrorAt is a mirror with one given address.
func mirrorAt(t *testing.T, scheme, hostport string, addr netip.Addr) config.Mirror {
	t.Helper()
	m := config.Mirror{Weight: 10, URLPrefix: scheme + "://" + hostport + "/tails/"}
	var err error
	if m.URL, err = url.Parse(m.URLPrefix); err != nil {
		t.Fatal(err)
	}
	m.DNS.Weight, m.DNS.Addresses = m.Weight, []netip.Addr{addr}
	return m
}

// start runs a checker; the returned function stops it and waits.
func start(t *testing.T, c *health.Checker) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run returned %v", err)
		}
	}
}

func TestLoad(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	plain, secure, roots := startFarm(t)
	interval := 30 * time.Second * time.Duration(*loadEndpoints) / 10000
	port := map[string]string{"http": plain, "https": secure}[*loadScheme]
	c, err := health.NewChecker(health.Options{
		Settings: config.Health{Enabled: true, Interval: interval, Timeout: 10 * time.Second, Rise: 2, Fall: 3,
			Path: "project/trace", MaxLag: time.Hour, DNSURL: "http://" + poolHost + ":" + plain + "/tails/project/trace"},
		CheckDNS: *loadDNS, Prober: New(roots, time.Now), Resolver: NewResolver(), Log: zap.NewNop(),
		Now: time.Now, Rand: rand.New(rand.NewPCG(1, 2)),
	})
	if err != nil {
		t.Fatal(err)
	}
	c.SetPool(farmPool(t, *loadEndpoints, *loadScheme, port))
	defer start(t, c)()
	<-c.Swept()
	<-time.After(interval) // the second round is spread over half of it
	before, began := cpuTime(t), time.Now()
	<-time.After(*loadTime)
	cpu := (cpuTime(t) - before).Seconds() / time.Since(began).Seconds()
	rss := residentMB(t)
	up := 0
	for _, m := range c.Report().Mirrors {
		for _, e := range m.Endpoints {
			if e.State == health.Up && !e.InDoubt() {
				up++
			}
		}
	}
	t.Logf("%d endpoints every %v over %s, role dns too: %v: %.1f %% of a core, peak RSS %d MB, %d verdicts up",
		*loadEndpoints, interval, *loadScheme, *loadDNS, 100*cpu, rss, up)
	if testbed.Race {
		return
	}
	full := *loadEndpoints >= 10000 // in the short run for every day, the figures are only shown
	if full && (cpu > 0.35 && !*loadDNS && *loadScheme == "http" || rss > 150) {
		t.Errorf("want less than 35 %% and 150 MB")
	}
	if up < *loadEndpoints {
		t.Errorf("%d of %d up", up, *loadEndpoints)
	}
}
