package probe

import (
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"mirrorpool/config"
	"mirrorpool/health"
	"mirrorpool/testdata/testbed"
)

// TestNoFalseAlarms has good servers checked in both roles each second, with a timeout of a second and fall 2, while
// other processes want the CPU. In its long form (MIRRORPOOL_TEST_LONG) that is 300 servers for ten seconds each,
// beside 20 such processes.
func TestNoFalseAlarms(t *testing.T) {
	rounds, servers, load, span := 1, 5, 4, 3*time.Second
	long := os.Getenv("MIRRORPOOL_TEST_LONG") != ""
	switch {
	case long:
		rounds, servers, load, span = 20, 15, 20, 10*time.Second
	case testing.Short(), testbed.Race:
		t.Skip("takes seconds of a machine that has better to do")
	}
	for range load {
		burn := exec.Command("sh", "-c", "while :; do :; done")
		if err := burn.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { burn.Process.Kill(); burn.Wait() })
	}
	ca := testbed.NewAuthority(t)
	alarms := 0
	for range rounds {
		alarms += falseAlarms(t, ca, servers, span, long)
	}
	t.Logf("%d false alarms of %d good servers, with %d processes that want the CPU", alarms, rounds*servers, load)
	if alarms > 0 {
		t.Error("good servers were blamed")
	}
}

// falseAlarms has so many good servers checked for a while, and counts how many were blamed for anything. In the
// long form that a server could not be judged counts, too.
func falseAlarms(t *testing.T, ca *testbed.Authority, servers int, span time.Duration, long bool) int {
	t.Helper()
	core, logs := observer.New(zap.InfoLevel)
	pool := &config.Pool{}
	secure, plain := testbed.FreePort(t), testbed.FreePort(t)
	for i := range servers {
		host, addr := fmt.Sprintf("m%d.example.net", i), fmt.Sprintf("127.0.1.%d", i+1)
		cert := ca.Issue(t, host, time.Now().Add(20*time.Hour))
		serveAt(t, net.JoinHostPort(addr, secure), &tls.Config{Certificates: []tls.Certificate{cert}})
		serveAt(t, net.JoinHostPort(addr, plain), nil)
		pool.Mirrors = append(pool.Mirrors, mirrorAt(t, "https", net.JoinHostPort(host, secure), netip.MustParseAddr(addr)))
	}
	c, err := health.NewChecker(health.Options{
		Settings: config.Health{Enabled: true, Interval: time.Second, Timeout: time.Second, Rise: 2, Fall: 2, Path: "project/trace",
			MaxLag: time.Hour, DNSURL: "http://" + net.JoinHostPort(poolHost, plain) + "/project/trace"},
		CheckDNS: true, Prober: New(ca.Roots(), time.Now), Resolver: NewResolver(), Log: zap.New(core), Now: time.Now,
		Rand: rand.New(rand.NewPCG(1, 2)),
	})
	if err != nil {
		t.Fatal(err)
	}
	c.SetPool(pool)
	stop := start(t, c)
	<-c.Swept()
	timer := time.NewTimer(span)
	defer timer.Stop()
	<-timer.C
	stop()
	blamed := map[string]bool{}
	for _, entry := range logs.FilterMessage("endpoint changed state").All() {
		// In the short form other tests want the CPU as well: that this host doubts itself is no alarm there.
		if fields := entry.ContextMap(); fields["to"] == "down" || long && fields["to"] != "up" {
			t.Log(fields)
			blamed[fields["mirror"].(string)] = true
		}
	}
	return len(blamed)
}

// serveAt serves a trace at an address and port until the test ends, over TLS if config is not nil.
func serveAt(t *testing.T, at string, config *tls.Config) {
	t.Helper()
	l, err := net.Listen("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	if config != nil {
		l = tls.NewListener(l, config)
	}
	s := &http.Server{Handler: http.HandlerFunc(serveTrace), ReadHeaderTimeout: time.Minute}
	done := make(chan struct{})
	go func() { s.Serve(l); close(done) }()
	t.Cleanup(func() { s.Close(); <-done })
}
